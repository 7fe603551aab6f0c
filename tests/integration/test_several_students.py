"""Runs with several students, with a student on another endpoint, and with a tutor who begins."""

import json
from collections import Counter
from pathlib import Path

import pytest
from tests.support.chat_server import ChatServer
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, rows_but_recoveries

from socratic_distill import ConfigError, RolloutError, UntrustedConfig, evaluate, preflight
from socratic_distill.run.directory import load_config
from socratic_distill.testing import FakeRestClient, FakeServiceClient

TWO = [{"name": "guesser", "persona": "guesser", "share": 0.3}, {"name": "other", "share": 0.7, "top_p": 0.9}]


def says(messages, seed):
    """A student who guesses by the seed, after what it heard."""
    return f"I say {seed % 7 + len(messages)}."


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("SOCRATIC_TEST_KEY", "sk-planted-and-secret")


def remote(server, **fields):
    endpoint = {"base_url": server.url, "api_key_variable": "SOCRATIC_TEST_KEY", "max_concurrent_requests": 4}
    return {"name": "remote", "model_name": "gpt-x", "endpoint": endpoint} | fields


def test_two_students_have_their_shares_after_a_resume_too(make_config, tmp_path):
    fields = {"students": TWO, "num_envs": 20, "groups_per_batch": 5, "max_turns": 1}
    whole = make_config(**fields, max_steps=4, log_path=tmp_path / "whole")
    train_on_fake(FakeServiceClient(), whole)
    parts, service = make_config(**fields, max_steps=2, log_path=tmp_path / "parts"), FakeServiceClient()
    train_on_fake(service, parts)
    train_on_fake(service, parts.model_copy(update={"max_steps": 4}))
    assert rows_but_recoveries(parts.log_path) == rows_but_recoveries(whole.log_path)
    metrics, dialogues = rows_but_recoveries(whole.log_path)
    count = Counter(row["student"] for row in dialogues)
    # Four standard deviations of the share of 400 draws are 0.092.
    assert count["guesser"] / len(dialogues) == pytest.approx(0.3, abs=0.092)
    assert all("You do not like to work" in row["student_profile"] for row in dialogues if row["student"] == "guesser")
    assert sum(row["dialogues/student/guesser"] for row in metrics) == count["guesser"]
    assert {"solved/student/other", "told/student/other", "reward/student/guesser"} <= metrics[0].keys()


def test_measures_are_there_for_each_student(make_config):
    config = make_config(students=TWO, eval_seeds=2, eval_dialogues_per_seed=20)
    service = FakeServiceClient()
    evaluation = evaluate(config, "base", service_client=service, rest_client=FakeRestClient(service))
    by_student = [evaluation.measures[f"asks/student/{name}"].count for name in ("guesser", "other")]
    assert all(by_student) and sum(by_student) == evaluation.measures["asks"].count


def test_a_student_on_a_failing_endpoint_trains_to_the_same_rows(make_config, tmp_path):
    rows = []
    for name, fails in (("calm", lambda number: None), ("failing", lambda number: (503, 429, 0)[number % 3])):
        # Five of a hundred requests fail: busy, too many, cut.
        fault = lambda number, fails=fails: fails(number // 20) if number % 20 == 7 else None  # noqa: E731
        with ChatServer(says, fault) as server:
            config = make_config(students=[remote(server), TWO[1]], log_path=tmp_path / name)
            assert train_on_fake(FakeServiceClient(), config).status == "completed"
            assert server.keys == {"Bearer sk-planted-and-secret"}
            assert len(server.asked) > 40
            told = json.dumps(server.asked[0]["messages"])
            assert "What is" in told or "How many" in told
        rows.append(rows_but_recoveries(config.log_path))
        assert "sk-planted" not in "".join(path.read_text() for path in Path(config.log_path).glob("*.json*"))
    assert rows[0] == rows[1]
    turns = [turn for row in rows[0][1] if row["student"] == "remote" for turn in row["turns"]]
    assert turns[0]["text"].startswith("I say ") and rows[0][0][0]["prompt_tokens/student_cached"] >= 3


def test_an_endpoint_that_refuses_ends_the_run_with_its_reason(make_config):
    refused = pytest.raises(RolloutError, match="failed a request: AuthenticationError")
    with ChatServer(says, lambda number: 401) as server, refused as caught:
        train_on_fake(FakeServiceClient(), make_config(students=[remote(server)]))
    assert "sk-planted" not in str(caught.value)


def test_no_redirect_of_an_endpoint_is_followed(make_config):
    with ChatServer(says) as elsewhere, ChatServer(says) as server:
        server.redirects_to = elsewhere.url
        with pytest.raises(RolloutError, match="failed a request: APIStatusError"):
            train_on_fake(FakeServiceClient(), make_config(students=[remote(server)]))
        assert server.asked and not elsewhere.asked


def test_a_missing_key_is_a_problem_of_the_start(make_config, monkeypatch):
    monkeypatch.delenv("SOCRATIC_TEST_KEY")
    service = FakeServiceClient()
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "api_key_variable": "SOCRATIC_TEST_KEY"}
    config = make_config(students=[{"name": "remote", "model_name": "gpt-x", "endpoint": endpoint}])
    seen = preflight(config, service_client=service, rest_client=FakeRestClient(service))
    assert [str(problem) for problem in seen.problems if "SOCRATIC_TEST_KEY is not set" in str(problem)]
    with pytest.raises(ConfigError, match="SOCRATIC_TEST_KEY is not set"):
        train_on_fake(service, config)
    assert service.count("sample") == 0


def test_a_stored_config_sends_nothing_to_an_endpoint(make_config, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with ChatServer(says) as server:
        train_on_fake(FakeServiceClient(), make_config(students=[remote(server)], eval_seeds=1, max_steps=2))
        before, log_path, service = len(server.asked), make_config().log_path, FakeServiceClient()
        clients = {"service_client": service, "rest_client": FakeRestClient(service)}
        with pytest.raises(UntrustedConfig, match=r"--allow-server http://127\.0\.0\.1:"):
            evaluate(load_config(log_path, allow_files=True), "base", **clients)
        assert len(server.asked) == before
        evaluate(load_config(log_path, allow_files=True, allow_servers=[server.url]), "base", **clients)
        assert len(server.asked) > before


def test_a_tutor_may_begin_and_end_the_dialogue(make_config):
    end = {"kind": "phrase", "phrase": "."}
    config = make_config(opening="tutor", endings=["solved", end], max_turns=3)
    service = FakeServiceClient()
    assert train_on_fake(service, config).status == "completed"
    rows = read_rows(Path(config.log_path) / "dialogues.jsonl")
    assert {row["turns"][0]["role"] for row in rows} == {"tutor"}
    assert all(len(turn["tutor_logprobs"]) == len(turn["teacher_logprobs"]) == len(turn["tokens"])
               for row in rows for turn in row["turns"] if turn["role"] == "tutor")  # fmt: skip
    assert {row["ending"] for row in rows} <= {"ended_by_tutor", "max_turns", "solved", "solved_after_tell"}


@pytest.mark.parametrize("opening", ["question", "attempt"])
def test_a_student_may_begin_with_a_question_or_an_attempt(make_config, opening):
    config = make_config(opening=opening, max_steps=1)
    assert train_on_fake(FakeServiceClient(), config).status == "completed"
