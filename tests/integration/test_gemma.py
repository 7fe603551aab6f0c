"""The real Gemma 3 270M from its packages: sliding window, one key-value head; `make test-gemma` installs it."""

import math
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import numpy as np
import tinker
import torch
from examples.gemma import DATA, common_fields, model_file
from tests.support.rows import read_rows
from transformers import AutoModelForCausalLM

from socratic_distill import build_socratic_config, load_seeds, train
from socratic_distill.local import LocalRestClient, LocalServiceClient

pytestmark = pytest.mark.gemma
WINDOW = 512
# As the project promises for the general path, in nats, in fp32.
ALIKE = 5e-5


@pytest.fixture(scope="module")
def file():
    return model_file()


@pytest.fixture(scope="module")
def client(file, tmp_path_factory):
    service = LocalServiceClient(tmp_path_factory.mktemp("store"), dtype="float32")
    return service.create_sampling_client(base_model=str(file)).result()


@pytest.fixture(scope="module")
def plain(file):
    """The same file in plain transformers."""
    return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokens(client):
    """A text that is longer than the window."""
    questions = "\n".join(seed.question for seed in load_seeds(DATA / "tutoring_problems.jsonl")[:40])
    return client.get_tokenizer().encode(questions)[: WINDOW + 90]


def logprobs(model, tokens):
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([tokens])).logits[0, :-1], dim=-1)
    return scores.gather(1, torch.tensor(tokens)[1:, None])[:, 0].numpy()


def test_logprobs_beyond_the_window_are_those_of_plain_transformers(client, plain, tokens):
    assert len(tokens) > WINDOW and tokens[0] == client.get_tokenizer().bos_token_id
    scores = client.compute_logprobs(tinker.ModelInput.from_ints(tokens)).result()
    expected = logprobs(plain, tokens)
    np.testing.assert_allclose(scores[1:], expected, atol=ALIKE, rtol=0)
    assert expected.mean() > -4, "the model knows English"


def test_reply_across_the_window_has_the_logprobs_of_transformers(client, plain, tokens):
    prompt = tokens[: WINDOW - 4]
    params = tinker.SamplingParams(max_tokens=12, temperature=1.0, seed=3)
    (reply,) = client.sample(tinker.ModelInput.from_ints(prompt), 1, params).result().sequences
    assert len(prompt) + len(reply.tokens) > WINDOW
    expected = logprobs(plain, [*prompt, *reply.tokens])[len(prompt) - 1 :]
    np.testing.assert_allclose(reply.logprobs, expected, atol=ALIKE, rtol=0)


def pieces(text, scores):
    """The pieces of a text by the file's own scores; as in SentencePiece, neighbours with the best score join first."""
    parts = list(text.replace(" ", "▁"))
    while True:
        joins = [(scores[a + b], -i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in scores]
        if not joins:
            return parts
        place = -max(joins)[1]
        parts[place : place + 2] = ["".join(parts[place : place + 2])]


def test_tokenizer_splits_as_the_scores_in_the_file_say(client, file):
    from gguf import GGUFReader

    fields = GGUFReader(file).fields
    names, values = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "scores"))
    scores = dict(zip(names, values, strict=True))
    tokenizer = client.get_tokenizer()
    for seed in load_seeds(DATA / "tutoring_heldout.jsonl")[::10]:
        ids = tokenizer.encode(seed.question, add_special_tokens=False)
        assert tokenizer.convert_ids_to_tokens(ids) == pieces(seed.question, scores)
        assert tokenizer.decode(ids) == seed.question


def test_two_steps_on_real_weights_have_a_finite_teacher_kl(file, tmp_path):
    fields: dict[str, Any] = common_fields(str(file)) | {"max_tokens": 8, "student_max_tokens": 8, "lora_rank": 4}
    config = build_socratic_config(
        **fields,
        learning_rate=3e-4,
        log_path=tmp_path / "run",
        groups_per_batch=1,
        max_steps=2,
        display="off",
    )
    # The bound is fp32's, whatever the machine would choose.
    service = LocalServiceClient(tmp_path / "run" / "local", dtype="float32")
    train(config, service_client=service, rest_client=LocalRestClient(service))
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == 2
    assert all(math.isfinite(row["teacher_kl"]) and row["drift/max"] < 1e-3 for row in rows)
