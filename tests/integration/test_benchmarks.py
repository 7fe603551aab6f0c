"""Suites on the fake and on the tiny model: asked once, stopped in the middle, stored, shown, compared."""

import json
import shutil
import tempfile
import uuid

import pytest
from tests.support.mathtutorbench_like import write_checkout
from tests.support.on_the_fake import strict_run
from tests.support.rows import read_rows, write_rows
from tests.support.stores_in_tests import QUICK

from socratic_distill import (
    CheckpointNotFound,
    ConfigError,
    Price,
    RunLocked,
    SuiteError,
    benchmark,
    estimate_benchmark,
    load_benchmarks,
)
from socratic_distill.cli import main
from socratic_distill.run.cloud import mirror
from socratic_distill.run.directory import RunDirectory
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


def priced(config, **changes):
    """The config, with a price for each model that is named."""
    prices = {"small": Price(prefill=1.0, sample=2.0, train=3.0), "large": Price(prefill=10.0, sample=20.0, train=1.0)}
    return config.model_copy(update={"prices": prices, **changes})


def usd(estimate):
    """The estimated cost, which is known."""
    assert estimate.usd is not None
    return estimate.usd


def test_estimate_counts_every_tutor_and_option(run, questions):
    once = estimate_benchmark(run, "choices", questions, ["base"])
    twice = estimate_benchmark(run, "choices", questions, ["base", "final"])
    assert once.items == 8 and once.reply_tokens == 24
    assert (twice.prompt_tokens, twice.reply_tokens) == (2 * once.prompt_tokens, 48)
    assert once.usd is None and "no estimate of the cost" in str(once) and "8 items" in str(once)
    assert estimate_benchmark(priced(run), "choices", questions).usd == pytest.approx(
        (once.prompt_tokens + 2 * 24) / 1e6
    )


def test_estimate_prices_each_tutor_by_its_own_model(run, questions):
    config = priced(run, teacher_model_name="large")
    costs = {name: usd(estimate_benchmark(config, "choices", questions, [name])) for name in ("final", "base", "large")}
    assert costs["base"] == costs["final"] and costs["large"] == pytest.approx(10 * costs["base"])
    teacher = estimate_benchmark(config, "choices", questions, ["teacher"])
    assert teacher.usd == costs["large"]
    both = estimate_benchmark(config, "choices", questions, ["final", "teacher"])
    assert both.usd == pytest.approx(11 * costs["base"])
    assert estimate_benchmark(config, "choices", questions, ["final", "unknown"]).usd is None


def test_estimate_counts_stored_answers_as_free(run, questions, tmp_path):
    config = priced(run)
    first = estimate_benchmark(config, "choices", questions, ["base", "final"])
    assert first.stored == 0 and not (tmp_path / "run" / "suites").exists(), "an estimate writes nothing"
    benchmark(run, "choices", questions, ["base"])
    second = estimate_benchmark(config, "choices", questions, ["base", "final"])
    assert second.stored == 8 and second.usd == pytest.approx(usd(first) / 2) and "8 answers stored" in str(second)
    benchmark(run, "choices", questions, ["final", "teacher"])
    done = estimate_benchmark(config, "choices", questions, ["base", "final", "teacher"])
    assert (done.stored, done.prompt_tokens, done.reply_tokens, done.usd) == (24, 0, 0, 0.0)
    (kept, *_) = (tmp_path / "run" / "suites" / "choices").iterdir()
    kept.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[:3]))
    assert estimate_benchmark(config, "choices", questions, ["base", "final", "teacher"]).stored == 19


def test_estimate_knows_the_stored_verdicts_of_a_judge(make_config, server, tmp_path):
    root = write_checkout(tmp_path / "checkout", rows=2)
    for name in ("gsm8k", "gsm8k_socratic", "stepverify"):
        (root / "datasets" / f"{name}.jsonl").unlink()
    config = priced(make_config(judge={"model_name": "large", "max_tokens": 8}))
    first = estimate_benchmark(config, "mathtutorbench", root, ["base"])
    benchmark(config, "mathtutorbench", root, ["base"])
    done = estimate_benchmark(config, "mathtutorbench", root, ["base"])
    assert first.stored == 0 and usd(first) > 0
    assert (done.items, done.stored, done.usd) == (8, 16, 0.0), "replies and verdicts on them"


def test_shorter_replies_are_other_replies(run, problems):
    found = benchmark(run, "gsm8k", problems, ["base"], max_tokens=1).results["base"]
    assert found.tokens["sampled"] == 12 and found.asked["max_tokens"] == 1
    assert benchmark(run, "gsm8k", problems, ["base"]).results["base"].tokens["sampled"] > 12
    with pytest.raises(ConfigError, match="max_tokens=0; expected at least 1"):
        benchmark(run, "gsm8k", problems, ["base"], max_tokens=0)


@pytest.fixture
def stored_run(make_config, server, tmp_path, monkeypatch):
    """A trained run's config, in a store."""
    pytest.importorskip("fsspec")
    monkeypatch.setattr(mirror, "TIMING", QUICK)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = make_config(log_path=f"memory://{uuid.uuid4().hex}/run-001")
    strict_run(config, server)
    return config


def test_run_in_a_store_is_measured_like_a_local_one(run, stored_run, problems, tmp_path, capsys):
    found = benchmark(stored_run, "gsm8k", problems, ["base", "final"])
    local = benchmark(run, "gsm8k", problems, ["base", "final"])
    assert found.results["base"] == local.results["base"]
    assert found.results["final"].measures.keys() == local.results["final"].measures.keys()
    assert load_benchmarks(stored_run.log_path) == {"gsm8k": found}
    assert estimate_benchmark(stored_run, "gsm8k", problems, ["base", "final"]).stored == 24
    assert not list(tmp_path.glob("socratic-distill-[!c]*")), "a mirror is left on the disk"
    assert main(["benchmark", stored_run.log_path, "--suite", "gsm8k", "--data", str(problems)]) == 0
    assert "12 items, 12 answers stored" in capsys.readouterr().out


def test_stopped_benchmark_in_a_store_goes_on_where_it_was(stored_run, server, problems):
    def stop(name, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark(stored_run, "gsm8k", problems, ["final"], progress=stop)
    kept = estimate_benchmark(stored_run, "gsm8k", problems).stored
    assert 5 <= kept < 12
    before = sampled(server)
    benchmark(stored_run, "gsm8k", problems, ["final"])
    assert sampled(server) - before == 12 - kept


def test_run_in_a_store_has_one_writer(stored_run, problems):
    with RunDirectory(stored_run.log_path), pytest.raises(RunLocked):
        benchmark(stored_run, "gsm8k", problems, ["final"])


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
