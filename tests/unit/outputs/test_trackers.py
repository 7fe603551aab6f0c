"""Trackers on modules that keep what they are told, in place of the real libraries."""

import asyncio
import io
import logging
import sys
import threading
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.opened_trackers import logged_warnings, open_trackers

from socratic_distill import ConfigError
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.outputs import trackers
from socratic_distill.outputs.progress import Progress
from socratic_distill.outputs.trackers import check_trackers

RUN_ID = "0123456789abcdef0123456789abcdef"
ROW = {"step": 7, "teacher_kl": 0.25, "dialogues": 6, "teacher_kl/answer": None, "note": "text"}


class Log:
    """What a library was asked, in order; raises or waits where it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.faults: dict[str, Exception] = {}
        self.gate = threading.Event()
        self.gate.set()

    def note(self, name: str, what: Any = None) -> None:
        self.gate.wait(30)
        print(f"{name}, printed")
        print(f"{name}, on stderr", file=sys.stderr)
        if name in self.faults:
            raise self.faults[name]
        self.calls.append((name, what))

    def of(self, name: str) -> list[Any]:
        return [what for one, what in self.calls if one == name]


class WandbRun:
    """wandb's run."""

    def __init__(self, log: Log) -> None:
        self.url = "https://wandb.example/run"
        self._note = log.note

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self._note("metric", (name, step_metric))

    def log(self, values: dict[str, float]) -> None:
        self._note("log", values)

    def finish(self) -> None:
        self._note("finish")


class TrackioRun:
    """trackio's run."""

    def __init__(self, log: Log) -> None:
        self._note = log.note

    def log(self, values: dict[str, float], step: int) -> None:
        self._note("log", (step, values))

    def finish(self) -> None:
        self._note("finish")


class EventFileWriter:
    """tensorboard's writer."""

    log: Log

    def __init__(self, directory: str) -> None:
        self._name = Path(directory).name
        self.log.note("init", directory)

    def add_event(self, event: Any) -> None:
        self.log.note(self._name, vars(event))

    def flush(self) -> None:
        self.log.note("flush", self._name)

    def close(self) -> None:
        self.log.note("finish", self._name)


@dataclass
class Libraries:
    """What each of the three was asked."""

    wandb: Log
    trackio: Log
    tensorboard: Log


@pytest.fixture
def libraries(monkeypatch):
    """The three libraries, as far as they are used; wandb's login state and mode are set on its settings."""
    logs = Libraries(Log(), Log(), Log())

    def wandb_init(**given: Any) -> WandbRun:
        logs.wandb.note("init", given)
        return WandbRun(logs.wandb)

    def trackio_init(**given: Any) -> TrackioRun:
        logs.trackio.note("init", given)
        return TrackioRun(logs.trackio)

    settings = SimpleNamespace(mode="online", key="secret")
    wandb = SimpleNamespace(
        init=wandb_init,
        Settings=lambda **given: given,
        setup=lambda: SimpleNamespace(settings=settings),
        login=lambda prompt: prompt is False and settings.key is not None,
        session=settings,
    )
    writer = type("EventFileWriter", (EventFileWriter,), {"log": logs.tensorboard})
    events = SimpleNamespace(Event=SimpleNamespace, SessionLog=lambda status: status)
    events.SessionLog.START = "start"
    summaries = SimpleNamespace(Summary=lambda value: {one.tag: one.simple_value for one in value})
    summaries.Summary.Value = SimpleNamespace
    modules = {
        "wandb": wandb,
        "trackio": SimpleNamespace(init=trackio_init),
        "tensorboard": SimpleNamespace(),
        "tensorboard.compat.proto.event_pb2": events,
        "tensorboard.compat.proto.summary_pb2": summaries,
        "tensorboard.summary.writer.event_file_writer": SimpleNamespace(EventFileWriter=writer),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return logs


def measure(value: float | None) -> Measure:
    return Measure(value, None if value is None else value - 0.1, None if value is None else value + 0.1, 10)


def test_a_run_without_trackers_starts_no_thread_and_keeps_the_streams(make_config, tmp_path):
    before = threading.active_count(), sys.stdout, sys.stderr
    opened = open_trackers(make_config(), RUN_ID, 0, tmp_path)
    opened.log(7, ROW)
    opened.evaluation(7, {"solved": measure(0.5)})
    assert (threading.active_count(), sys.stdout, sys.stderr) == before
    opened.close()


def test_wandb_gets_the_numbers_of_a_row_over_our_own_step(make_config, tmp_path, libraries):
    config = make_config(trackers=["wandb"], tracker_project="tutors", tracker_name="first")
    opened = open_trackers(config, RUN_ID, 0, tmp_path / "run")
    opened.log(7, ROW)
    opened.close()
    (given,) = libraries.wandb.of("init")
    assert (given["project"], given["name"], given["id"], given["resume"]) == ("tutors", "first", RUN_ID, "allow")
    assert given["dir"] == str(tmp_path / "run") and given["config"]["groups_per_batch"] == 3
    assert libraries.wandb.calls[1:] == [
        ("metric", ("step", None)),
        ("metric", ("*", "step")),
        ("log", {"step": 7, "teacher_kl": 0.25, "dialogues": 6}),
        ("finish", None),
    ]


def test_an_evaluation_is_logged_at_its_batch_with_interval_bounds(make_config, tmp_path, libraries):
    opened = open_trackers(make_config(trackers=["wandb", "trackio"]), RUN_ID, 0, tmp_path)
    opened.evaluation(20, {"solved": Measure(0.5, 0.4, 0.6, 64), "turns_to_solve": Measure(None, None, None, 0)})
    opened.close()
    values = {"eval/solved": 0.5, "eval/solved/low": 0.4, "eval/solved/high": 0.6}
    assert libraries.wandb.of("log") == [{"step": 20, **values}]
    assert libraries.trackio.of("log") == [(20, values)]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_only_a_resumed_run_goes_on_in_the_same_tracker_run(make_config, tmp_path, libraries, name):
    config = make_config(trackers=[name])
    for run_id, batch in ((RUN_ID, 0), (RUN_ID, 4), ("f" * 32, 0)):
        open_trackers(config, run_id, batch, tmp_path / "run-001").close()
    key = {"wandb": "id", "trackio": "name"}[name]
    first, resumed, other = getattr(libraries, name).of("init")
    assert first == resumed and first["resume"] == "allow"
    assert other[key] != first[key]
    assert first["name"].startswith("run-001")


def test_a_resume_purges_repeated_steps_in_tensorboard_not_the_evaluation(make_config, tmp_path, libraries):
    opened = open_trackers(make_config(trackers=["tensorboard"]), RUN_ID, 20, tmp_path)
    opened.log(20, ROW)
    opened.evaluation(40, {"solved": measure(0.5)})
    opened.close()
    log = libraries.tensorboard
    assert log.of("init") == [str(tmp_path / "tensorboard"), str(tmp_path / "tensorboard" / "evaluations")]
    starts = [(one["step"], one.get("session_log")) for name in ("tensorboard", "evaluations") for one in log.of(name)]
    assert starts == [(20, "start"), (20, None), (21, "start"), (40, None)]
    assert log.of("tensorboard")[1]["summary"] == {"teacher_kl": 0.25, "dialogues": 6}
    assert log.of("evaluations")[1]["summary"].keys() == {"eval/solved", "eval/solved/low", "eval/solved/high"}
    assert log.of("flush") == ["tensorboard", "evaluations"] and log.of("finish") == ["tensorboard", "evaluations"]


def test_batches_repeated_in_one_process_are_purged_in_tensorboard_too(make_config, tmp_path, libraries):
    opened = open_trackers(make_config(trackers=["tensorboard", "wandb", "trackio"]), RUN_ID, 0, tmp_path)
    opened.log(0, ROW)
    opened.begin(RUN_ID, 0, tmp_path)
    opened.log(0, ROW)
    opened.close()
    found = [(one["step"], one.get("session_log")) for one in libraries.tensorboard.of("tensorboard")]
    assert found == [(0, "start"), (0, None), (0, "start"), (0, None)]
    assert all(len(log.of("init")) == 1 for log in (libraries.wandb, libraries.trackio)), "they go on in one run"


@pytest.mark.parametrize("name", ["wandb", "trackio", "tensorboard"])
@pytest.mark.parametrize("fault", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_one_warning_and_no_other_suffers(
    make_config, tmp_path, libraries, caplog, name, fault
):
    faulty: Log = getattr(libraries, name)
    called = "tensorboard" if name == "tensorboard" and fault == "log" else fault
    faulty.faults[called] = OSError("No space left on device")
    config = make_config(trackers=["wandb", "trackio", "tensorboard"])
    opened = open_trackers(config, RUN_ID, 0, tmp_path)
    for step in range(3):
        opened.log(step, ROW)
    opened.close()
    (told,) = logged_warnings(caplog)
    assert told.startswith(f"tracker {name} failed (OSError: No space left on device); training goes on without it")
    for other in {"wandb", "trackio"} - {name}:
        assert len(getattr(libraries, other).of("log")) == 3
        assert getattr(libraries, other).of("finish") == [None]


def test_a_tracker_that_failed_to_log_is_closed_and_asked_no_more(make_config, tmp_path, libraries, caplog):
    libraries.trackio.faults["log"] = RuntimeError("gone")
    opened = open_trackers(make_config(trackers=["trackio"]), RUN_ID, 0, tmp_path)
    for step in range(3):
        opened.log(step, ROW)
    opened.close()
    assert [name for name, _ in libraries.trackio.calls] == ["init", "finish"]
    assert len(logged_warnings(caplog)) == 1


async def test_a_tracker_that_hangs_delays_neither_training_nor_its_end(
    make_config, tmp_path, libraries, caplog, capsys, monkeypatch
):
    """It prints nothing and gives one warning."""
    monkeypatch.setattr(trackers, "_CLOSE_SECONDS", 2.0)  # enough for the other one, which has nothing left to do
    libraries.wandb.gate.clear()
    opened = open_trackers(make_config(trackers=["wandb", "trackio"]), RUN_ID, 0, tmp_path)
    for step in range(100):
        opened.log(step, ROW)
    while len(libraries.trackio.of("log")) < 100:  # the other one goes on
        await asyncio.sleep(0.001)
    assert libraries.wandb.calls == []
    opened.close()
    (told,) = logged_warnings(caplog)
    assert told.startswith("tracker wandb has not taken all figures in time")
    libraries.wandb.gate.set()
    while not libraries.wandb.of("finish"):
        await asyncio.sleep(0.001)
    assert capsys.readouterr() == ("", "")


def test_what_was_logged_before_the_tracker_was_open_is_not_lost(make_config, tmp_path, libraries):
    libraries.wandb.gate.clear()
    opened = open_trackers(make_config(trackers=["wandb"]), RUN_ID, 0, tmp_path)
    for step in range(100):
        opened.log(step, {"teacher_kl": 0.5})
    libraries.wandb.gate.set()
    opened.close()
    assert libraries.wandb.of("log") == [{"step": step, "teacher_kl": 0.5} for step in range(100)]


def test_only_what_trackers_print_is_kept_from_the_terminal(make_config, tmp_path, libraries, capsys):
    streams = sys.stdout, sys.stderr
    opened = open_trackers(make_config(trackers=["wandb", "trackio", "tensorboard"]), RUN_ID, 0, tmp_path)
    print("a line of the training")
    print("a complaint of the training", file=sys.stderr)
    assert sys.stdout.isatty() is False and sys.stdout.encoding == streams[0].encoding
    opened.log(7, ROW)
    opened.close()
    told = capsys.readouterr()
    assert (told.out, told.err) == ("a line of the training\n", "a complaint of the training\n")
    assert (sys.stdout, sys.stderr) == streams
    assert len(libraries.trackio.calls) == 3, "nothing was there to be printed"


def test_streams_that_something_else_took_meanwhile_are_left_to_it(make_config, tmp_path, libraries, capsys):
    stdout = sys.stdout
    opened = open_trackers(make_config(trackers=["trackio"]), RUN_ID, 0, tmp_path)
    with redirect_stdout(io.StringIO()) as other:
        opened.close()
        assert sys.stdout is other
    print("a line that still passes")
    sys.stdout = stdout
    assert capsys.readouterr() == ("a line that still passes\n", "")


def test_runs_that_end_in_any_order_give_the_streams_back(make_config, tmp_path, libraries, capsys):
    streams = sys.stdout, sys.stderr
    first, second = (open_trackers(make_config(trackers=["trackio"]), RUN_ID, 0, tmp_path) for _ in range(2))
    first.close()
    second.log(7, ROW)
    second.close()
    assert (sys.stdout, sys.stderr) == streams and capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


async def test_a_run_with_a_live_view_gives_the_streams_back(make_config, tmp_path, libraries, monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    streams = sys.stdout, sys.stderr
    async with Progress(make_config(trackers=["trackio"], display="auto")) as progress:
        progress.say("the display has the streams")
        progress.begin(RUN_ID, 0, tmp_path)
        progress.step(1, 2, ROW)
    assert (sys.stdout, sys.stderr) == streams
    assert libraries.trackio.of("finish") == [None] and "printed" not in out.getvalue()


def test_nobody_is_asked_for_a_key(make_config, tmp_path, libraries, caplog):
    sys.modules["wandb"].session.key = None  # pyright: ignore[reportAttributeAccessIssue]
    open_trackers(make_config(trackers=["wandb"]), RUN_ID, 0, tmp_path).close()
    (told,) = logged_warnings(caplog)
    assert "no user is logged in; run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline" in told
    sys.modules["wandb"].session.mode = "offline"  # pyright: ignore[reportAttributeAccessIssue]
    open_trackers(make_config(trackers=["wandb"]), RUN_ID, 0, tmp_path).close()
    assert len(libraries.wandb.of("init")) == 1


def test_no_key_and_no_password_is_told(make_config, tmp_path, libraries, caplog, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789secret")
    monkeypatch.setenv("A_TOKEN", "")
    caplog.set_level(logging.DEBUG)
    fault = "key 0123456789secret is not known at https://me:hidden@host/x?write_token=hidden&y=1, hm"
    libraries.wandb.faults["init"] = ValueError(fault)
    config = make_config(trackers=["wandb", "trackio"], base_url="https://me:hidden@host:8000/api")
    open_trackers(config, RUN_ID, 0, tmp_path).close()
    assert "key … is not known at https://…@host/x?write_token=…&y=1, hm" in caplog.text
    assert "secret" not in caplog.text and "hidden" not in caplog.text
    assert libraries.trackio.of("init")[0]["config"]["base_url"] == "https://host:8000/api"
    config = make_config(trackers=["trackio"], base_url="https://host/api")
    open_trackers(config, RUN_ID, 0, tmp_path).close()
    assert libraries.trackio.of("init")[1]["config"]["base_url"] == "https://host/api"


def test_a_missing_library_is_refused_with_how_to_install_it(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / "wandb").mkdir()  # wandb's output, which Python takes for a package without code
    for name in ("wandb", "trackio", "tensorboard"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        with pytest.raises(ConfigError, match=rf"{name!r}.*pip install .*\[{name}\]'"):
            open_trackers(make_config(trackers=[name]), RUN_ID, 0, tmp_path)
    (tmp_path / "trackio.py").write_text("raise RuntimeError('imported')\n")
    check_trackers(["trackio"])


def test_a_library_that_cannot_be_imported_is_a_warning(make_config, tmp_path, monkeypatch, caplog):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    (tmp_path / "trackio.py").write_text("raise ImportError('libfoo.so is missing')\n")
    open_trackers(make_config(trackers=["trackio"]), RUN_ID, 0, tmp_path).close()
    assert logged_warnings(caplog)[0].startswith("tracker trackio failed (ImportError: libfoo.so is missing)")


def test_a_run_in_the_working_directory_is_named_after_it(make_config, tmp_path, libraries, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_trackers(make_config(trackers=["wandb"]), RUN_ID, 0, Path(".")).close()
    assert libraries.wandb.of("init")[0]["name"] == tmp_path.name
