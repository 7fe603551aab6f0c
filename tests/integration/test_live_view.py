"""What a run looks like in a terminal, from its first step over a failure to its resume, and in a pipe."""

import logging
import os
import pty
import signal
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.live import Live
from tests.support.on_the_fake import train_on_fake

from socratic_distill import RunInterrupted, TrainingError, train
from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing import FakeServiceClient, Fault

WIDTH, HEIGHT = 100, 30


class Draws:
    """How often the view was drawn, and what waits for it."""

    def __init__(self):
        self._count = 0
        self._waiting: list[tuple[int, Future[None]]] = []
        self._lock = threading.Lock()

    def happened(self) -> None:
        with self._lock:
            self._count += 1
            due = [future for count, future in self._waiting if count <= self._count]
            self._waiting = [one for one in self._waiting if one[0] > self._count]
        for future in due:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def after(self, count: int) -> Future[None]:
        """Done once the view was drawn so many times more."""
        future: Future[None] = Future()
        with self._lock:
            self._waiting.append((self._count + count, future))
        return future


class WatchedService(FakeServiceClient):
    """Answers a sampling request once the view was drawn meanwhile, so that nothing goes by unseen."""

    def __init__(self, draws: Draws, directory: Path, faults: Sequence[Fault]) -> None:
        super().__init__(directory, faults=faults)
        self._draws = draws

    def submit(self, call, action, **arguments):
        answer = super().submit(call, action, **arguments)
        if call != "sample":
            return answer
        late: Future[Any] = Future()

        def pass_on(_):
            if late.set_running_or_notify_cancel():
                late.set_result(answer.result())

        self._draws.after(2).add_done_callback(pass_on)
        return ServiceFuture(late)


class Screen:
    """What a terminal showed."""

    def __init__(self):
        self.frames: list[list[str]] = []
        self.draws = Draws()
        self._screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self._screen)

    def feed(self, written: bytes) -> None:
        self._stream.feed(written)
        self.frames.append([line.rstrip() for line in self._screen.display if line.strip()])

    @property
    def last(self) -> list[str]:
        """The lines at the end."""
        assert not self._screen.cursor.hidden, "the cursor was not given back"
        return self.frames[-1]

    def view(self) -> dict[str, str]:
        """The lines at the end by their first word."""
        return {line.split()[0]: line for line in self.last}

    def showed(self, *texts: str) -> bool:
        """Whether all these texts once stood on it together."""
        return any(all(text in "\n".join(frame) for text in texts) for frame in self.frames)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[Screen]:
    """A pseudo-terminal in place of standard output and error."""
    for name, value in {"TERM": "xterm", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT), **environment}.items():
        monkeypatch.setenv(name, value)
    screen, refresh = Screen(), Live.refresh

    def drawn(live: Live) -> None:
        refresh(live)
        screen.draws.happened()

    master, slave = pty.openpty()
    reader = threading.Thread(target=_read, args=(master, screen))
    reader.start()
    try:
        with open(slave, "w", encoding="utf-8") as out, monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", out)
            patched.setattr("socratic_distill.outputs.display.live._PERIOD", 0.02)
            patched.setattr(Live, "refresh", drawn)
            yield screen
    finally:
        reader.join()
        os.close(master)


def _read(master: int, screen: Screen) -> None:
    try:
        while written := os.read(master, 1 << 16):
            screen.feed(written)
    except OSError:  # the other end was closed
        pass


def train_on_screen(screen: Screen, config, server: Path, *faults: Fault) -> None:
    """Trains, and tells of an error as the examples do."""
    service = WatchedService(screen.draws, server, faults)
    try:
        train_on_fake(service, config)
    except TrainingError as error:
        print(f"TrainingError: {error}", file=sys.stderr)
        raise


def test_terminal_shows_training_then_failure_then_resume(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # so that what is said of the run has room in a line
    config = make_config(display="auto", max_steps=4, save_every=2, max_recoveries=0, log_path="run")
    lost = Fault("optim_step", nth=4, error=500)
    with terminal(monkeypatch) as failed, pytest.raises(TrainingError):
        train_on_screen(failed, config, tmp_path / "server", lost)

    assert failed.showed("starting fresh", "step       0/4", "batch 0", "in flight  playing", "checkpoint none yet")
    assert failed.showed("step       1/4", "batch 1", "left", "elapsed", "teacher_kl", "tells", "sampled")
    view = failed.view()
    assert "3/4" in view["step"] and "left" not in view["step"] and "stopped here" in view["batch"]
    assert "checkpoint 000002" in view["checkpoint"]
    assert failed.last.index(view["checkpoint"]) < failed.last.index(view["TrainingError:"])

    with terminal(monkeypatch) as resumed:
        train_on_screen(resumed, config, tmp_path / "server")
    assert resumed.showed("resuming at step 2 of 4", "step       2/4", "batch 2", "000002")
    assert not resumed.showed("step       0/4") and not resumed.showed("batch 0")
    view = resumed.view()
    assert "4/4" in view["step"] and "batch" not in view and "final" in view["checkpoint"]
    curve = view["teacher_kl"].split()[2]
    assert len(curve) == 4, "the steps before the resume are not in the curve"
    assert f"{config.log_path}: complete after 4 steps" in "".join(resumed.last)
    for screen in (failed, resumed):
        assert sum(line.startswith("step ") for line in screen.last) == 1, "the view was torn"


def test_terminal_shows_a_lost_client_once_above_the_view(make_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config(display="auto", max_steps=3, save_every=1, log_path="run")
    with terminal(monkeypatch) as screen:
        train_on_screen(screen, config, tmp_path / "server", Fault("optim_step", nth=2, error=500))
    told = [i for i, line in enumerate(screen.last) if "recovery 1 of 3" in line]
    assert len(told) == 1 and told[0] < screen.last.index(screen.view()["step"])
    assert "3/3" in screen.view()["step"] and screen.showed("resuming at step 1 of 3")


def test_ctrl_c_gives_streams_handlers_and_cursor_back(make_config, tmp_path, monkeypatch):
    class Interrupting(WatchedService):
        def submit(self, call, action, **arguments):
            if call == "optim_step":
                print("before the signal")
                signal.raise_signal(signal.SIGINT)
            return super().submit(call, action, **arguments)

    logger = logging.getLogger("socratic_distill")
    with terminal(monkeypatch) as screen:
        handler = logging.StreamHandler(sys.stderr)
        monkeypatch.setattr(logger, "handlers", [handler])
        streams = sys.stdout, sys.stderr, handler.stream
        service = Interrupting(screen.draws, tmp_path / "server", [])
        with pytest.raises(RunInterrupted):
            train_on_fake(service, make_config(display="auto"))
        assert (sys.stdout, sys.stderr, handler.stream) == streams and logger.handlers == [handler]
        print("afterwards")
    assert screen.last[-1] == "afterwards"
    assert screen.last.index("before the signal") < screen.last.index(screen.view()["step"])


def test_narrow_terminal_shows_whole_lines(make_config, tmp_path, monkeypatch):
    config = make_config(display="auto", max_steps=2)
    with terminal(monkeypatch, COLUMNS="40") as screen:
        train_on_screen(screen, config, tmp_path / "server")
    names = ["step", "teacher_kl", "tells", "tokens", "checkpoint"]
    assert [line.split()[0] for line in screen.last[-len(names) :]] == names
    assert all(len(line) <= 40 for line in screen.last[-len(names) :])


def test_display_that_is_off_shows_nothing(make_config, tmp_path, monkeypatch):
    with terminal(monkeypatch) as screen:
        train(make_config(display="off", max_steps=1), service_client=FakeServiceClient())
    assert screen.frames == []


PIPED = """
import sys
from socratic_distill import SocraticConfig, train
from socratic_distill.testing import FakeRestClient, FakeServiceClient

service = FakeServiceClient()
config = SocraticConfig.model_validate_json(sys.argv[1])
train(config, service_client=service, rest_client=FakeRestClient(service))
"""


def test_pipe_has_no_control_characters(make_config, tmp_path):
    """In a process of its own: nothing that a test puts in the place of standard output stands between."""
    config = make_config(display="auto", max_steps=2)
    done = subprocess.run(
        [sys.executable, "-c", PIPED, config.model_dump_json()],
        capture_output=True,
        check=True,
        env=os.environ | {"FORCE_COLOR": "1", "TERM": "xterm"},
    )
    text = (done.stdout + done.stderr).decode()
    assert [one for one in text if unicodedata.category(one) == "Cc" and one != "\n"] == []
    assert [line.split()[2] for line in text.splitlines() if line[9:].startswith("step ")] == ["1/2", "2/2"]
