"""The real libraries, each read back by its own reader: two starts of a run, the second before a batch that ran."""

import json
import logging
import os
import pty
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.opened_trackers import open_trackers

from socratic_distill.evaluation.intervals import Measure

pytestmark = pytest.mark.trackers

RUN_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def run_twice(make_config, tmp_path, caplog, capfd):
    """Logs steps 0 to 5 and an evaluation before batch 4, then, resumed before batch 4, steps 4 to 7."""

    def run(name: str, run_id: str = RUN_ID) -> Path:
        log_path = tmp_path / "run-001"
        log_path.mkdir(exist_ok=True)
        for batch, last in ((0, 6), (4, 8)):
            opened = open_trackers(make_config(trackers=[name]), run_id, batch, log_path)
            for step in range(batch, last):
                opened.log(step, {"step": step, "teacher_kl": batch + step / 8, "solved": None, "dialogues": 6})
            if not batch:
                opened.evaluation(4, {"mathdial/success@1": Measure(0.5, 0.25, 0.75, 64)})
            opened.close()
        assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []
        assert capfd.readouterr() == ("", "")
        return log_path

    return run


# wandb


def records(directory: Path) -> list[Any]:
    """What an offline run holds. wandb's own process writes the last of it a moment after the run was finished."""
    deadline = time.monotonic() + 20
    while not (found := written(directory)) or found[-1].WhichOneof("record_type") not in ("exit", "footer"):
        assert time.monotonic() < deadline, f"{directory} does not end: {found[-3:]}"
        time.sleep(0.05)
    return found


def written(directory: Path) -> list[Any]:
    """The protobuf records that are there by now.

    They stand in LevelDB's log format, blocks of 32 KiB behind a header of 7 bytes. Each part begins with a checksum (4
    bytes), its length (2) and whether it is a whole record (1), or its first (2), middle (3) or last (4) part.
    """
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportMissingImports]

    data, at, found, parts = next(directory.glob("*.wandb")).read_bytes(), 7, [], b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        if at + 7 + size > len(data):
            break  # it is being written
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            found.append(Record.FromString(parts))
            parts = b""
    return found


def history(directory: Path) -> list[dict[str, Any]]:
    """The logged rows, without what wandb adds."""
    items = [one.history.item for one in records(directory) if one.WhichOneof("record_type") == "history"]
    rows = [{"/".join(one.nested_key) or one.key: json.loads(one.value_json) for one in row} for row in items]
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]


def test_wandb_has_both_starts_under_one_id_and_draws_over_our_step(run_twice):
    log_path = run_twice("wandb")
    first, second = sorted((log_path / "wandb").glob("offline-run-*"))
    steps = [{"step": step, "teacher_kl": step / 8, "dialogues": 6} for step in range(6)]
    name = "eval/mathdial/success@1"
    assert history(first) == [*steps, {"step": 4, name: 0.5, f"{name}/low": 0.25, f"{name}/high": 0.75}]
    assert [(row["step"], row["teacher_kl"]) for row in history(second)] == [(s, 4 + s / 8) for s in range(4, 8)]
    for directory in (first, second):
        runs = [one.run for one in records(directory) if one.WhichOneof("record_type") == "run"]
        assert {(run.run_id, run.project, run.display_name) for run in runs} == {
            (RUN_ID, "socratic-distill", "run-001")
        }
        metrics = [one.metric for one in records(directory) if one.WhichOneof("record_type") == "metric"]
        assert ("*", "step") in {(one.glob_name, one.step_metric) for one in metrics}


def test_a_wandb_run_that_the_script_has_open_is_left_alone(run_twice, tmp_path, capfd):
    import wandb  # pyright: ignore[reportMissingImports]

    with wandb.init(project="mine", dir=tmp_path, settings=wandb.Settings(silent=True)) as mine:
        mine.log({"own": 1})
        run_twice("wandb")
        assert wandb.run is mine
        mine.log({"own": 2})
    (directory,) = (tmp_path / "wandb").glob("offline-run-*")
    assert history(directory) == [{"own": 1}, {"own": 2}]


SCRIPT = """
import logging, sys
from pathlib import Path
from socratic_distill import build_socratic_config
from socratic_distill.outputs.trackers import Trackers

logging.basicConfig(filename=sys.argv[2], level=logging.DEBUG)
config = build_socratic_config(
    tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
    max_tokens=12, log_path=sys.argv[1], trackers=["wandb"],
)
opened = Trackers(config)
opened.begin("a" * 32, 0, Path(sys.argv[1]))
opened.log(0, {"teacher_kl": 0.5})
opened.close()
"""


@pytest.mark.parametrize("key", [None, "0123456789012345678901234567890123456789"])
def test_wandb_asks_nobody_in_a_terminal_and_tells_no_key(tmp_path, key):
    """Without a key it would ask for one; with one it looks for a server, which is not there."""
    environment = dict(os.environ, WANDB_MODE="online", WANDB_BASE_URL="http://127.0.0.1:9", WANDB_INIT_TIMEOUT="3")
    if key:
        environment["WANDB_API_KEY"] = key
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-c", SCRIPT, str(tmp_path), str(tmp_path / "log")]
    process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    assert process.wait(60) == 0
    try:
        shown = os.read(ours, 10_000)
    except OSError:  # nothing was written before the terminal was closed
        shown = b""
    os.close(ours)
    assert shown == b""
    told = (tmp_path / "log").read_text()
    assert told.count("tracker wandb failed") == 1
    assert ("no user is logged in" in told) == (key is None)
    assert key is None or key not in told


# trackio


def test_trackio_goes_on_in_the_same_run_and_keeps_the_rows_of_both_starts(run_twice):
    from trackio import Api  # pyright: ignore[reportMissingImports]
    from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]

    run_twice("trackio")
    run_twice("trackio", run_id="f" * 32)
    runs = [one.name for one in Api().runs("socratic-distill")]
    assert sorted(runs) == ["run-001-01234567", "run-001-ffffffff"]
    rows = SQLiteStorage.get_logs("socratic-distill", "run-001-01234567")
    found = [(row["step"], row["teacher_kl"]) for row in rows if "teacher_kl" in row]
    assert found == [(s, s / 8) for s in range(6)] + [(s, 4 + s / 8) for s in range(4, 8)]
    assert all("solved" not in row for row in rows)
    (evaluation,) = [row for row in rows if "eval/mathdial/success@1" in row]
    assert evaluation["step"] == 4 and evaluation["eval/mathdial/success@1/high"] == 0.75


# tensorboard


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # pyright: ignore[reportMissingImports]

    events = EventAccumulator(str(directory))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_each_steps_last_run_and_the_earlier_evaluation(run_twice):
    log_path = run_twice("tensorboard")
    found = scalars(log_path / "tensorboard")
    assert found["teacher_kl"] == [(s, s / 8) for s in range(4)] + [(s, 4 + s / 8) for s in range(4, 8)]
    assert found["dialogues"] == [(s, 6.0) for s in range(8)] and found.keys() == {"teacher_kl", "dialogues"}
    name = "eval/mathdial/success@1"
    assert scalars(log_path / "tensorboard" / "evaluations") == {
        name: [(4, 0.5)], f"{name}/low": [(4, 0.25)], f"{name}/high": [(4, 0.75)]
    }  # fmt: skip


def test_tensorboard_needs_no_torch(tmp_path):
    script = SCRIPT.replace('"wandb"', '"tensorboard"') + 'print([m for m in ("torch", "grpc") if m in sys.modules])'
    arguments = [sys.executable, "-c", script, str(tmp_path), str(tmp_path / "log")]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout == "[]\n"
    assert scalars(tmp_path / "tensorboard") == {"teacher_kl": [(0, 0.5)]}


def test_tensorboard_that_cannot_write_is_a_warning(make_config, tmp_path, caplog):
    (tmp_path / "tensorboard").write_text("a file")
    opened = open_trackers(make_config(trackers=["tensorboard"]), RUN_ID, 0, tmp_path)
    opened.log(0, {"teacher_kl": 0.5})
    opened.close()
    (told,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert told.startswith("tracker tensorboard failed (FileExistsError: ")
