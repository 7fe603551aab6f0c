"""What suites found, in the report and in `compare`."""

import json
import sys
import types
from typing import ClassVar

import pytest
from tests.support.on_the_fake import strict_run
from tests.support.rows import write_rows

from socratic_distill import ConfigError, Measure, benchmark, write_report
from socratic_distill.cli import main
from socratic_distill.evaluation.suites.catalogue import SUITES
from socratic_distill.evaluation.suites.results import Benchmark, SuiteResult, add_results
from socratic_distill.outputs.trackers.adapters import OPENERS
from socratic_distill.outputs.trackers.suites import track_suite
from socratic_distill.run.directory import RunDirectory
from socratic_distill.testing import FakeRestClient, FakeServiceClient

REVEALING = "mrbench/Revealing_of_the_Answer"
AGREES = {f"{REVEALING}/accuracy": Measure(0.84, 0.8, 0.88, 90), f"{REVEALING}/kappa": Measure(0.612, 0.5, 0.7, 90)}


def found(suite, **results):
    return Benchmark(SUITES[suite].about, results)


def solver(share, seeds=40):
    right = round(share * seeds)
    return SuiteResult(
        "weights",
        {"gsm8k/accuracy": Measure(share, share - 0.1, share + 0.1, seeds)},
        by_seed={"gsm8k/accuracy": {f"s{i}": (float(i < right), 1) for i in range(seeds)}},
    )


def text_of(config):
    path = write_report(config.log_path)
    return " ".join(path.read_text().split())


def test_report_says_in_one_line_what_was_forgotten(make_config, tmp_path):
    config = make_config(max_steps=1)
    strict_run(config)
    assert "What training changed" not in text_of(config)
    add_results(tmp_path / "run", found("gsm8k", base=solver(0.9), final=solver(0.5)))
    page = text_of(config)
    assert "What training changed of what the model could do before: lost gsm8k/accuracy -40%" in page
    assert "Published suites" in page and "test split of openai/grade-school-math" in page
    add_results(tmp_path / "run", found("gsm8k", base=solver(0.5), final=solver(0.9)))
    assert "before: gained gsm8k/accuracy +40%" in text_of(config)
    add_results(tmp_path / "run", found("gsm8k", final=solver(0.55)))
    assert "before: not clear gsm8k/accuracy +5%" in text_of(config)


def test_verdicts_of_a_judge_stand_beside_its_agreement(make_config, tmp_path):
    config = make_config(max_steps=1, eval_every=1, eval_seeds=2, judge={"model_name": "babbler", "max_tokens": 8})
    strict_run(config)
    assert "agreement with people: not measured" in text_of(config)
    own = json.loads((tmp_path / "run" / "config.json").read_text())["judge"]
    add_results(
        tmp_path / "run", found("mrbench", other=SuiteResult("x", AGREES, asked={"judge": own | {"max_tokens": 9}}))
    )
    assert "agreement with people: not measured" in text_of(config), "of another judge"
    add_results(tmp_path / "run", found("mrbench", babbler=SuiteResult("x", AGREES, asked={"judge": own})))
    assert "agreement with people: 84% [80%, 88%], kappa 0.612 [0.500, 0.700]" in text_of(config)


def test_judge_of_a_run_is_measured_and_recognised(make_config, tmp_path):
    labels = dict.fromkeys(("Mistake_Identification", "Coherence"), "Yes") | {"Revealing_of_the_Answer": "No"}
    row = {
        "conversation_id": "c", "conversation_history": "Tutor: 2 + 2?\nStudent: 5",
        "anno_llm_responses": {f"t{i}": {"response": "Why?", "annotation": labels} for i in range(2)},
    }  # fmt: skip
    data = tmp_path / "MRBench_V2.json"
    data.write_text(json.dumps([row]))
    config = make_config(max_steps=1, eval_every=1, eval_seeds=2, judge={"model_name": "babbler", "max_tokens": 8})
    service = strict_run(config)
    measured = benchmark(config, "mrbench", data, service_client=service, rest_client=FakeRestClient(service))
    (result,) = measured.results.values()
    assert result.items == 6 and result.measures[f"{REVEALING}/unparsed"].value == 1.0
    assert "agreement with people: 0%, kappa 0.000" in text_of(config), "one dialogue has no interval"


@pytest.fixture
def two(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, share in (("a", 0.3), ("b", 0.7)):
        strict_run(make_config(max_steps=1, eval_every=1, eval_seeds=2, log_path=f"runs/{name}"))
        add_results(tmp_path / "runs" / name, found("gsm8k", base=solver(0.5), final=solver(share)))
    return tmp_path


def printed(capsys, *arguments):
    assert main(["compare", *arguments]) == 0
    return capsys.readouterr().out


def test_compare_shows_suites_side_by_side(two, capsys):
    out = printed(capsys, "runs/a", "runs/b")
    row = next(line for line in out.splitlines() if "gsm8k/accuracy" in line)
    assert row.index("30%") < row.index("70%")
    (a, b) = json.loads(printed(capsys, "runs/a", "runs/b", "--json"))["suites"]
    assert a["gsm8k"]["final"]["gsm8k/accuracy"]["value"] == 0.3 and b["gsm8k"]["base"]


@pytest.mark.parametrize(("measure", "is_turned"), [("gsm8k/accuracy", True), ("time/step", None), ("asks", None)])
def test_compare_sorts_by_any_measure(two, capsys, measure, is_turned):
    out = json.loads(printed(capsys, "runs/a", "runs/b", "--sort", measure, "--json"))
    names = [run["path"] for run in out["runs"]]
    assert sorted(names) == ["runs/a", "runs/b"]
    if is_turned:
        assert names == ["runs/b", "runs/a"] and out["suites"][0]["gsm8k"]["final"]["gsm8k/accuracy"]["value"] == 0.7


def test_compare_refuses_a_measure_that_no_run_has(two, capsys):
    assert main(["compare", "runs/a", "runs/b", "--sort", "beauty"]) == 1
    assert "no run has a figure 'beauty'" in capsys.readouterr().err


def test_a_service_is_not_asked_for_reports(two, capsys, no_network):
    printed(capsys, "runs/a", "runs/b", "--sort", "gsm8k/accuracy")
    assert not no_network


class Notebook:
    """A tracker that keeps what it gets."""

    pages: ClassVar[list[tuple[int, dict[str, float]]]] = []

    def __init__(self, tracked):
        self.batch = tracked.batch

    def log(self, step, values):
        raise AssertionError("suites are no steps")

    def evaluation(self, batch, values):
        self.pages.append((batch, dict(values)))

    def rewind(self, batch):
        pass

    def close(self):
        pass


def test_trackers_get_the_results_of_suites(make_config, tmp_path, monkeypatch):
    monkeypatch.setitem(OPENERS, "trackio", Notebook)
    monkeypatch.setitem(sys.modules, "trackio", types.ModuleType("trackio"))
    config = make_config(max_steps=2)
    strict_run(config)
    Notebook.pages.clear()
    measured, run = (
        found("gsm8k", base=solver(0.5), final=solver(0.9), teacher=solver(1.0)),
        RunDirectory(tmp_path / "run"),
    )
    track_suite(config, run, measured)
    assert not Notebook.pages, "the config names no tracker"
    tracked = config.model_copy(update={"trackers": ("trackio",)})
    track_suite(tracked, run, measured)
    assert [batch for batch, _ in Notebook.pages] == [0, 2, 2]
    assert [page["eval/gsm8k/accuracy"] for _, page in Notebook.pages[:2]] == [0.5, 0.9]
    assert Notebook.pages[2][1]["eval/gsm8k/accuracy/of/teacher"] == 1.0


def test_benchmark_in_python_logs_to_trackers(make_config, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(OPENERS, "trackio", Notebook)
    monkeypatch.setitem(sys.modules, "trackio", types.ModuleType("trackio"))
    problems = write_rows(tmp_path / "gsm8k.jsonl", {"question": "What is 2 + 2?", "answer": "#### 4"})
    config, service = make_config(max_steps=2), FakeServiceClient()
    tracked = config.model_copy(update={"trackers": ("trackio",)})
    clients = {"service_client": service, "rest_client": FakeRestClient(service)}
    Notebook.pages.clear()
    benchmark(tracked, "gsm8k", problems, ["base"], **clients)
    assert not Notebook.pages and "has not begun" in caplog.text
    strict_run(config, service)
    benchmark(tracked, "gsm8k", problems, ["base"], **clients)
    benchmark(tracked, "gsm8k", problems, ["final"], **clients)
    assert [batch for batch, _ in Notebook.pages] == [0, 2], "only what this call measured is logged"
    assert "eval/gsm8k/accuracy" in Notebook.pages[1][1]


def test_missing_tracker_is_refused_before_anything_is_asked(make_config, tmp_path):
    problems = write_rows(tmp_path / "gsm8k.jsonl", {"question": "What is 2 + 2?", "answer": "#### 4"})
    config, service = make_config(), FakeServiceClient()
    tracked = config.model_copy(update={"trackers": ("wandb",)})
    with pytest.raises(ConfigError, match="its library is not installed"):
        benchmark(tracked, "gsm8k", problems, ["base"], service_client=service, rest_client=FakeRestClient(service))
    assert not service.calls
