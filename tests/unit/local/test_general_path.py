"""The general path: when a model takes it, that nothing else changes its bits, and what is refused."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from architectures import GENERAL, save_architecture, save_tiny
from engine_data import ask, entropy_datum, plain_logprobs
from tests.support.rows import read_rows
from tests.support.tiny_runs import tiny_config, tiny_fields
from transformers import AutoModelForCausalLM, DynamicCache

from socratic_distill import UnsupportedModel, train
from socratic_distill.local import LocalServiceClient, base_model, head, proof, slots
from socratic_distill.local.draws import Row
from socratic_distill.local.sampling import carry_out
from socratic_distill.local.scoring import ScoreRequest
from socratic_distill.local.works import Work

PROMPTS = [list(range(20, 32)), list(range(20, 29)), [40, 41, 7, 43, 44, 45, 46, 47, 48, 9, 50, 51, 52, 53]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Gives the directory of a tiny model of the general path, made once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = save_tiny(tmp_path_factory.mktemp(name), name, GENERAL[name])
        return made[name]

    return make


@pytest.fixture(autouse=True)
def no_verdicts(monkeypatch):
    """Every test makes the proof itself."""
    monkeypatch.setattr(proof, "_verdicts", {})


def scores(client, tokens):
    return client.compute_logprobs(tinker.ModelInput.from_ints(tokens)).result()[1:]


def assert_plain(client, path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        for prompt in PROMPTS:
            np.testing.assert_allclose(scores(client, prompt), plain_logprobs(model, prompt).numpy(), atol=5e-5)
            (reply,) = ask(client, prompt, seed=1, max_tokens=12).result().sequences
            whole = plain_logprobs(model, prompt + list(reply.tokens)).numpy()
            np.testing.assert_allclose(reply.logprobs, whole[len(prompt) - 1 :], atol=5e-5)


def works(order):
    """A batch of three prompts with replies and scores; the prompts come in some order."""
    batch = []
    for i in order:
        rows = [Row(12, 1.0, 1.0, -1, frozenset(), (), seed=i, index=index) for index in range(1 + i)]
        batch.append(Work(tuple(PROMPTS[i]), rows, ScoreRequest(size=len(PROMPTS[i]), logprobs=True)))
    return dict(zip(order, batch, strict=True))


def results(batch):
    return {
        i: (work.scores.logprobs[1:].tolist(), [(row.tokens, row.logprobs) for row in work.rows])
        for i, work in batch.items()
    }


@pytest.mark.parametrize("name", ["Gemma3Text", "Qwen3_5Text", "GptOss"])
def test_answers_have_the_same_bits_alone_and_with_others(service, directory, name):
    service.create_sampling_client(base_model=directory(name)).result()
    base = service.models[directory(name)]
    found = []
    for orders in ([[0, 1, 2]], [[2, 0, 1]], [[0], [1], [2]]):
        found.append({})
        for order in orders:
            batch = works(order)
            carry_out(base, None, list(batch.values()))
            found[-1] |= results(batch)
    assert found[0] == found[1] == found[2]
    alone = works([2])
    del alone[2].rows[1:]
    carry_out(base, None, list(alone.values()))
    assert results(alone)[2][1] == found[0][2][1][:1], "the other replies of its prompt change nothing either"


@pytest.mark.parametrize("name", ["Gemma2", "Qwen3_5Text"])
def test_gradients_do_not_depend_on_the_order_of_the_data(service, directory, name):
    client = service.create_lora_training_client(directory(name), rank=2, seed=1).result()
    found = []
    for order in ([0, 1, 2], [2, 1, 0]):
        client.forward_backward([entropy_datum(PROMPTS[i]) for i in order], "cross_entropy").result()
        found.append({key: p.grad.clone() for key, p in client._trainer._parameters.items()})
        for parameter in client._trainer._parameters.values():
            parameter.grad = None
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_gradient_checkpointing_gives_the_same_gradients(directory, tmp_path):
    path, found = directory("Qwen3_5Text"), []
    for on in (False, True):
        service = LocalServiceClient(tmp_path / str(on), device="cpu", dtype="float32", gradient_checkpointing=on)
        client = service.create_lora_training_client(path, rank=2, seed=1).result()
        client.forward_backward([entropy_datum(prompt) for prompt in PROMPTS], "cross_entropy").result()
        found.append({key: p.grad for key, p in client._trainer._parameters.items()})
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, atol=1e-5, rtol=1e-4)


def test_the_path_is_said_once_at_load_and_by_check(service, directory, caplog):
    path = directory("Gemma3Text")
    with caplog.at_level(logging.WARNING, logger="socratic_distill"):
        for _ in range(2):
            service.create_sampling_client(base_model=path).result()
        text = service.check_training(path).result()
    (record,) = caplog.records
    said = (
        "the general path reads it, one sequence at a time and slower, because its attention has a window of 8 tokens"
    )
    assert record.getMessage().startswith(f"model {path!r}: {said}") and said in text
    assert service.check_training("tiny").result().endswith("; the fast path reads it")


def test_a_window_as_wide_as_the_context_is_none(service, tmp_path):
    path = save_architecture(tmp_path, "Mistral", sliding_window=512)
    client = service.create_sampling_client(base_model=path).result()
    assert not service.models[path].is_general
    assert_plain(client, path)


def test_a_model_that_the_fast_path_misreads_takes_the_general_one(service, tmp_path, monkeypatch):
    mask = slots.Pass.mask
    monkeypatch.setattr(slots.Pass, "mask", lambda self: torch.zeros_like(mask(self)))
    path = save_architecture(tmp_path, "OPT")
    client = service.create_sampling_client(base_model=path).result()
    assert "on the fast path its log-probabilities in the engine" in service.models[path].why_general
    assert_plain(client, path)


def test_a_model_whose_cache_misleads_is_read_without_one(service, directory, monkeypatch):
    monkeypatch.setattr(base_model, "state_of", lambda outputs: DynamicCache())
    path = directory("Cohere")
    client = service.create_sampling_client(base_model=path).result()
    base = service.models[path]
    assert not base.keeps_state and base.path.endswith("for each token the whole sequence is read again")
    assert_plain(client, path)


def test_a_model_that_no_path_reads_rightly_is_refused(service, directory, monkeypatch):
    own = head.own_logits
    monkeypatch.setattr(base_model, "own_logits", lambda model, outputs: 1.3 * own(model, outputs))
    with pytest.raises(UnsupportedModel, match=r"GraniteForCausalLM\): its log-prob.* differ by .* nats.*base_url"):
        service.create_sampling_client(base_model=directory("Granite")).result()


def test_a_failing_output_layer_leaves_the_model_as_it_was(service, directory):
    client = service.create_sampling_client(base_model=directory("Granite")).result()
    model = service.models[directory("Granite")].model
    before = scores(client, PROMPTS[0])
    with pytest.raises(RuntimeError):
        head.own_logits(model, torch.zeros(3, 7))  # not as wide as the model
    assert "forward" not in vars(model.get_decoder()) and scores(client, PROMPTS[0]) == before


def test_a_listener_hears_each_token_and_may_end_the_reply(service, directory):
    client, heard = service.create_sampling_client(base_model=directory("Gemma3Text")).result(), []

    def listen(row):
        heard.append(list(row.tokens))
        return len(row.tokens) < 5

    params = tinker.SamplingParams(max_tokens=12, seed=5)
    (reply,) = client.stream(tinker.ModelInput.from_ints(PROMPTS[0]), 1, params, listen).result().sequences
    assert [len(tokens) for tokens in heard] == [1, 2, 3, 4, 5] and heard[-1] == list(reply.tokens)
    (whole,) = ask(client, PROMPTS[0], seed=5, max_tokens=12).result().sequences
    assert list(whole.tokens)[:5] == heard[-1]


RUN = "import json, sys; from socratic_distill import *; train(build_socratic_config(**json.loads(sys.argv[1])))"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Gemma3Text", "Qwen3_5Text", "GptOss"])
def test_a_killed_run_resumes_to_the_same_rows_and_weights(directory, tmp_path, name):
    small = {"max_steps": 3, "save_every": 1, "groups_per_batch": 2, "max_tokens": 16}
    fields = {f"{role}_model_name": directory(name) for role in ("tutor", "student", "teacher")} | small
    train(tiny_config(tmp_path / "whole", **fields))
    given = tiny_fields(**fields, log_path=str(tmp_path / "run"))
    child = subprocess.Popen([sys.executable, "-c", RUN, json.dumps(given)], stderr=subprocess.PIPE)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert child.poll() is None, f"the run ended by itself: {child.communicate()[1].decode()}"
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    result = train(tiny_config(tmp_path / "run", **fields))
    assert result.status == "completed"
    for file in ("metrics.jsonl", "dialogues.jsonl"):
        assert read_rows(tmp_path / "run" / file) == read_rows(tmp_path / "whole" / file)
