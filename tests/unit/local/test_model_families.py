"""Each family of models, on its path: sampling, training, resuming and saving beside plain transformers and peft."""

import warnings

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from architectures import ARCHITECTURES, GENERAL, save_tiny
from engine_data import ask, entropy_datum, plain_logprobs
from peft import PeftModel
from transformers import AutoModelForCausalLM

from socratic_distill.local import LocalServiceClient
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.parts import Part
from socratic_distill.outputs.exports.merged import export_merged

# One for each mechanism: window, soft caps, scaled logits, linear attention, ALiBi, sinks and experts; the fast path.
BY_DEFAULT = ("Gemma3Text", "Gemma2", "Cohere", "Qwen3_5Text", "Bloom", "GptOss", "GPT2", "Qwen3Moe, no dense layer")
# A few families are on both paths, by their config.
KINDS = {**{(name, "fast"): kind for name, kind in ARCHITECTURES.items()},
         **{(name, "general"): kind for name, kind in GENERAL.items()}}  # fmt: skip
CASES = [pytest.param(key, id="-".join(key), marks=[] if key[0] in BY_DEFAULT else pytest.mark.slow) for key in KINDS]
# peft takes their dense layers for experts, without an error; the docs tell of it.
MISTAKEN_BY_PEFT = ("Qwen3Moe", "Glm4Moe", "DeepseekV3", "Ernie4_5_Moe", "Qwen3Next")
# Longer than the windows, which are 8 wide.
PROMPTS = [list(range(20, 32)), [40, 41, 7, 43, 44, 45, 46, 47, 48, 9, 50, 51, 52, 53, 54, 55, 56]]
LONG = [(7 * i + i // 5) % 250 for i in range(90)]  # longer than a chunk of linear attention
REPLY = 12
CLOSE = 5e-5  # nats, in fp32


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Gives the directory of a tiny model, made once."""
    made = {}

    def make(key):
        if key not in made:
            made[key] = save_tiny(tmp_path_factory.mktemp("model"), key[0], KINDS[key])
        return made[key]

    return make


def opened(tmp_path):
    return LocalServiceClient(tmp_path / "store", device="cpu", dtype="float32")


def plain(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def with_peft(path, adapter):
    with warnings.catch_warnings():  # peft warns of any adapter on a tied output layer
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(plain(path), adapter).eval()


def expected(model, tokens):
    with torch.no_grad():
        return plain_logprobs(model, tokens).numpy()


def scores(client, tokens):
    return np.array(client.compute_logprobs(tinker.ModelInput.from_ints(tokens)).result()[1:])


def replies(client, prompt, count=1, seed=5):
    sequences = ask(client, prompt, seed=seed, count=count, max_tokens=REPLY, stop=[]).result().sequences
    return [(list(reply.tokens), list(reply.logprobs)) for reply in sequences]


def trained_scores(client, tokens):
    output = client.forward([entropy_datum(tokens)], "cross_entropy").result()
    return output.loss_fn_outputs[0]["logprobs"].to_numpy()


def step(client):
    client.forward_backward([entropy_datum(prompt) for prompt in PROMPTS], "cross_entropy").result()
    client.optim_step(tinker.AdamParams(learning_rate=2e-2)).result()


def tensors(client):
    trainer = client._trainer
    adapter = trainer.base.adapters.tensors(trainer.adapter)
    return {**adapter, **{f"moment {name}": value for name, value in trainer.optimizer_tensors().items()}}


@pytest.mark.parametrize("key", CASES)
def test_scores_and_replies_are_those_of_plain_transformers(directory, tmp_path, key):
    path, kind, service = directory(key), KINDS[key], opened(tmp_path)
    client, reference = service.create_sampling_client(base_model=path).result(), plain(path)
    found = service.models[path]
    assert found.is_general == (key[1] == "general") and kind.why in found.why_general
    assert found.keeps_state == kind.keeps_state
    for prompt in [*PROMPTS, LONG]:
        np.testing.assert_allclose(scores(client, prompt), expected(reference, prompt), atol=CLOSE)
        for tokens, logprobs in replies(client, prompt, count=2):
            assert len(tokens) == REPLY
            np.testing.assert_allclose(logprobs, expected(reference, prompt + tokens)[-REPLY:], atol=CLOSE)


@pytest.mark.parametrize("key", CASES)
def test_a_lora_trains_resumes_to_the_bit_and_opens_elsewhere(directory, tmp_path, key):
    path, kind, service = directory(key), KINDS[key], opened(tmp_path)
    base = service.create_sampling_client(base_model=path).result()
    before = [scores(base, prompt) for prompt in PROMPTS]
    client = service.create_lora_training_client(path, rank=4, seed=1).result()
    found = service.models[path].adapters.targets
    by_part: dict[Part, str] = {"attn": kind.attn, "mlp": kind.mlp}
    for part, names in by_part.items():
        assert {layer.rpartition(".")[2] for layer in found.layers(frozenset({part}))} == set(names.split())
    assert (found.share(LoraShape(4).parts) < 1) == (kind.fused or kind.is_partial)
    step(client)
    step(client)
    state = client.save_state("state").result().path
    saved = client.save_weights_for_sampler("weights").result().path
    sampler = service.create_sampling_client(model_path=saved).result()
    after = [scores(sampler, prompt) for prompt in PROMPTS]
    for prompt, own in zip(PROMPTS, after, strict=True):
        np.testing.assert_allclose(trained_scores(client, prompt), own, atol=CLOSE)
    step(client)

    resumed = opened(tmp_path).create_training_client_from_state_with_optimizer(state).result()
    step(resumed)
    one, other = tensors(client), tensors(resumed)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)

    export_merged(saved, tmp_path / "merged", allow_files=True)
    adapted, merged = with_peft(path, saved), plain(tmp_path / "merged")
    for i, prompt in enumerate(PROMPTS):
        assert (scores(base, prompt) == before[i]).all(), "the base model is frozen"
        assert np.abs(after[i] - before[i]).max() > 1e-2
        is_right = np.allclose(after[i], expected(adapted, prompt), rtol=0, atol=CLOSE)
        assert is_right == (key[0] not in MISTAKEN_BY_PEFT)
        np.testing.assert_allclose(after[i], expected(merged, prompt), atol=CLOSE)
