"""Callbacks' hooks: called in order on a thread, and unable to fail or hang a run."""

import logging
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from socratic_distill import Callback, ConfigError, EarlyStopping, Stop
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.training.hooks import Hooks
from socratic_distill.training.result import TrainResult

RESULT = TrainResult("completed", 1, "state", "sampler", {"step": 0})


class Noting(Callback):
    """Notes its hooks and their threads."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.threads: set[int] = set()

    def note(self, *what: Any) -> None:
        self.notes.append(what)
        self.threads.add(threading.get_ident())

    def on_begin(self, history):
        self.note("begin", history.batch)

    def on_step(self, step: int, metrics: Any):
        self.note("step", step)
        metrics["step"] = "changed"

    def on_evaluation(self, batch, evaluation):
        self.note("evaluation", batch)

    def on_save(self, record):
        self.note("save", record.name)

    def on_end(self, result):
        self.note("end", result.status)


async def test_hooks_are_called_in_order_on_one_thread_that_is_not_the_loops(make_config, tmp_path):
    one, other = Noting(), Noting()
    row = {"step": 0}
    async with Hooks([one, other], make_config()) as hooks:
        await hooks.evaluated(0, cast(Any, None))  # before the beginning, which reads it from its file
        await hooks.begin(RunDirectory(tmp_path / "run"), 0)
        hooks.saved(CheckpointRecord(name="000000"))
        await hooks.step(row)
        await hooks.evaluated(1, cast(Any, None))
        await hooks.end(RESULT)
    expected = [("begin", 0), ("save", "000000"), ("step", 0), ("evaluation", 1), ("end", "completed")]
    assert one.notes == other.notes == expected
    assert len(one.threads) == len(other.threads) == 1 and one.threads != other.threads
    assert threading.get_ident() not in one.threads
    assert row == {"step": 0}, "a callback changes a copy"
    assert not hooks.stop.done()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
async def test_errors_are_logged_once_with_the_traceback_at_debug_and_counted(make_config, caplog, error):
    class Raising(Callback):
        def on_step(self, step: int, metrics: Any):
            raise error("no\x1b[2J good")

    caplog.set_level(logging.DEBUG, "socratic_distill")
    async with Hooks([Raising()], make_config()) as hooks:
        for step in range(3):
            await hooks.step({"step": step})
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in told] == [
        rf"callback Raising: on_step failed ({error.__name__}: no\x1b[2J good); the run goes on, and further errors of "
        "this hook are counted",
        "callback Raising: on_step failed 3 times in all",
    ]
    assert sum("Traceback" in (record.exc_text or "") for record in caplog.records) == 3


async def test_an_error_that_cannot_be_shown_does_no_harm(make_config):
    class UnspeakableError(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    class Raising(Callback):
        def on_step(self, step: int, metrics: Any):
            raise UnspeakableError if step == 0 else ValueError

        def on_end(self, result):
            self.ended = True

    raising = Raising()
    async with Hooks([raising], make_config()) as hooks:
        await hooks.step({"step": 0})
        await hooks.step({"step": 1})
        await hooks.end(RESULT)
    assert raising.ended


async def test_a_hook_that_hangs_is_given_up_and_the_others_are_called(make_config, caplog):
    class Hanging(Callback):
        timeout_seconds = 0.05
        released = threading.Event()
        calls = 0

        def on_step(self, step: int, metrics: Any):
            self.calls += 1
            self.released.wait(60)

    hanging, noting = Hanging(), Noting()
    async with Hooks([hanging, noting], make_config()) as hooks:
        await hooks.step({"step": 0})
        await hooks.step({"step": 1})
    hanging.released.set()
    assert hanging.calls == 1 and noting.notes == [("step", 0), ("step", 1)]
    assert caplog.text.count("a hook takes longer than 0.05 seconds; the run goes on without this callback") == 1


async def test_a_save_hook_is_not_waited_for_but_for_its_time_at_the_end(make_config, caplog):
    class Slow(Noting):
        timeout_seconds = 0.05
        released = threading.Event()

        def on_save(self, record):
            self.released.wait(60)

    slow = Slow()
    async with Hooks([slow], make_config()) as hooks:
        hooks.saved(CheckpointRecord(name="000000"))
    slow.released.set()
    assert "a hook takes longer than 0.05 seconds" in caplog.text


async def test_the_first_callbacks_stop_counts_until_the_next_beginning(make_config, tmp_path):
    class Stopping(Callback):
        def __init__(self, reason):
            self.reason = reason

        def on_step(self, step: int, metrics: Any):
            return Stop(self.reason)

    async with Hooks([Callback(), Stopping("one"), Stopping("two")], make_config()) as hooks:
        await hooks.step({"step": 0})
        assert hooks.reason == "one"
        await hooks.begin(RunDirectory(tmp_path / "run"), 0)
        assert hooks.reason is None


@pytest.mark.parametrize(("hook", "answer"), [("on_step", True), ("on_end", Stop("late"))])
async def test_an_answer_that_means_nothing_is_reported(make_config, caplog, hook, answer):
    kind = type("Odd", (Callback,), {hook: lambda self, *given: answer})
    async with Hooks([kind()], make_config()) as hooks:
        await hooks.step({"step": 0})
        await hooks.end(RESULT)
    assert f"{hook} failed (TypeError: it returned {answer!r}; expected None" in caplog.text
    assert not hooks.stop.done()


class Watching(Callback):
    def on_evaluation(self, batch, evaluation):
        return None


class Reading(Watching):
    waits_for_evaluations = False


class Extending(Watching):
    def on_step(self, step: int, metrics: Any):
        return None


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (Callback(), False),
        (Watching(), True),
        (Extending(), True),
        (Reading(), False),
        (EarlyStopping("solved", 1, goal="higher"), True),
        (EarlyStopping("solved", 1, goal="higher", on="step"), False),
    ],
)
async def test_who_watches_evaluations_is_waited_for_unless_it_says_otherwise(make_config, callback, expected):
    config = make_config(eval_every=1, eval_seeds=1)
    assert Hooks([callback], config).waits_for_evaluations is expected


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([print], "give instances of classes derived from Callback"),
        ([Noting], "the class Noting"),
        ([EarlyStopping("solved", 1, goal="higher")], "eval_every is not set"),
        ([type("Hasty", (Callback,), {"timeout_seconds": 0})()], "Hasty.timeout_seconds is 0"),
        ([type("Endless", (Callback,), {"timeout_seconds": None})()], "Endless.timeout_seconds is None"),
        ([Callback()] * 2, "the same object twice"),
    ],
)
async def test_invalid_callbacks_are_refused(make_config, callbacks, message):
    with pytest.raises(ConfigError, match=message):
        Hooks(callbacks, make_config())


def test_refused_callbacks_leave_no_directory(make_config, tmp_path: Path):
    from socratic_distill import train

    with pytest.raises(ConfigError):
        train(make_config(), callbacks=[EarlyStopping("solved", 1, goal="higher")])
    assert not (tmp_path / "run").exists()
