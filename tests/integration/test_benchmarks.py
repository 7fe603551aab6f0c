"""Suites on the fake and on the tiny model: asked once, stopped in the middle, stored, shown, compared."""

import json
import shutil

import pytest
from tests.support.mathtutorbench_like import write_checkout
from tests.support.on_the_fake import strict_run
from tests.support.rows import read_rows, write_rows

from socratic_distill import (
    CheckpointNotFound,
    ConfigError,
    Price,
    SuiteError,
    benchmark,
    estimate_benchmark,
    load_benchmarks,
)
from socratic_distill.cli import main
from socratic_distill.service.connect import Service
from socratic_distill.testing import FakeRestClient, FakeServiceClient

PROBLEMS = [{"question": f"What is {i} + 2?", "answer": f"{i} + 2 = {i + 2}\n#### {i + 2}"} for i in range(12)]
QUESTIONS = [
    {"question": f"What is {i} + 1?", "choices": [str(i), str(i + 1), "none of them"], "answer": 1} for i in range(8)
]


@pytest.fixture
def server(monkeypatch):
    """The fake, opened wherever a config is."""
    fake = FakeServiceClient()
    monkeypatch.setattr(
        "socratic_distill.service.connect.open_service", lambda config: Service(fake, FakeRestClient(fake))
    )
    return fake


@pytest.fixture
def run(make_config, server, tmp_path):
    """A trained run's config."""
    config = make_config()
    strict_run(config, server)
    return config


@pytest.fixture
def problems(tmp_path):
    return write_rows(tmp_path / "gsm8k.jsonl", *PROBLEMS)


@pytest.fixture
def questions(tmp_path):
    return write_rows(tmp_path / "mmlu.jsonl", *QUESTIONS)


def sampled(server):
    return sum(call.call == "sample" for call in server.calls)


def test_results_of_several_tutors_are_in_one_file(run, tmp_path, problems):
    found = benchmark(run, "gsm8k", problems, ["base", "final", "2", "teacher"])
    assert list(found.results) == ["base", "final", "2", "teacher"]
    of_final = found.results["final"]
    assert of_final.measures["gsm8k/accuracy"].count == of_final.items == 12 and of_final.failed == 0
    assert of_final.batch is not None and found.results["base"].batch is None and of_final.tokens["sent"] > 0
    assert load_benchmarks(run.log_path) == {"gsm8k": found}
    stored = json.loads((tmp_path / "run" / "suites" / "gsm8k.json").read_text())
    assert stored["about"]["licence"].startswith("MIT") and list(stored["results"]) == list(found.results)
    assert found.differences("base", "final")["gsm8k/accuracy"].seeds == 12


def test_later_tutors_are_added_to_the_file(run, problems):
    first = benchmark(run, "gsm8k", problems, ["base"], limit=3)
    both = benchmark(run, "gsm8k", problems, ["final"], limit=3)
    assert list(both.results) == ["base", "final"] and both.results["base"] == first.results["base"]


def test_stopped_benchmark_goes_on_and_gives_the_same_figures(run, server, tmp_path, problems):
    whole = benchmark(run, "gsm8k", problems, ["final"])
    (kept,) = (tmp_path / "run" / "suites" / "gsm8k").iterdir()
    lines = kept.read_bytes().splitlines(keepends=True)
    asked = []

    def stop(name, done, total):
        asked.append(done)
        if done == 5:
            raise KeyboardInterrupt

    kept.unlink()
    with pytest.raises(KeyboardInterrupt):
        benchmark(run, "gsm8k", problems, ["final"], progress=stop)
    assert 5 <= len(read_rows(kept)) < 12, "what was answered is on disk"
    with kept.open("ab") as file:
        file.write(lines[-1][:20])  # torn by the kill
    again = benchmark(run, "gsm8k", problems, ["final"])
    assert again.results["final"] == whole.results["final"]
    rows = [json.loads(line) for line in kept.read_text().splitlines() if line.endswith("}")]
    assert sorted(row["item"] for row in rows) == sorted({row["item"] for row in rows}) and len(rows) == 12


def test_stored_answers_are_not_asked_again(run, server, problems):
    benchmark(run, "gsm8k", problems, ["final"])
    before = sampled(server)
    benchmark(run, "gsm8k", problems, ["final"])
    assert sampled(server) == before
    benchmark(run, "gsm8k", problems, ["2"])
    assert sampled(server) == before + 12, "other weights, other answers"


def test_options_are_scored_and_not_sampled(run, questions):
    found = benchmark(run, "choices", questions, ["base"]).results["base"]
    assert set(found.measures) == {"choices/accuracy", "choices/accuracy_by_length"}
    assert found.items == 8 and found.failed == 0 and found.tokens["sampled"] == 8 * 3, "one token a request"


def test_mean_logprob_of_texts_is_that_of_their_tokens(run, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Five pens cost ten dollars. " * 60)
    write_rows(tmp_path / "texts" / "b.jsonl", {"text": "A train is late."})
    found = benchmark(run, "text", tmp_path / "texts", ["base"]).results["base"]
    measure = found.measures["text/logprob"]
    tokens = len("Five pens cost ten dollars. " * 60) + len("A train is late.")
    assert measure.value is not None and measure.value < 0
    assert measure.count <= tokens and found.by_seed["text/logprob"]["a/1"][1] > found.by_seed["text/logprob"]["b/1"][1]


def test_mathtutorbench_runs_in_one_call(run, tmp_path):
    root = write_checkout(tmp_path / "checkout", rows=3)
    (root / "datasets" / "gsm8k_socratic.jsonl").unlink()
    found = benchmark(run, "mathtutorbench", root, ["final"])
    measures = found.results["final"].measures
    assert measures["mathtutorbench/mistake_location/f1_micro"].count == 6
    assert "mathtutorbench/scaffolding_generation/asks" in measures
    assert not any("win_rate" in name for name in measures) and any("no win rate" in note for note in found.notes)


def test_judge_stands_in_for_the_reward_model_and_says_so(make_config, server, tmp_path):
    root = write_checkout(tmp_path / "checkout", rows=2)
    for name in ("gsm8k", "gsm8k_socratic", "stepverify"):
        (root / "datasets" / f"{name}.jsonl").unlink()
    config = make_config(judge={"model_name": "babbler", "max_tokens": 8})
    found = benchmark(config, "mathtutorbench", root, ["base"])
    measures = found.results["base"].measures
    assert measures["mathtutorbench/pedagogy_following/judge_unparsed"].value == 1.0
    assert any("not the suite's official score" in note for note in found.notes)


def test_failed_items_are_counted_and_asked_again(run, tmp_path, problems):
    long = write_rows(tmp_path / "long.jsonl", *PROBLEMS, {"question": "So " * 9000 + "2 + 2?", "answer": "#### 4"})
    short = run.model_copy(update={"max_context_tokens": 2000})
    found = benchmark(short, "gsm8k", long, ["base"]).results["base"]
    assert (found.items, found.failed, found.measures["gsm8k/accuracy"].count) == (13, 1, 12)
    assert any("1 of 13 items have no answer and are left out" in note for note in found.notes)


@pytest.mark.parametrize(
    ("suite", "tutors", "error", "message"),
    [
        ("gsm9k", ["base"], SuiteError, "expected one of mathtutorbench, mrbench, gsm8k, choices, text"),
        ("gsm8k", [], ConfigError, "expected one or more names"),
        ("gsm8k", "base", ConfigError, "expected one or more names"),
        ("gsm8k", ["99"], CheckpointNotFound, "no sampler weights"),
        ("mrbench", ["base"], ConfigError, "measures a judge, and the config has none"),
    ],
)
def test_what_cannot_be_measured_is_refused(run, problems, suite, tutors, error, message):
    with pytest.raises(error, match=message):
        benchmark(run, suite, problems, tutors)


def test_estimate_counts_every_tutor_and_option(run, questions):
    once = estimate_benchmark(run, "choices", questions, ["base"])
    twice = estimate_benchmark(run, "choices", questions, ["base", "final"])
    assert once.items == 8 and once.reply_tokens == 24
    assert (twice.prompt_tokens, twice.reply_tokens) == (2 * once.prompt_tokens, 48)
    assert once.usd is None and "no estimate of the cost" in str(once) and "8 items" in str(once)
    priced = estimate_benchmark(
        run.model_copy(update={"prices": {"small": Price(prefill=1.0, sample=2.0, train=3.0)}}), "choices", questions
    )
    assert priced.usd == pytest.approx((once.prompt_tokens + 2 * 24) / 1e6)


def test_command_prints_estimate_table_and_how_it_counts(run, problems, capsys, tmp_path):
    arguments = ["benchmark", str(tmp_path / "run"), "--suite", "gsm8k", "--data", str(problems), "--limit", "4"]
    assert main([*arguments, "--estimate"]) == 0
    assert "4 items, about" in capsys.readouterr().out and not (tmp_path / "run" / "suites").exists()
    assert main([*arguments, "--tutor", "base", "--tutor", "final"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for text in (
        "gsm8k/accuracy ↑",
        "final minus base",
        "Rough:",
        "test split of openai/grade-school-math",
        "data MIT",
    ):
        assert text in printed


def test_damaged_results_are_left_out(run, tmp_path, problems, caplog):
    benchmark(run, "gsm8k", problems, ["base"], limit=2)
    shutil.copy(tmp_path / "run" / "suites" / "gsm8k.json", tmp_path / "run" / "suites" / "other.json")
    assert list(load_benchmarks(run.log_path)) == ["gsm8k"] and "other.json holds no results" in caplog.text
    (tmp_path / "run" / "suites" / "gsm8k.json").write_text("{")
    assert load_benchmarks(run.log_path) == {}
    assert list(benchmark(run, "gsm8k", problems, ["base"], limit=2).results) == ["base"]
