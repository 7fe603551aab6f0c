"""Base weights in four bits: equal to plain products with the unpacked weights, trained, resumed, and estimated."""

import json
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from engine_data import PROMPTS, ask, entropy_datum, trained
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from socratic_distill import LocalEngineError, LocalExtraMissing
from socratic_distill.local import LocalServiceClient, quantized
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.machine import Machine
from socratic_distill.local.models import model_source
from socratic_distill.local.shapes import Shapes
from socratic_distill.local.tiny import MODEL_DIR

NF4: dict[str, Any] = {"device": "cpu", "dtype": "float32", "quantization": "nf4"}


@pytest.fixture
def service(tmp_path):
    pytest.importorskip("bitsandbytes")
    return LocalServiceClient(tmp_path / "store", **NF4)


def score(client):
    answers = [client.compute_logprobs(tinker.ModelInput.from_ints(prompt)).result() for prompt in PROMPTS]
    return [np.array(logprobs[1:], float) for logprobs in answers]


def unpacked(directory):
    """The tiny model in a directory, with the weights that four bits leave of it."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    head = model.get_output_embeddings()
    for module in model.modules():
        if type(module) is nn.Linear and module is not head:
            module.weight.data = dequantize_4bit(*quantize_4bit(module.weight.data, quant_type="nf4"))
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(directory)
    return str(directory)


def test_scores_and_training_equal_plain_products_of_unpacked_weights(service, tmp_path):
    path = unpacked(tmp_path / "unpacked")
    plain = LocalServiceClient(tmp_path / "plain", device="cpu", dtype="float32")
    for ours, theirs in (
        (service.create_sampling_client(base_model="tiny"), plain.create_sampling_client(base_model=path)),
        (
            trained(service).save_weights_and_get_sampling_client(),
            trained(plain, base_model=path).save_weights_and_get_sampling_client(),
        ),
    ):
        for own, expected in zip(score(ours.result()), score(theirs.result()), strict=True):
            np.testing.assert_allclose(own, expected, atol=1e-4)


def test_four_bits_change_the_model_and_a_lora_reaches_all_of_it(service, tmp_path):
    plain = LocalServiceClient(tmp_path / "plain", device="cpu", dtype="float32")
    ours, theirs = (one.create_sampling_client(base_model="tiny").result() for one in (service, plain))
    assert np.abs(np.subtract(score(ours)[2], score(theirs)[2])).max() > 0.01
    assert service.check_training("tiny").result().startswith("LoRA reaches 100 %")
    assert service.models["tiny"].size == plain.models["tiny"].size


def test_a_reply_is_the_same_alone_and_among_others(service):
    client = trained(service).save_weights_and_get_sampling_client().result()
    together = [ask(client, prompt, seed=i, stop=[]) for i, prompt in enumerate(PROMPTS)]
    tokens = [future.result().sequences[0].tokens for future in together]
    assert tokens == [ask(client, p, seed=i, stop=[]).result().sequences[0].tokens for i, p in enumerate(PROMPTS)]


def test_a_resumed_adapter_is_bit_equal_and_the_base_unmoved(service, tmp_path):
    client = trained(service, steps=1)
    before = [
        weight.clone() for name, weight in service.models["tiny"].model.named_parameters() if ".lora_" not in name
    ]
    state = client.save_state("half").result().path
    saved = json.loads((tmp_path / "store" / "local-0001" / "weights" / "half" / "state.json").read_text())
    assert saved["computed"]["quantized"] is True

    def go_on(training):
        for prompt in PROMPTS:
            training.forward_backward([entropy_datum(prompt)], "cross_entropy").result()
            training.optim_step(tinker.AdamParams(learning_rate=1e-2)).result()
        return score(training.save_weights_and_get_sampling_client().result())

    whole = go_on(client)
    again = LocalServiceClient(tmp_path / "store", **NF4)
    resumed = go_on(again.create_training_client_from_state_with_optimizer(state).result())
    assert all(np.array_equal(one, other) for one, other in zip(resumed, whole, strict=True))
    after = [weight for name, weight in service.models["tiny"].model.named_parameters() if ".lora_" not in name]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_resume_with_full_weights_warns(service, tmp_path, caplog):
    state = trained(service).save_state("half").result().path
    plain = LocalServiceClient(tmp_path / "store", device="cpu", dtype="float32")
    plain.create_training_client_from_state_with_optimizer(state).result()
    assert "quantized was True and is False" in caplog.text


def test_the_estimate_counts_what_four_bits_take(service):
    machine = Machine.choose("cpu", "float32", quantization="nf4")
    shapes = Shapes(model_source("tiny", False, machine), machine, LoraShape(4))
    service.create_sampling_client(base_model="tiny").result()
    weights = list(service.models["tiny"].model.parameters())
    scales = sum(w.quant_state.absmax.nbytes for w in weights if hasattr(w, "quant_state"))
    largest = max(quantized.count(w) * 4 for w in weights if hasattr(w, "quant_state"))
    buffers = sum(buffer.nbytes for buffer in service.models["tiny"].model.buffers())
    assert shapes.weight_bytes == pytest.approx(sum(w.nbytes for w in weights) + scales + largest + buffers, rel=0.01)


def test_without_bitsandbytes_the_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(LocalExtraMissing, match=r"bitsandbytes.*quantized"):
        LocalServiceClient(tmp_path, **NF4).create_sampling_client(base_model="tiny").result()


def test_other_quantizations_are_refused_with_what_there_is(tmp_path):
    with pytest.raises(LocalEngineError, match="quantization='int8' is unknown; give 'nf4'"):
        LocalServiceClient(tmp_path, quantization="int8")


def test_weights_that_are_stored_quantised_are_refused(tmp_path, service):
    AutoModelForCausalLM.from_pretrained(MODEL_DIR).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    with pytest.raises(LocalEngineError, match="stored quantised; leave quantization out"):
        service.create_sampling_client(base_model=str(tmp_path / "model")).result()
