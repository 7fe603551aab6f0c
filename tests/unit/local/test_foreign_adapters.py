"""Adapters that peft saved by itself, read by the local engine: the same meaning, or a refusal that says why."""

import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import tinker
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file, save_file
from tests.support.peft_adapters import TOKENS, change_settings, peft_adapter, peft_logprobs

from socratic_distill.errors import CheckpointNotFound, DamagedWeights, ModelMismatch, SocraticError, UnsupportedAdapter
from socratic_distill.local import LocalServiceClient
from socratic_distill.local.foreign_adapters import read_foreign
from socratic_distill.local.parts import part_of_path
from socratic_distill.local.rest import LocalRestClient

WEIGHTS = "adapter_model.safetensors"
QUERIES: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]}


@pytest.fixture
def service(tmp_path):
    return LocalServiceClient(tmp_path / "store", device="cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("peft") / "adapter"
    peft_adapter(directory)
    return directory


@pytest.fixture
def adapter(saved, tmp_path):
    """A copy to spoil."""
    directory = tmp_path / "adapter"
    directory.mkdir()
    for name in ("adapter_config.json", WEIGHTS):
        (directory / name).write_bytes((saved / name).read_bytes())
    return directory


def open_state(service: Any, path: Any, model: str = "tiny") -> Any:
    return service.create_training_client_from_state(str(path), base_model=model).result()


def engine_logprobs(client: Any) -> list[float]:
    return client.compute_logprobs(tinker.ModelInput.from_ints(TOKENS)).result()[1:]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        QUERIES,
        {"target_modules": r".*\.(0|1)\.mlp\.(up|down)_proj"},
        {"r": 3, "lora_alpha": 5, "use_rslora": True},
        {"target_modules": ["q_proj", "lm_head"], "lora_dropout": 0.1},
        {"layers_to_transform": [1], **QUERIES},
        {"init_lora_weights": "gaussian"},
    ],
)
def test_weights_mean_what_peft_means(service, tmp_path, changes):
    expected = peft_logprobs(peft_adapter(tmp_path / "adapter", **changes))
    training = open_state(service, tmp_path / "adapter")
    now = training.save_weights_and_get_sampling_client().result()
    np.testing.assert_allclose(engine_logprobs(now), expected, atol=5e-5)
    plain = service.create_sampling_client(base_model="tiny").result()
    assert np.abs(np.subtract(engine_logprobs(plain), expected)).max() > 1e-2, "training changed something"
    # What the engine saves of it means the same, and is continued with its optimizer.
    again = service.create_sampling_client(training.save_weights_for_sampler("a").result().path).result()
    assert engine_logprobs(again) == engine_logprobs(now)
    state = training.save_state("a").result().path
    resumed = service.create_training_client_from_state_with_optimizer(state).result()
    assert engine_logprobs(resumed.save_weights_and_get_sampling_client().result()) == engine_logprobs(now)


def test_what_it_trains_is_told_without_its_model(service, tmp_path):
    peft_adapter(tmp_path / "adapter", **QUERIES)
    info = LocalRestClient(service).get_weights_info_by_tinker_path(str(tmp_path / "adapter")).result()
    assert (info.lora_rank, info.train_attn, info.train_mlp, info.train_unembed) == (4, True, False, False)


def test_a_teacher_may_score_with_it(service, adapter):
    client = service.create_sampling_client(str(adapter), base_model="tiny").result()
    assert len(engine_logprobs(client)) == len(TOKENS) - 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"megatron_core": "os"}, "megatron_core='os'"),
        ({"a_setting_of_tomorrow": 1}, "a_setting_of_tomorrow=1"),
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"peft_type": None}, "peft_type=None"),
    ],
)
def test_more_than_a_plain_lora_is_refused_by_name(adapter, settings, told):
    change_settings(adapter, **settings)
    with pytest.raises(UnsupportedAdapter, match=told):
        read_foreign(adapter)


@pytest.mark.parametrize("settings", [{"r": 0}, {"r": 10**9}, {"r": "4"}, {"lora_alpha": -1}, {"lora_alpha": None}])
def test_no_rank_or_scaling_is_damage(adapter, settings):
    change_settings(adapter, **settings)
    with pytest.raises(DamagedWeights, match="expected a whole and a positive number"):
        read_foreign(adapter)


def test_a_pickle_is_left_unread(adapter):
    (adapter / WEIGHTS).unlink()
    (adapter / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(CheckpointNotFound, match=r"a pickle, which can run code .* left unread"):
        read_foreign(adapter)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(CheckpointNotFound, match=r"has no adapter_model\.safetensors"):
        read_foreign(adapter)


def spoil(directory: Any, change: Any) -> None:
    tensors = load_file(directory / WEIGHTS)
    change(tensors)
    save_file(tensors, directory / WEIGHTS)


def test_tensors_that_do_not_fit_are_refused(adapter, service):
    first = next(iter(load_file(adapter / WEIGHTS)))
    right = (adapter / WEIGHTS).read_bytes()
    cases: list[tuple[Any, Any, str]] = [
        (lambda tensors: tensors.pop(first), DamagedWeights, "lacks a factor"),
        (lambda tensors: tensors.update({first: torch.zeros(3)}), DamagedWeights, "no matrix"),
        (lambda tensors: tensors.update({first: torch.zeros(7, 7)}), DamagedWeights, "rank"),
        (lambda tensors: tensors.clear(), DamagedWeights, "no tensors"),
        (lambda tensors: tensors.update(other=torch.zeros(3)), UnsupportedAdapter, "'other'"),
    ]
    for change, error, told in cases:
        spoil(adapter, change)
        with pytest.raises(error, match=told):
            read_foreign(adapter)
        (adapter / WEIGHTS).write_bytes(right)
    spoil(adapter, lambda tensors: tensors[first].fill_(torch.nan))
    with pytest.raises(DamagedWeights, match="finite"):
        open_state(service, adapter)


def test_another_base_model_is_refused_but_not_one_in_another_folder(adapter, service):
    change_settings(adapter, base_model_name_or_path="Qwen/Qwen3-8B")
    with pytest.raises(ModelMismatch, match="Qwen/Qwen3-8B"):
        open_state(service, adapter)
    change_settings(adapter, base_model_name_or_path="/elsewhere/models/Tiny/")
    open_state(service, adapter)
    change_settings(adapter, base_model_name_or_path=None)
    open_state(service, adapter)
    with pytest.raises(UnsupportedAdapter, match="does not say what its base model is"):
        service.create_sampling_client(str(adapter)).result()


def test_layers_that_the_model_lacks_are_refused(adapter, service):
    tensors = load_file(adapter / WEIGHTS)
    moved = {name.replace("layers.0.", "layers.77."): tensor for name, tensor in tensors.items()}
    save_file(moved, adapter / WEIGHTS)
    with pytest.raises(UnsupportedAdapter, match=r"layers\.77\."):
        open_state(service, adapter)


@settings(max_examples=60)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text(max_size=5)), max_size=4).map(
            lambda value: json.dumps(value).encode()
        ),
    ),
    st.binary(max_size=80),
)
def test_any_files_end_in_an_error_of_ours(tmp_path_factory, config, weights):
    directory = tmp_path_factory.mktemp("any")
    (directory / "adapter_config.json").write_bytes(config)
    (directory / WEIGHTS).write_bytes(weights)
    with pytest.raises(SocraticError):
        read_foreign(directory)
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4}))
    with pytest.raises(SocraticError):
        read_foreign(directory)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("model.layers.3.self_attn.q_proj", "attn"),
        ("transformer.h.0.attn.c_attn", "attn"),
        ("model.layers.0.linear_attn.in_proj_qkvz", "attn"),
        ("model.layers.0.mlp.experts.5.gate_proj", "mlp"),
        ("transformer.h.0.mlp.c_fc", "mlp"),
        ("lm_head", "unembed"),
        ("model.layers.0.q_proj", None),
    ],
)
def test_part_of_a_layer_by_its_path(path, part):
    assert part_of_path(path) == part
