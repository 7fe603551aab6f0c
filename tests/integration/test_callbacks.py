"""Callbacks of runs on the fake: what they are told, that they do no harm, and where they stop a run."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.rows import read_rows

from socratic_distill import (
    Callback,
    EarlyStopping,
    Stop,
    TrainingError,
    load_checkpoints,
    load_evaluations,
    train,
)
from socratic_distill.run.journal import Journal
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault
from socratic_distill.testing.store import DirectoryStore

pytestmark = pytest.mark.thinned

EVALUATED = {"eval_every": 2, "eval_seeds": 2, "max_steps": 8}
# The fake's tutor learns, so the "goal" of more divergence is never reached: it stops at a known place.
ON_STEP: dict[str, Any] = {"measure": "teacher_kl/other", "patience": 3, "min_change": 10, "goal": "higher"}
ON_EVALUATION: dict[str, Any] = {"measure": "teacher_kl", "patience": 2, "min_change": 10, "goal": "higher"}


class Noting(Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Any]] = []

    def on_begin(self, history):
        self.notes.append(("begin", (history.batch, len(history.metrics), len(history.evaluations))))

    def on_step(self, step, metrics):
        self.notes.append(("step", step))

    def on_evaluation(self, batch, evaluation):
        self.notes.append(("evaluation", batch))

    def on_save(self, record):
        self.notes.append(("save", record))

    def on_end(self, result):
        self.notes.append(("end", result))

    def told(self, kind: str) -> list[Any]:
        return [what for hook, what in self.notes if hook == kind]


class Raising(Callback):
    """Fails in every hook."""

    def fail(self, *given: Any, **named: Any) -> Any:
        raise ValueError("a mistake in a callback")

    on_begin = on_step = on_evaluation = on_save = on_end = cast(Any, fail)


class StopAfter(Callback):
    """Stops after a step, and remembers nothing."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step, metrics):
        return Stop(f"step {step} was enough") if step == self.step else None


def start(config: Any, service: FakeServiceClient, *callbacks: Callback) -> Any:
    return train(config, callbacks=callbacks, service_client=service, rest_client=FakeRestClient(service))


def outcome(run: Path, server: Path) -> dict[str, Any]:
    """All that a run trained and measured, without times and paths."""
    newest = Journal.of(load_checkpoints(run)).newest_state()
    assert newest is not None and newest.final and newest.state_path
    store = DirectoryStore(server)
    header = store.header(newest.state_path)
    assert header is not None
    return {
        "metrics": read_rows(run / "metrics.jsonl", without=("time/", "recovery/")),  # pyright: ignore
        "dialogues": read_rows(run / "dialogues.jsonl"),
        "evaluations": [(one.batch, one.error, one.measures) for one in load_evaluations(run)],
        "weights": {name: array.tolist() for name, array in store.arrays(header).items()},
        "batch": newest.batch,
    }


def contents(run: Path) -> dict[str, Any]:
    """The files of a run, but for what is never the same: times, ids and where they are."""
    found: dict[str, Any] = {path.relative_to(run).as_posix(): None for path in run.rglob("*") if path.is_file()}
    for name in ("metrics", "dialogues"):
        found[f"{name}.jsonl"] = read_rows(run / f"{name}.jsonl")
    journal = [json.loads(line) for line in (run / "checkpoints.jsonl").read_text().splitlines()]
    kept = [json.dumps({key: row.get(key) for key in ("name", "batch", "kind", "version", "final")}) for row in journal]
    found["checkpoints.jsonl"] = Counter(kept)  # saves of both kinds are confirmed in either order
    for path in (run / "evaluations").glob("*.json"):
        row = json.loads(path.read_text())
        found[f"evaluations/{path.name}"] = {key: row[key] for key in row if key not in ("tutor", "seconds")}
    return found


def test_hooks_are_told_of_the_whole_run(make_config):
    noting = Noting()
    result = start(make_config(**EVALUATED), FakeServiceClient(), noting)
    assert noting.notes[0] == ("begin", (0, 0, 0)) and noting.notes[-1] == ("end", result)
    assert noting.told("step") == list(range(8))
    assert noting.told("evaluation") == [0, 2, 4, 6, 8]
    saves = [record for record in noting.told("save") if record.state_path]
    assert [record.batch for record in saves] == [2, 4, 6, 8] and saves[-1].final
    again = Noting()
    ended = start(make_config(**EVALUATED), FakeServiceClient(), again)
    assert ended.status == "already_complete" and ended.reason is None
    assert again.notes == [("begin", (8, 8, 5)), ("end", ended)]


def test_callbacks_that_always_fail_leave_the_files_as_they_are(make_config, tmp_path, caplog):
    start(make_config(**EVALUATED, log_path=tmp_path / "plain"), FakeServiceClient())
    result = start(make_config(**EVALUATED), FakeServiceClient(), Raising(), Raising())
    assert result.status == "completed"
    assert contents(tmp_path / "run") == contents(tmp_path / "plain")
    for hook in ("on_begin", "on_step", "on_evaluation", "on_save", "on_end"):
        assert caplog.text.count(f"{hook} failed (ValueError") == 2, f"{hook}: one warning a callback"
    assert "on_step failed 8 times in all" in caplog.text


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_a_stop_at_a_step_ends_the_run_there_and_finishes_it(make_config, tmp_path, staleness):
    config, service = make_config(**EVALUATED, max_staleness=staleness), FakeServiceClient()
    result = start(config, service, StopAfter(2))
    assert (result.status, result.steps, result.reason) == ("stopped", 3, "step 2 was enough")
    assert result.metrics["step"] == 2
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2]
    assert service.count("optim_step") == 3, "no step was taken that has no rows"
    finals = Journal.of(load_checkpoints(tmp_path / "run")).finals(3)
    assert {path for record in finals for path in record.paths} == {result.state_path, result.sampler_path}
    assert [one.batch for one in load_evaluations(tmp_path / "run") if one.error is None] == [0, 2, 3]


def test_a_stop_after_the_last_step_means_nothing(make_config):
    assert start(make_config(), FakeServiceClient(), StopAfter(5)).status == "completed"


def test_a_stopped_run_writes_its_report_and_says_why(make_config, tmp_path, capsys):
    start(make_config(write_report=True, display="plain"), FakeServiceClient(), StopAfter(1))
    assert (tmp_path / "run" / "report.html").exists()
    assert "stopped by a callback (step 1 was enough) after 2 steps; final state" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "on", "steps"), [(ON_STEP, "step", 4), (ON_EVALUATION, "evaluation", 4)])
def test_a_stopped_run_stops_again_without_a_step_and_else_goes_on(make_config, tmp_path, kind, on, steps):
    config, service = make_config(**EVALUATED), FakeServiceClient()
    first = start(config, service, EarlyStopping(**kind, on=on))
    calls = len(service.calls)
    noting = Noting()
    again = start(config, service, EarlyStopping(**kind, on=on), noting)
    assert (first.status, first.steps) == (again.status, again.steps) == ("stopped", steps)
    assert (again.state_path, again.sampler_path, again.reason) == (first.state_path, first.sampler_path, first.reason)
    assert len(service.calls) == calls, "nothing is left to do, so no service is needed"
    assert noting.told("end") == [again]
    server, whole = tmp_path / "server", make_config(**EVALUATED, log_path=tmp_path / "whole")
    assert start(config, service).status == "completed"
    start(whole, FakeServiceClient(server))
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        assert read_rows(tmp_path / "run" / name) == read_rows(tmp_path / "whole" / name)


# A fault of "sample" would be no interruption: it fails a dialogue or an evaluation, and the run goes on.
FAULTS = [
    *(("forward_backward", nth, recoveries) for nth, recoveries in ((1, 0), (2, 0), (3, 3), (4, 0), (5, 0), (5, 3))),
    *(("optim_step", nth, 0) for nth in (1, 3, 4)),
    *(("save_state", nth, 0) for nth in (1, 2)),
    *(("save_weights_for_sampler", nth, 0) for nth in (2, 4, 5)),
]
_uninterrupted: dict[str, dict[str, Any]] = {}


@pytest.mark.parametrize(("call", "nth", "recoveries"), FAULTS)
@pytest.mark.parametrize(("kind", "on"), [(ON_STEP, "step"), (ON_EVALUATION, "evaluation")])
def test_an_interrupted_run_stops_where_one_never_interrupted_does(
    make_config, tmp_path, kind, on, call, nth, recoveries
):
    if on not in _uninterrupted:
        whole = make_config(**EVALUATED, log_path=tmp_path / "whole")
        assert start(whole, FakeServiceClient(tmp_path / "one"), EarlyStopping(**kind, on=on)).status == "stopped"
        _uninterrupted[on] = outcome(tmp_path / "whole", tmp_path / "one")
    config = make_config(**EVALUATED, max_recoveries=recoveries)
    fault = Fault(call=call, nth=nth, error=500)
    stopping = EarlyStopping(**kind, on=on)
    try:
        start(config, FakeServiceClient(tmp_path / "other", faults=[fault]), stopping)
    except TrainingError:
        assert recoveries == 0
    result = start(config, FakeServiceClient(tmp_path / "other"), EarlyStopping(**kind, on=on))
    assert result.status == "stopped"
    assert outcome(tmp_path / "run", tmp_path / "other") == _uninterrupted[on]


@pytest.mark.parametrize("staleness", [1, 3])
def test_weights_evaluated_last_are_the_final_ones(make_config, tmp_path, staleness):
    config = make_config(**EVALUATED, max_staleness=staleness)
    result = start(config, FakeServiceClient(), EarlyStopping(**ON_EVALUATION))
    assert (result.status, result.steps) == ("stopped", 4)
    assert [one.batch for one in load_evaluations(tmp_path / "run")] == [0, 2, 4]
