"""Calls the hooks of a run's callbacks, so that none of them can fail or hang the run."""

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from socratic_distill.config.config import SocraticConfig
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.evaluation.stored import load_evaluations
from socratic_distill.files.rows import number, step_of
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.service.waiting import in_thread, silence
from socratic_distill.text import get_logger, redacted
from socratic_distill.training.callbacks import Callback, RunHistory, Stop
from socratic_distill.training.early_stopping import EarlyStopping
from socratic_distill.training.result import TrainResult

_log = get_logger(__name__)


class StopRequested(Exception):
    """A callback asked for a stop; the message is its reason."""


class Hooks:
    """The callbacks of a run. An async context manager: at its end, hooks under way are waited for.

    Attributes:
        waits_for_evaluations: whether an optimizer step waits for the evaluations that began before it.
        stop: fails with StopRequested once a callback asks for a stop. It never has a result.
    """

    def __init__(self, callbacks: Sequence[Callback], config: SocraticConfig) -> None:
        """Takes the callbacks; no hook is called yet.

        Args:
            callbacks: as given to `train`.
            config: the run's.

        Raises:
            ConfigError: one is not a callback, is given twice, or can never do anything in this run.
        """
        _check(callbacks, config)
        self._workers = [_Worker(callback) for callback in callbacks]
        self._began = False
        self.waits_for_evaluations = any(callback.waits_for_evaluations for callback in callbacks)
        self.stop = _new_future()

    async def __aenter__(self) -> Self:
        """Starts the threads."""
        for worker in self._workers:
            worker.start()
        return self

    async def __aexit__(self, *reason: Any) -> None:
        """Waits for the hooks under way, each callback's for its `timeout_seconds` at most."""
        await asyncio.gather(*(in_thread(worker.close) for worker in self._workers))

    async def begin(self, run: RunDirectory, batch: int) -> None:
        """Steps begin at a batch. An earlier stop does not count any more: its steps may run again."""
        self.stop = _new_future()
        self._began = True
        if not self._workers:
            return
        # One for each callback, so that none can change what another one reads.
        histories = [await in_thread(_history, run, batch) for _ in self._workers]
        await self._ask("on_begin", lambda number: (histories[number],))

    async def step(self, row: Mapping[str, Any]) -> None:
        """A step ended, with its row of `metrics.jsonl`."""
        await self._ask("on_step", lambda _: (row["step"], dict(row)))

    async def evaluated(self, batch: int, evaluation: Evaluation) -> None:
        """The weights before a batch were evaluated."""
        if self._began:  # otherwise `begin` will read it from its file
            await self._ask("on_evaluation", lambda _: (batch, evaluation))

    def saved(self, record: CheckpointRecord) -> None:
        """A save was recorded. Returns at once."""
        for worker in self._workers:
            worker.send("on_save", (record,))

    async def end(self, result: TrainResult) -> None:
        """The run ended."""
        await self._ask("on_end", lambda _: (replace(result, metrics=dict(result.metrics)),))

    @property
    def reason(self) -> str | None:
        """Why a callback asked for a stop; None if none did."""
        return str(self.stop.exception()) if self.stop.done() else None

    def check(self) -> None:
        """Raises StopRequested if a callback asked for a stop."""
        if self.stop.done():
            self.stop.result()

    async def _ask(self, hook: str, arguments: Callable[[int], tuple[Any, ...]]) -> None:
        """Calls a hook of all callbacks and waits for them; the first `Stop`, in the callbacks' order, counts."""
        sent = [worker.send(hook, arguments(number)) for number, worker in enumerate(self._workers)]
        for worker, answer in zip(self._workers, sent, strict=True):
            answered = await worker.wait(answer)
            if answered is not None and not self.stop.done():
                self.stop.set_exception(StopRequested(answered.reason))


class _Worker(threading.Thread):
    """Calls the hooks of one callback, in order. The thread does not keep the process alive."""

    def __init__(self, callback: Callback) -> None:
        super().__init__(name=f"callback {type(callback).__name__}", daemon=True)
        self._callback = callback
        self._calls: queue.SimpleQueue[tuple[str, tuple[Any, ...], Future[Stop | None]] | None] = queue.SimpleQueue()
        self._failed: Counter[str] = Counter()  # by hook
        self._busy_since: float | None = None  # when the hook under way began
        self._is_given_up = False

    def send(self, hook: str, arguments: tuple[Any, ...]) -> "Future[Stop | None]":
        """Has a hook called, later."""
        answer: Future[Stop | None] = Future()
        if self._is_given_up:
            answer.set_result(None)
        else:
            self._calls.put((hook, arguments, answer))
        return answer

    async def wait(self, answer: "Future[Stop | None]") -> Stop | None:
        """Waits for a hook's answer; None if there is none in time."""
        waiting = asyncio.wrap_future(answer)
        try:
            while not (waiting.done() or self._is_given_up):
                await asyncio.wait([waiting], timeout=max(self._seconds_left(), 0.0))
                if not waiting.done() and self._seconds_left() <= 0:
                    self._give_up()
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()  # otherwise a late answer would be sent to a loop that may be closed by then

    def close(self) -> None:
        """Ends the thread after all hooks that were sent; blocks until then, for `timeout_seconds` at most."""
        self._calls.put(None)
        if not self._is_given_up:
            self.join(self._callback.timeout_seconds)
            if self.is_alive():
                self._give_up()
        for hook, count in self._failed.items():
            if count > 1:
                _log.warning("%s: %s failed %d times in all", self.name, hook, count)

    def run(self) -> None:
        """Calls the hooks; called by the thread."""
        while (call := self._calls.get()) is not None and not self._is_given_up:
            hook, arguments, answer = call
            if not answer.set_running_or_notify_cancel():  # the caller was cancelled
                continue
            self._busy_since, stop = time.monotonic(), None
            try:
                stop = _checked(getattr(self._callback, hook)(*arguments), hook)
            except BaseException as error:  # `sys.exit()` in a hook must not end the thread either
                with suppress(Exception):  # an error may fail to describe itself
                    self._note_failure(hook, error)
            finally:
                self._busy_since = None
                answer.set_result(stop)

    def _seconds_left(self) -> float:
        since = self._busy_since
        return self._callback.timeout_seconds - (0.0 if since is None else time.monotonic() - since)

    def _note_failure(self, hook: str, error: BaseException) -> None:
        self._failed[hook] += 1
        _log.debug("%s: %s failed", self.name, hook, exc_info=error)
        if self._failed[hook] == 1:
            _log.warning(
                "%s: %s failed (%s: %s); the run goes on, and further errors of this hook are counted",
                self.name,
                hook,
                type(error).__name__,
                redacted(str(error)),
            )

    def _give_up(self) -> None:
        self._is_given_up = True
        seconds = self._callback.timeout_seconds
        _log.warning(
            "%s: a hook takes longer than %g seconds; the run goes on without this callback", self.name, seconds
        )


def _check(callbacks: Sequence[Callback], config: SocraticConfig) -> None:
    for callback in callbacks:
        if not isinstance(callback, Callback):
            given = f"the class {callback.__name__}" if isinstance(callback, type) else f"{callback!r}"
            raise ConfigError(f"callbacks holds {given}; give instances of classes derived from Callback")
        if not (number(callback.timeout_seconds) or 0) > 0:
            given = f"{type(callback).__name__}.timeout_seconds is {callback.timeout_seconds!r}"
            raise ConfigError(f"{given}; give a number of seconds above 0")
        if isinstance(callback, EarlyStopping):
            callback.check(config)
    if len({id(callback) for callback in callbacks}) < len(callbacks):
        raise ConfigError("callbacks holds the same object twice; make one for each place")


def _history(run: RunDirectory, batch: int) -> RunHistory:
    rows = [row for row in run.metrics() if (step := step_of(row)) is not None and step < batch]
    stored = [entry for entry in load_evaluations(run.path) if entry.error is None and entry.batch <= batch]
    return RunHistory(batch, rows, stored)


def _checked(answer: object, hook: str) -> Stop | None:
    """A hook's answer, if it is one.

    Raises:
        TypeError: it is something else, such as True.
    """
    if answer is None or (isinstance(answer, Stop) and hook not in ("on_save", "on_end")):
        return answer
    raise TypeError(f"it returned {answer!r}; expected None" + ("" if isinstance(answer, Stop) else " or a Stop"))


def _new_future() -> "asyncio.Future[None]":
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(silence)
    return future
