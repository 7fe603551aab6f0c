"""What the engine does by device, on a machine without a GPU.

| where | by what | test |
|---|---|---|
| `machine.choose` | whether there is a GPU, and bf16 on it or on the CPU | with torch's answers replaced |
| `machine.fit_threads` | CPU or not | on a machine that says it is a GPU |
| `attention.quicken_attention`, `restore_attention` | CPU or not | likewise |
| `layers._has_few_rows` | where the rows are | on `meta` |
| `failures.explain` | the error of a GPU's missing memory | with that error |
| `service.estimate_memory`, `limits` | GPU or not | with torch's answers replaced, and in `test_limits` |
| `slots`, `shared`, `base_model`, `draws`, `losses` | tensors that they make follow the model | on `meta` |
| `training.AdapterTrainer.restore` | moments follow the parameter, counts of steps do not | on `meta` |
"""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from socratic_distill import LocalEngineError, NotEnoughMemory
from socratic_distill.local import LocalServiceClient, limits, service as local_service
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.attention import quicken_attention, restore_attention
from socratic_distill.local.demand import Demand
from socratic_distill.local.draws import Row, choose, distribution
from socratic_distill.local.failures import explain
from socratic_distill.local.layers import _has_few_rows
from socratic_distill.local.limits import Limit, peak_memory
from socratic_distill.local.losses import loss_sum, mean_change
from socratic_distill.local.machine import Machine
from socratic_distill.local.models import ModelSource
from socratic_distill.local.shapes import Shapes
from socratic_distill.local.tiny import MODEL_DIR
from socratic_distill.local.training import AdapterTrainer

META = torch.device("meta")
GIB = 2**30


@pytest.fixture
def gpu(monkeypatch):
    """A torch that says that there is a GPU, with bf16; nothing can be computed there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * GIB)


def test_gpu_is_taken_with_settings_of_its_own(gpu):
    machine = Machine.choose()
    assert machine.device.type == "cuda" and machine.pass_tokens == 16384 and machine.pass_cost == 1024
    assert machine.precision(torch.bfloat16) == machine.precision(torch.float16) == torch.bfloat16
    assert machine.precision(torch.float32) == machine.precision(None) == torch.float32
    assert Machine.choose("cuda:1").device.index == 1
    assert Machine.choose("cpu").device.type == "cpu"
    assert Machine.choose(dtype="float64").precision(torch.bfloat16) == torch.float64


def test_gpu_without_bf16_computes_in_single_precision(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert Machine.choose().precision(torch.bfloat16) == torch.float32


def test_machine_without_a_gpu_is_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Machine.choose().device.type == "cpu"
    with pytest.raises(LocalEngineError, match="torch finds no GPU here"):
        Machine.choose("cuda")


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({}, torch.float32),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_cpu_computes_in_bf16_only_if_it_multiplies_it(monkeypatch, capabilities, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert Machine.choose("cpu").precision(torch.bfloat16) == dtype


def test_threads_are_only_set_on_a_cpu(gpu, monkeypatch):
    taken = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    Machine.choose("cuda").fit_threads(100)
    assert not taken
    Machine.choose("cpu").fit_threads(100)
    assert taken == [1]


def small_model():
    with META:
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1,
            )
        )  # fmt: skip


def test_attention_of_our_own_is_for_cpus_alone(gpu):
    model: Any = small_model()
    quicken_attention(model, Machine.choose("cuda"))
    assert model.config._attn_implementation == "sdpa"
    quicken_attention(model, Machine.choose("cpu"))
    assert model.config._attn_implementation == "socratic_distill"
    restore_attention(model)
    assert model.config._attn_implementation == "sdpa"


def test_few_rows_have_a_way_of_their_own_on_a_cpu_alone():
    with torch.no_grad():
        assert _has_few_rows(torch.zeros(4, 8)) and not _has_few_rows(torch.zeros(4, 8, device=META))


def test_missing_memory_of_a_gpu_is_told_as_ours():
    failure = explain(torch.cuda.OutOfMemoryError("CUDA out of memory"), "4 data")
    assert isinstance(failure, LocalEngineError) and "out of memory on 4 data" in str(failure)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_passes_make_their_tensors_where_the_model_is(gpu, checkpointing):
    """Prompts, blocks, single tokens, training with a common beginning: a tensor left on the CPU would be an error."""
    machine = dataclasses.replace(Machine.choose("cuda"), gradient_checkpointing=checkpointing, pass_cost=10)
    model = Shapes(ModelSource(str(MODEL_DIR), {"trust_remote_code": False}, None), machine, LoraShape(2))
    assert model.reading_bytes(4, 150) > 0
    assert model.training_bytes([[1] * 60 + [2 + i] * 20 for i in range(4)]) > 0


def test_draws_are_made_where_the_logits_are():
    rows = [
        Row(4, temperature, top_p, top_k, frozenset(), (), seed=0, index=i)
        for i, (temperature, top_p, top_k) in enumerate([(1.0, 1.0, -1), (0.5, 0.9, -1), (0.7, 1.0, 3)])
    ]
    logits = torch.zeros(3, 50, device=META)
    weights = distribution(logits, torch.log_softmax(logits, -1), rows)
    assert choose(weights, torch.zeros(3, 2, device=META)).device == META


@pytest.mark.parametrize("name", ["importance_sampling", "ppo", "cispo", "dro"])
def test_losses_are_computed_where_the_log_probabilities_are(name):
    values = {key: torch.zeros(5, device=META) for key in ("logprobs", "advantages")}
    assert loss_sum(name, torch.zeros(5, device=META), values, {}).device == META


class _Selecting:
    """Stands for tensors of which a mask selects nothing: `meta` cannot say how many numbers a mask selects."""

    device = META

    def __ne__(self, other: object) -> Any:
        return "mask"

    def __sub__(self, other: object) -> Any:
        return {"mask": torch.zeros(0)}


def test_mean_over_no_tokens_is_where_the_log_probabilities_are():
    nothing: Any = _Selecting()
    assert mean_change(nothing, {"advantages": nothing, "logprobs": nothing}).device == META


def test_moments_are_restored_to_where_the_parameter_is():
    parameter = torch.nn.Parameter(torch.zeros(3, device=META))
    base: Any = SimpleNamespace(adapters=SimpleNamespace(parameters=lambda adapter: {"a": parameter}))
    trainer = AdapterTrainer(base, "adapter1")
    trainer.restore({"a|exp_avg": torch.ones(3), "a|step": torch.tensor(2.0)}, steps=2)
    state = trainer._optimizer.state[parameter]
    assert state["exp_avg"].device == META and state["step"].device.type == "cpu"


DEMAND = Demand(
    ("tiny",), 2, True, True, False, other_adapters=0, prompt=64, reply=16, dialogue=128, max_context=None, groups=1,
    group_size=2, at_once=2, batches=1,
)  # fmt: skip


def test_estimate_on_a_gpu_is_held_against_its_memory(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(local_service, "free_memory", lambda: Limit(GIB, "in this test"))
    engine = LocalServiceClient(tmp_path, device="cuda")
    assert "of 8,192 MiB free on cuda" in engine.estimate_memory(DEMAND).result()


def test_weights_that_do_not_pass_through_the_machine_are_refused(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(local_service, "free_memory", lambda: Limit(2**20, "in this test"))
    with pytest.raises(NotEnoughMemory, match="on their way to the GPU, but there are 1 MiB in this test"):
        LocalServiceClient(tmp_path, device="cuda").estimate_memory(DEMAND).result()


def test_peak_on_a_gpu_is_told_apart(gpu):
    on_gpu, on_cpu = peak_memory(torch.device("cuda")), peak_memory(torch.device("cpu"))
    assert on_gpu["memory/gpu_peak_mib"] == 3 * 1024 and set(on_cpu) == {"memory/peak_mib"}


def test_peaks_of_macos_are_in_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "_PROC", tmp_path)  # Linux's own files say more
    linux = peak_memory(torch.device("cpu"))["memory/peak_mib"]
    monkeypatch.setattr(limits.sys, "platform", "darwin")
    assert peak_memory(torch.device("cpu"))["memory/peak_mib"] == pytest.approx(linux / 1024, rel=0.2)
