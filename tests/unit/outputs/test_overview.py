"""A run in one row: what a whole, a stopped, a running and a damaged run are called, and that reading changes none."""

import json
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples

from socratic_distill.outputs.overview import overview_of
from socratic_distill.run.lock import RunLock, is_locked

CONFIG = {"tutor_model_name": "a", "student_model_name": "a", "teacher_model_name": "a", "max_steps": 4}
ROW = {"step": 1, "teacher_kl": 0.5, "first_reply/tells": 0.25, "solved": 0.75, "cost/total_usd": 1.5}
SAVED = {"name": "000004", "batch": 4, "state_path": "tinker://x:train:0/weights/final"}
FILES = ("config.json", "origin.json", "run.json", "metrics.jsonl", "checkpoints.jsonl", "evaluations/000002.json")


def measures(**values):
    return {name: {"value": value, "low": None, "high": None, "count": 3} for name, value in values.items()}


@pytest.fixture
def run(tmp_path):
    """A run that was stopped after two of four steps, and evaluated."""
    path = tmp_path / "run"
    (path / "evaluations").mkdir(parents=True)
    (path / "run.json").write_text('{"run_id": "x"}')
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "origin.json").write_text('{"given": "runs/before", "resolved": "tinker://y:train:0/weights/final"}')
    (path / "metrics.jsonl").write_text(json.dumps(ROW | {"step": 0}) + "\n" + json.dumps(ROW) + "\n")
    shares = measures(**{"first_reply/tells": 0.1, "solved/untold": 0.9})
    evaluation = {"batch": 2, "tutor": "t", "measures": shares, "dialogues": []}
    (path / "evaluations" / "000002.json").write_text(json.dumps(evaluation))
    return path


def test_a_stopped_run_is_interrupted_and_has_its_last_figures(run):
    found = overview_of(run)
    assert (found.status, found.problem, found.steps, found.total) == ("interrupted", None, 2, 4)
    assert found.step == {"teacher_kl": 0.5, "tells": 0.25, "asks": None, "solved": 0.75}
    assert (found.evaluation["batch"], found.evaluation["tells"], found.evaluation["solved_untold"]) == (2, 0.1, 0.9)
    assert (found.cost_usd, found.started_from) == (1.5, "runs/before")
    assert found.changed is not None and abs((datetime.now(UTC) - found.changed).total_seconds()) < 3600
    assert json.loads(json.dumps(found.row()))["steps"] == 2


def test_a_final_state_makes_it_complete(run):
    (run / "checkpoints.jsonl").write_text(json.dumps(SAVED | {"final": True, "kind": "final"}) + "\n")
    assert overview_of(run).status == "complete"
    with (run / "checkpoints.jsonl").open("a") as journal:
        journal.write(json.dumps({"resumed_at": "x", "batch": 2, "name": "resumed"}) + "\n" + '{"torn')
    assert overview_of(run).status in ("complete", "interrupted"), "a torn last line is no damage"


def test_a_run_that_is_being_written_is_running_and_is_not_disturbed(run):
    assert not is_locked(run)
    with RunLock(run) as lock:
        assert overview_of(run).status == "running"
        lock.check()
    assert overview_of(run).status == "interrupted"


def test_the_note_of_a_dead_writer_does_not_make_it_running(run):
    (run / ".lock").touch()
    (run / ".lock.json").write_text('{"pid": 1}')
    assert overview_of(run).status == "interrupted"
    (run / ".lock").unlink()
    assert overview_of(run).status == "interrupted" and not (run / ".lock").exists(), "no lock file was made"


@pytest.mark.parametrize("name", ["config.json", "origin.json", "metrics.jsonl", "checkpoints.jsonl"])
def test_a_file_that_cannot_be_read_makes_it_damaged_and_is_named(run, name):
    (run / name).write_text("nonsense\n\n")
    found = overview_of(run)
    assert found.status == "damaged" and name in (found.problem or "")


def test_a_pipe_and_a_link_out_of_the_run_are_not_opened(run, tmp_path):
    (tmp_path / "secret.jsonl").write_text(json.dumps(ROW | {"step": 77}) + "\n")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (run / "checkpoints.jsonl").unlink(missing_ok=True)
    os.mkfifo(run / "checkpoints.jsonl")
    found = overview_of(run)
    assert found.status == "damaged" and found.steps != 78
    assert "link that leads out" in (found.problem or "") and "not a regular file" in (found.problem or "")


def test_of_large_files_only_the_ends_are_read(run):
    with (run / "metrics.jsonl").open("a") as metrics:
        for step in range(2, 3000):
            metrics.write(json.dumps(ROW | {"step": step, "padding": "x" * 200}) + "\n")
    evaluation = json.loads((run / "evaluations" / "000002.json").read_text())
    evaluation["dialogues"] = [{"turns": "y" * 1000}] * 1000
    (run / "evaluations" / "000002.json").write_text(json.dumps(evaluation))
    found = overview_of(run)
    assert (found.status, found.steps, found.evaluation["tells"]) == ("interrupted", 3000, 0.1)


def test_an_evaluation_that_failed_is_passed_over(run):
    (run / "evaluations" / "000004.json").write_text('{"batch": 4, "tutor": "t", "error": "lost"}')
    assert overview_of(run).evaluation["batch"] == 2


def test_another_tools_directory_with_a_journal_is_not_called_damaged(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "checkpoints.jsonl").write_text(json.dumps(SAVED) + "\n")
    assert overview_of(tmp_path).status == "interrupted"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(FILES),
            st.one_of(
                st.binary(max_size=60),
                st.recursive(st.none() | st.floats() | st.text(max_size=5) | st.integers(), st.lists).map(
                    lambda value: json.dumps(value).encode() + b"\n"
                ),
                st.dictionaries(
                    st.sampled_from(["step", "given", "measures", "batch", "max_steps", "state_path", "final"]),
                    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.none(), max_size=2),
                ).map(lambda value: json.dumps(value).encode() + b"\n"),
            ),
        ),
        max_size=5,
    )
)
@settings(max_examples=examples(60), deadline=None, derandomize=True)
def test_whatever_a_directory_holds_there_is_one_row(tmp_path_factory, contents):
    path = tmp_path_factory.mktemp("run")
    (path / "evaluations").mkdir()
    for name, data in contents:
        (path / name).write_bytes(data)
    found = overview_of(path)
    assert found.status in ("complete", "interrupted", "damaged")
    assert (found.status == "damaged") == (found.problem is not None)
    json.dumps(found.row(), allow_nan=False)
