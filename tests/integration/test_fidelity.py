"""Students that hold their misconception, and students that give in to whoever disagrees."""

import json
import re
from pathlib import Path

import pytest
from tests.support.chat_server import ChatServer
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import write_rows

from socratic_distill import ConfigError, evaluation, student_fidelity, write_report
from socratic_distill.cli import main
from socratic_distill.evaluation.fidelity import SCORE, read_fidelity, write_fidelity
from socratic_distill.testing import FakeRestClient, FakeServiceClient

TARGETED, MISALIGNED = "You took the wrong sign.", "You forgot the zero."


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-and-secret")


@pytest.fixture
def seeds(tmp_path) -> Path:
    feedback = {"feedback": TARGETED, "misaligned_feedback": MISALIGNED}
    rows = [
        {"id": f"s{i}", "question": f"What is {i} + 40?", "expected_answer": str(40 + i),
         "initial_error": f"{i} + 40 = {i}", "fields": feedback} for i in range(1, 9)
    ]  # fmt: skip
    return write_rows(tmp_path / "mistakes.jsonl", *rows)


def right(messages):
    """The answer of the problem that a student's prompt holds."""
    return str(40 + int(re.findall(r"What is (\d+) \+ 40", messages[0]["content"])[0]))


def faithful(messages, seed):
    return right(messages) if messages[-1]["content"] == TARGETED else "I say 7."


def sycophant(messages, seed):
    return right(messages) if len(messages) > 2 else "I say 7."


def stubborn(messages, seed):
    return "I say 7."


def measured(make_config, seeds, model, **fields):
    service = FakeServiceClient()
    with ChatServer(model) as server:
        students = [{"name": "x", "model_name": "m", "endpoint": {"base_url": server.url}}]
        config = make_config(seeds_file=seeds, students=students)
        return student_fidelity(config, service_client=service, rest_client=FakeRestClient(service), **fields)


@pytest.mark.parametrize(
    ("model", "rates", "score", "is_doubtful"),
    [(faithful, (1, 0, 0), 1.0, False), (sycophant, (1, 1, 1), 0.0, True), (stubborn, (0, 0, 0), 0.0, True)],
)
def test_only_a_student_that_needs_a_reason_scores(make_config, seeds, model, rates, score, is_doubtful):
    fidelity = measured(make_config, seeds, model)
    measures = fidelity.students["x"]
    assert tuple(measures[name].value for name in ("targeted", "misaligned", "generic")) == rates
    assert measures[SCORE].value == score and measures["targeted"].count == 8 * 4
    assert (fidelity.doubtful == ["x"]) is is_doubtful
    assert (fidelity.warning is not None) is is_doubtful and fidelity.left_out == 0
    assert fidelity == measured(make_config, seeds, model), "the same again"


def test_attempts_that_are_right_at_first_are_left_out(make_config, seeds):
    fidelity = measured(make_config, seeds, lambda messages, seed: right(messages), samples=2)
    assert fidelity.left_out == 8 * 2 * 3
    assert fidelity.students["x"][SCORE].value is None and fidelity.doubtful == ["x"]


def test_feedback_that_says_the_answer_is_left_out(make_config, tmp_path):
    row = {"question": "What is 1 + 40?", "expected_answer": "41", "initial_error": "1 + 40 = 1"}
    fields = {"feedback": "It is 41.", "misaligned_feedback": MISALIGNED}
    fidelity = measured(make_config, write_rows(tmp_path / "telling.jsonl", row | {"fields": fields}), faithful)
    assert fidelity.left_out == 4 * 3


def test_a_model_writes_feedback_where_seeds_have_none(make_config, tmp_path):
    row = {"question": "What is 1 + 40?", "expected_answer": "41", "initial_error": "1 + 40 = 1"}
    told = []

    def writer(messages, seed):
        if len(messages) == 1:
            told.append(messages[0]["content"])
            return "Look at the tens."
        return "I say 7."

    with ChatServer(writer) as server:
        judge = {"model_name": "m", "endpoint": {"base_url": server.url}}
        fidelity = measured(
            make_config, write_rows(tmp_path / "plain.jsonl", row), stubborn, writer=evaluation_judge(judge)
        )
    assert fidelity.students["x"]["targeted"].count == 4
    assert len(told) == 2 and all("wrong solution: 1 + 40 = 1" in text for text in told)


def evaluation_judge(fields):
    from socratic_distill import Judge

    return Judge(**fields)


def test_seeds_without_a_mistake_are_refused(make_config, tmp_path):
    seeds = write_rows(tmp_path / "plain.jsonl", {"question": "What is 1 + 40?", "expected_answer": "41"})
    with pytest.raises(ConfigError, match="none of the 1 seeds has both an initial_error and an answer"):
        measured(make_config, seeds, faithful)


def test_it_is_kept_in_the_run_and_the_report_warns(make_config, seeds):
    config = make_config(seeds_file=seeds, max_steps=1)
    train_on_fake(FakeServiceClient(), config)
    directory = Path(config.log_path)
    for model, warns in ((faithful, False), (sycophant, True)):
        fidelity = measured(make_config, seeds, model)
        write_fidelity(directory, fidelity)
        assert read_fidelity(directory) == fidelity
        page = write_report(directory).read_text()
        assert ("may change the answer whatever the feedback says" in page) is warns
    (directory / "students.json").write_text('{"students": [1]}')
    assert read_fidelity(directory) is None


def test_command_prints_the_table(make_config, seeds, monkeypatch, capsys):
    config = make_config(seeds_file=seeds, max_steps=1)
    train_on_fake(FakeServiceClient(), config)
    fidelity = measured(make_config, seeds, sycophant)
    monkeypatch.setattr("socratic_distill.evaluation.fidelity.student_fidelity", lambda config, **options: fidelity)
    assert main(["students", config.log_path, "--allow-files"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "flips on targeted feedback" in printed and "near 0" in printed
    assert json.loads((Path(config.log_path) / "students.json").read_text())["students"]["x"]
    assert evaluation.Fidelity is type(fidelity)
