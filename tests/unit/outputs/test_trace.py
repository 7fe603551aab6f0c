"""The trace of a run, as Perfetto and chrome://tracing read it."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.support.on_the_fake import train_virtually
from tests.support.rows import read_rows, write_rows

from socratic_distill import ConfigError, StorageError, build_socratic_config, export_trace
from socratic_distill.cli import main
from socratic_distill.run.directory import RunDirectory
from socratic_distill.testing import Fault
from socratic_distill.testing.virtual import VirtualServiceClient

PHASES = ("opening", "student", "tutor", "teacher")


def train_into(directory: Path, **changes: Any) -> Path:
    """The directory of a run of three steps of four dialogues, on the virtual service."""
    names = ("s0", '<script>&"\u202e')
    lines = [json.dumps({"id": name, "question": "What is 1 + 2?", "expected_answer": "3"}) + "\n" for name in names]
    (directory / "seeds.jsonl").write_text("".join(lines))
    faults = changes.pop("faults", ())
    fields: dict[str, Any] = dict(
        tutor_model_name="tutor", student_model_name="student", teacher_model_name="teacher", learning_rate=0.1,
        max_tokens=100, log_path=directory / "run", seeds_file=directory / "seeds.jsonl", groups_per_batch=2,
        num_envs=2, max_turns=2, max_steps=3, save_every=2, display="off",
    )  # fmt: skip
    train_virtually(VirtualServiceClient(faults=faults), build_socratic_config(**(fields | changes)))
    return directory / "run"


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    return train_into(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained_once, tmp_path):
    """The run's directory, to write to."""
    return Path(shutil.copytree(trained_once, tmp_path / "run"))


def events(run: Path, *steps: int) -> list[dict[str, Any]]:
    """The events that are no names."""
    out = run.parent / "trace.json"
    export_trace(run, out, *steps)
    return [event for event in json.loads(out.read_text())["traceEvents"] if event["ph"] != "M"]


def test_every_event_is_one_that_viewers_read(run):
    for event in events(run):
        assert event["ph"] == "X" and event["name"] and event["cat"] in ("critical", "overlapped")
        assert all(isinstance(event[key], int) for key in ("ts", "dur", "pid", "tid"))
        assert event["ts"] >= 0 and event["dur"] >= 0, "a viewer cuts what lies before 0"


def test_processes_and_tracks_have_names(run, tmp_path):
    export_trace(run, tmp_path / "trace.json")
    metadata = [one for one in json.loads((tmp_path / "trace.json").read_text())["traceEvents"] if one["ph"] == "M"]
    assert [one["args"]["name"] for one in metadata] == ["training", "dialogues", "steps", "updates", "new weights"]


def test_steps_follow_each_other_and_last_as_long_as_measured(run):
    steps = [event for event in events(run) if event["name"].startswith("step ")]
    metrics = read_rows(run / "metrics.jsonl", without=())
    assert [event["args"]["step"] for event in steps] == [0, 1, 2]
    for event, row in zip(steps, metrics, strict=True):
        assert event["dur"] == pytest.approx(row["time/step"] * 1e6, abs=1)
        assert event["args"]["time/critical/update"] == row["time/critical/update"]
    for before, after in pairwise(steps):
        assert after["ts"] == pytest.approx(before["ts"] + before["dur"], abs=2)


def test_every_request_of_every_dialogue_is_there(run):
    found = [event for event in events(run) if event["name"] in PHASES]
    for row in read_rows(run / "dialogues.jsonl", without=()):
        own = [
            event
            for event in found
            if (event["args"]["step"], event["args"]["dialogue"]) == (row["step"], row["number"])
            and event["args"]["seed"].startswith(row["seed"][:2])
        ]
        assert [event["name"] for event in own] == ["opening", *[turn["role"] for turn in row["turns"][1:]], "teacher"]
        for event, (start, end) in zip(own, row["time/spans"], strict=True):
            assert event["dur"] == pytest.approx((end - start) * 1e6, abs=1)


def test_dialogues_of_one_track_do_not_overlap_each_other(run):
    tracks: dict[int, dict[tuple[Any, ...], list[int]]] = {}
    for event in events(run):
        if event["name"] in PHASES:
            key = tuple(event["args"].values())
            tracks.setdefault(event["tid"], {}).setdefault(key, []).extend((event["ts"], event["ts"] + event["dur"]))
    for dialogues in tracks.values():
        spans = sorted((min(times), max(times)) for times in dialogues.values())
        assert all(after[0] >= before[1] - 1 for before, after in pairwise(spans))


def test_critical_events_cover_each_step_as_its_metrics_say(run):
    everything = events(run)
    for step, row in enumerate(read_rows(run / "metrics.jsonl", without=())):
        began = next(event["ts"] for event in everything if event["name"] == f"step {step}")
        seconds = dict.fromkeys((*PHASES, "update", "weights"), 0.0)
        for event in everything:
            if event["cat"] == "critical" and event["args"]["step"] == step and event["name"] in seconds:
                start = max(event["ts"], began)
                seconds[event["name"]] += max(event["ts"] + event["dur"] - start, 0) / 1e6
        for phase, value in seconds.items():
            assert value == pytest.approx(row[f"time/critical/{phase}"] * row["time/step"], abs=0.05), phase


def test_a_range_of_steps_begins_at_its_own_time(run):
    assert {event["args"]["step"] for event in events(run, 1, 2)} == {1}
    assert min(event["ts"] for event in events(run, 1, 2)) == 0


def test_failed_dialogues_show_the_requests_that_they_had(tmp_path):
    faults = [Fault("sample", nth=1), Fault("sample", nth=9)]
    run = train_into(tmp_path, faults=faults, max_failed_fraction=0.9)
    dialogues = read_rows(run / "dialogues.jsonl", without=())
    assert {len(row["turns"]) > 0 for row in dialogues if row["ending"] == "failed"} == {True, False}
    found = [event for event in events(run) if event["name"] in PHASES]
    assert len(found) == sum(len(row["time/spans"]) for row in dialogues)


def test_a_run_under_way_shows_its_whole_steps(run):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]) + lines[2][:50])
    with RunDirectory(run):
        assert {event["args"]["step"] for event in events(run)} == {0, 1}


@pytest.mark.parametrize("value", ["soon", None, 1e300, -1e10, True, [1]])
def test_rows_with_impossible_times_are_left_out(run, value):
    metrics, dialogues = read_rows(run / "metrics.jsonl", without=()), read_rows(run / "dialogues.jsonl", without=())
    metrics[2]["time/step"] = value
    dialogues[0]["time/spans"][0] = [value, 1.0]
    dialogues[1]["time/spans"] = value
    for name, content in (("metrics", metrics), ("dialogues", dialogues)):
        write_rows(run / f"{name}.jsonl", *content)
    found = events(run)
    assert {event["args"]["step"] for event in found} == {0, 1}
    shown = {tuple(event["args"].values()) for event in found if event["name"] in PHASES and event["args"]["step"] == 0}
    assert len(shown) == 2, "of four dialogues two have impossible times"


@pytest.mark.parametrize("value", ["1e400", "-1e400", "[1e400]"])
def test_a_number_that_json_cannot_hold_leaves_a_valid_trace(run, value):
    dialogues = read_rows(run / "dialogues.jsonl", without=())
    dialogues[0]["number"] = "VALUE"
    lines = [json.dumps(row).replace('"VALUE"', value) + "\n" for row in dialogues]
    (run / "dialogues.jsonl").write_text("".join(lines))
    events(run)
    trace = (run.parent / "trace.json").read_text()
    assert "Infinity" not in trace, "viewers refuse the whole file"


@pytest.mark.parametrize("steps", [(3, None), (0, 0), (2, 1)])
def test_steps_that_the_run_lacks_are_refused(run, tmp_path, steps):
    with pytest.raises(ConfigError, match="has no step with timings from"):
        export_trace(run, tmp_path / "trace.json", *steps)
    assert not (tmp_path / "trace.json").exists()


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is empty; expected the directory of a run"):
        export_trace(tmp_path, tmp_path / "trace.json")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_nothing(run, tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        export_trace(run, tmp_path / "missing" / "trace.json")
    with pytest.raises(ConfigError, match="is a file of the run itself"):
        export_trace(run, run / "metrics.jsonl")


def test_the_command_writes_the_steps_that_were_asked_for(run, tmp_path, capsys):
    out = tmp_path / "trace.json"
    assert main(["export", str(run), "--trace", str(out), "--steps", "1:"]) == 0
    expected = f"2 steps are in {out}; open it in ui.perfetto.dev or chrome://tracing\n"
    assert capsys.readouterr() == (expected, "")
    assert {event["args"].get("step") for event in json.loads(out.read_text())["traceEvents"]} == {None, 1, 2}
