"""Exported adapters before the checks of released vLLM and SGLang; and our table against their source."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
from safetensors.torch import load_file
from tests.serving.released import Sglang, Vllm

from socratic_distill.errors import UnsupportedAdapter
from socratic_distill.local import LocalServiceClient
from socratic_distill.outputs.exports import programs
from socratic_distill.outputs.exports.programs import fit_adapter

pytestmark = pytest.mark.serving
QWEN3, QWEN2 = (
    {"architectures": [f"{name}ForCausalLM"], "model_type": name.lower(), "vocab_size": 257}
    for name in ("Qwen3", "Qwen2")
)
TABLE = json.loads((files("socratic_distill.outputs.exports") / "programs.json").read_text())


@pytest.fixture(scope="module")
def root():
    return Path(os.environ["RELEASED_SERVERS"])


@pytest.fixture(scope="module")
def vllm(root):
    return Vllm(root)


@pytest.fixture(scope="module")
def sglang(root):
    return Sglang(root)


@pytest.fixture
def fit(monkeypatch):
    """`fit_adapter` for a base model with this config.json."""

    def fit_for(directory: Path, program: Any, base: Any) -> str:
        monkeypatch.setattr(programs, "_base_config", lambda name, grant: base)
        return fit_adapter(directory, program)

    return fit_for


@pytest.fixture
def save(tmp_path):
    """An adapter as a run on the local engine saves it, without what makes it a state."""

    def write(**flags: Any) -> Path:
        service = LocalServiceClient(tmp_path / "store", device="cpu")
        training = service.create_lora_training_client("tiny", rank=20, **flags).result()
        directory = Path(training.save_weights_for_sampler("a").result().path)
        (directory / "state.json").unlink()
        return directory

    return write


def test_the_table_is_that_of_the_release(vllm, sglang):
    taken, with_output = vllm.architectures()
    assert set(TABLE["vllm"]["architectures"]) == taken and set(TABLE["vllm"]["with_output_layer"]) == with_output
    assert tuple(TABLE["vllm"]["ranks"]) == vllm.ranks()
    assert sglang.normalized(TABLE["sglang"]["layers"]) <= sglang.known()


def test_vllm_loads_what_is_fitted_for_it(vllm, fit, save):
    directory = save(train_unembed=False)
    told = fit(directory, "vllm", QWEN3)
    rank = int(told.split("--max-lora-rank ")[1].split()[0])
    model = vllm.load(directory, "qwen3", rank)
    tensors = load_file(directory / "adapter_model.safetensors")
    assert len(model.loras) == len(tensors) / 2
    for name, layer in model.loras.items():
        key = f"base_model.model.{name}"
        np.testing.assert_array_equal(layer.lora_a, tensors[f"{key}.lora_A.weight"])
        np.testing.assert_array_equal(layer.lora_b, tensors[f"{key}.lora_B.weight"])
        assert layer.scaling == pytest.approx(32 / 20)
    with pytest.raises(ValueError, match="max_lora_rank"):
        vllm.load(directory, "qwen3", 16)


def test_vllm_and_we_refuse_the_output_layer_alike(vllm, fit, save):
    directory = save()
    fit(directory, "vllm", QWEN3)
    vllm.load(directory, "qwen3", 32)
    with pytest.raises(UnsupportedAdapter, match="output layer"):
        fit(directory, "vllm", QWEN2)
    with pytest.raises(ValueError, match="lm_head"):
        vllm.load(directory, "qwen2", 32)


@pytest.mark.parametrize("flags", [{"train_unembed": False}, {}])
def test_sglang_reads_what_is_fitted_for_it(sglang, fit, save, flags):
    directory = save(**flags)
    fit(directory, "sglang", QWEN3)
    config, layers = sglang.load(directory)
    assert (config.r, config.lora_alpha) == (20, 32) and layers <= sglang.known()
    assert ("lm_head" in layers) == (not flags)
