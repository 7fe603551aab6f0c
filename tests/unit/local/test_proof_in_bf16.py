"""The trial of an adapter in bf16 on a model with large log-probabilities: rounding is no fault, faults are.

Gemma 3 270M is such a model: its log-probabilities under a filled adapter are tens of nats.
"""

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from tests.unit.local.architectures import GENERAL, save_tiny
from transformers import AutoModelForCausalLM

from socratic_distill import UnsupportedModel
from socratic_distill.local import LocalServiceClient, layers, proof


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Window, one key-value head and tied embeddings as in Gemma 3; its last norm makes the logits large."""
    path = save_tiny(
        tmp_path_factory.mktemp("gemma"),
        "Gemma3Text",
        GENERAL["Gemma3Text"],
        num_hidden_layers=8,
        layer_types=["sliding_attention", "full_attention"] * 4,
        num_key_value_heads=1,
    )
    model: Any = AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
        model.get_decoder().norm.weight.fill_(40.0)
    model.save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def no_verdicts(monkeypatch):
    """Every test makes the trial itself."""
    monkeypatch.setattr(proof, "_verdicts", {})


def open_for_training(model, path):
    service = LocalServiceClient(path, device="cpu", dtype="bfloat16")
    return service.create_lora_training_client(model, rank=2).result()


def test_large_logprobs_may_differ_by_their_rounding(model, tmp_path, monkeypatch):
    compared = []
    right = proof._training_bound
    monkeypatch.setattr(proof, "_training_bound", lambda *a: compared.append(right(*a)) or compared[-1])
    open_for_training(model, tmp_path)
    monkeypatch.setattr(proof, "_training_bound", lambda base, change: proof._bound(base))
    monkeypatch.setattr(proof, "_verdicts", {})
    with pytest.raises(UnsupportedModel, match="training and sampling"):
        open_for_training(model, tmp_path)
    assert compared[0] > 0.2, "the bound of small log-probabilities is too narrow for this model"


@pytest.mark.parametrize("factor", [0.0, 1.3])
def test_trainer_with_another_adapter_is_refused(model, tmp_path, monkeypatch, factor):
    forward = layers.AdapterLinear.forward

    def otherwise(self, x):
        output = forward(self, x)
        is_training = torch.is_grad_enabled() and self.active is not None
        return self.base_layer(x) + (output - self.base_layer(x)) * factor if is_training else output

    monkeypatch.setattr(layers.AdapterLinear, "forward", otherwise)
    with pytest.raises(UnsupportedModel, match="training and sampling give log-probabilities that differ"):
        open_for_training(model, tmp_path)
