"""The estimate of a run's memory: against what processes took, and what it refuses."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from architectures import ARCHITECTURES, GENERAL, save_tiny
from tests.support import engine_memory
from tests.support.patience import PATIENCE
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

from socratic_distill import NotEnoughMemory
from socratic_distill.config.grant import Grant
from socratic_distill.errors import UntrustedConfig
from socratic_distill.local import LocalServiceClient, service as local_service
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.demand import Demand
from socratic_distill.local.limits import Limit, process_peak
from socratic_distill.local.machine import Machine
from socratic_distill.local.memory import estimate
from socratic_distill.local.models import ModelSource
from socratic_distill.local.shapes import Shapes
from socratic_distill.local.tiny import MODEL_DIR

MIB = 2**20
# What libraries that are loaded on the way take differs by some 30 MiB between machines.
MARGIN = 32 * MIB
DEMAND = Demand(
    ("tiny",), 2, True, True, True, other_adapters=0, prompt=200, reply=40, dialogue=400, max_context=None, groups=4,
    group_size=4, at_once=16, batches=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def eight_million(tmp_path_factory):
    """Directory of a random model of eight million parameters."""
    directory = tmp_path_factory.mktemp("models") / "eight-million"
    directory.mkdir()
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL_DIR / name, directory)
    tiny = LlamaConfig.from_pretrained(MODEL_DIR)
    config = LlamaConfig(
        vocab_size=8000, hidden_size=256, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=1024, eos_token_id=tiny.eos_token_id,
        pad_token_id=tiny.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    return str(directory)


def measured(model, *options):
    command = [sys.executable, engine_memory.__file__, model, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check_close(figures):
    taken, estimated = figures["taken"], figures["estimated"]
    assert 0.95 * taken - MARGIN <= estimated <= 2 * taken + MARGIN, figures


def test_estimate_is_near_what_the_tiny_model_takes():
    check_close(measured("tiny"))


@pytest.mark.slow
def test_estimate_is_near_what_a_larger_model_takes(eight_million):
    check_close(measured(eight_million))


@pytest.mark.slow
def test_estimate_is_near_what_is_taken_with_checkpointing(eight_million):
    check_close(measured(eight_million, "--checkpointing"))


@pytest.fixture
def limited(monkeypatch):
    """A setter of what there is, in MiB; None is unknown."""

    def limit(size: float | None) -> None:
        found = None if size is None else Limit(int(size * MIB), "in this test")
        monkeypatch.setattr(local_service, "free_memory", lambda: found)

    return limit


def test_run_that_fits_has_its_parts_told(service, limited):
    limited(4000)
    text = service.estimate_memory(DEMAND).result()
    assert text.startswith("memory: about ") and "of 4,000 MiB in this test" in text.splitlines()[0]
    assert "base weights, float32: tiny" in text and "4 adapters of rank 2" in text and "together" in text
    assert not service.models, "no model was loaded"


def test_run_that_does_not_fit_is_refused_with_what_helps(service, limited):
    limited(150)
    with pytest.raises(NotEnoughMemory) as refusal:
        service.estimate_memory(DEMAND).result()
    text = str(refusal.value)
    assert "there are 150 MiB in this test" in text and "base weights, float32: tiny" in text
    assert "gradient_checkpointing=True" in text and "max_context_tokens=" in text
    for useless in ("num_envs", "groups_per_batch", "lora_targets"):
        assert useless not in text
    assert not service.models


def test_what_is_said_to_fit_does_fit(service, limited):
    limited(1)
    with pytest.raises(NotEnoughMemory) as refusal:
        service.estimate_memory(DEMAND).result()
    assert "which fits" not in str(refusal.value)
    shorter = replace(DEMAND, max_context=300)
    limited(float(needed(service, shorter)) + 1)
    with pytest.raises(NotEnoughMemory, match=r"max_context_tokens=300: about \d+ MiB, which fits"):
        service.estimate_memory(DEMAND).result()
    assert service.estimate_memory(shorter).result()


def needed(service, demand):
    return estimate(demand, service.machine, service.shapes, frozenset()).total / MIB


def test_engine_that_may_not_refuse_only_says_so(tmp_path, limited):
    limited(1)
    engine = LocalServiceClient(tmp_path, check_memory=False)
    assert "there are 1 MiB in this test" in engine.estimate_memory(DEMAND).result()


def test_nothing_is_refused_where_nothing_is_known(service, limited):
    limited(None)
    assert "how much is free here is not known" in service.estimate_memory(DEMAND).result()


def test_model_without_a_config_is_left_to_whoever_loads_it(service, limited, tmp_path):
    limited(1)
    (tmp_path / "empty").mkdir()
    text = service.estimate_memory(replace(DEMAND, models=(str(tmp_path / "empty"),))).result()
    assert text.startswith("memory: not estimated (")


def test_model_that_may_not_be_loaded_is_not_looked_at(tmp_path, limited):
    limited(4000)
    engine = LocalServiceClient(tmp_path / "store", grant=Grant("run", tmp_path / "run"))
    with pytest.raises(UntrustedConfig):
        engine.estimate_memory(replace(DEMAND, models=(str(tmp_path),))).result()


def test_weights_that_are_loaded_already_are_not_counted_again(service, limited):
    limited(4000)
    service.create_sampling_client(base_model="tiny").result()
    assert "base weights" not in service.estimate_memory(DEMAND).result()


def shapes(config, machine, directory: Path):
    config.save_pretrained(directory)
    return Shapes(ModelSource(str(directory), {"trust_remote_code": False}, None), machine, LoraShape(8))


LLAMA: dict[str, Any] = dict(
    vocab_size=300, hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=512, tie_word_embeddings=True,
)  # fmt: skip


def llama(layers: int, **changes: Any) -> LlamaConfig:
    fields: dict[str, Any] = LLAMA | {"num_hidden_layers": layers} | changes
    return LlamaConfig(**fields)


DATA = [[1] * 100 + [2 + i] * 100 for i in range(4)]


def test_shapes_have_the_bytes_of_the_loaded_model(service):
    counted = Shapes(ModelSource(str(MODEL_DIR), {"trust_remote_code": False}, None), service.machine, LoraShape(8))
    client = service.create_lora_training_client("tiny", rank=8).result()
    base = service.models["tiny"]
    own = {p.data_ptr(): p.nbytes for n, p in base.model.named_parameters() if "lora_" not in n}
    assert sum(own.values()) <= counted.weight_bytes <= 1.01 * sum(own.values())
    assert counted.adapter_bytes == sum(p.nbytes for p in client._trainer._parameters.values())
    assert counted.position_bytes == base.shape.position_bytes and counted.context == base.max_context


def test_stack_of_equal_layers_is_measured_by_two(tmp_path):
    """The layers that are left out count as much as those that are run."""
    deep = shapes(llama(7), Machine.choose("cpu"), tmp_path / "deep")
    by_two = deep.training_bytes(DATA)
    deep._depth = 0  # every layer is run
    deep._counts.clear()
    assert by_two == pytest.approx(deep.training_bytes(DATA), rel=0.02)


def test_checkpointing_lowers_what_training_holds(tmp_path):
    config = llama(12)
    machine = Machine.choose("cpu")
    plain = shapes(config, machine, tmp_path / "plain").training_bytes(DATA)
    recomputed = shapes(config, replace(machine, gradient_checkpointing=True), tmp_path / "less").training_bytes(DATA)
    assert recomputed < 0.4 * plain


def test_long_sequences_are_read_by_the_fused_kernel(tmp_path):
    """Scores of attention would grow with the square of the length."""
    model = shapes(llama(2), Machine.choose("cpu"), tmp_path)
    short, long = (model.training_bytes([[1] * length]) for length in (400, 500))
    assert long < 1.3 * short


def test_model_on_the_general_path_has_one_sequence_a_pass(tmp_path):
    model = shapes(llama(2, logit_scale=0.5), Machine.choose("cpu"), tmp_path)
    assert model.is_general
    assert model.training_bytes(DATA) == model.training_bytes(DATA[:1])


def test_conv1d_models_are_counted_too(tmp_path):
    config = GPT2Config(vocab_size=300, n_embd=64, n_layer=3, n_head=4, n_positions=256)
    model = shapes(config, Machine.choose("cpu"), tmp_path)
    assert model.context == 256 and model.adapter_bytes > 0
    assert model.training_bytes(DATA) > model.reading_bytes(4, 200) > 0


# Experts, linear attention, a state space, attention sinks, soft caps; the others are slow together.
FAMILIES = {**ARCHITECTURES, **GENERAL}
QUICK = ("Mixtral", "Qwen3_5Text", "Mamba", "GptOss", "Gemma2")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES])
def test_every_family_has_an_estimate(service, limited, tmp_path, name):
    limited(4000)
    path = save_tiny(tmp_path / "model", name, FAMILIES[name])
    assert "together" in service.estimate_memory(replace(DEMAND, models=(path,))).result()


def test_quantised_weights_are_not_guessed(tmp_path):
    config = llama(2, quantization_config={"quant_method": "mxfp4"})
    with pytest.raises(Exception, match="quantised"):
        shapes(config, Machine.choose("cpu"), tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what one program has held")
def test_a_process_is_not_charged_with_what_its_parent_held():
    held = bytearray(400 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])  # touches every page
    code = "from socratic_distill.local.limits import process_peak; print(process_peak())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = process_peak()
    assert own is not None and own > 400 * 2**20
    assert int(child.stdout) < own
