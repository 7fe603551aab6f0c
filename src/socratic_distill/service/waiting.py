"""Waiting for async work: from code without an event loop, for blocking calls, and through signals."""

import asyncio
import contextvars
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from socratic_distill.errors import EventLoopRunning, RunInterrupted
from socratic_distill.text import get_logger

T = TypeVar("T")
_log = get_logger(__name__)


def run_blocking(call: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
    """Runs `call()` to its end in a loop of its own.

    Args:
        call: makes the coroutine.
        name: name of the blocking function, whose async twin is `<name>_async`.

    Raises:
        EventLoopRunning: a loop already runs in this thread, as in a notebook.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise EventLoopRunning(
            f"{name}() cannot run inside a running asyncio loop, as a notebook has one; "
            f"write `await {name}_async(…)` instead"
        )
    return asyncio.run(call())


class _DaemonThreads(Executor):
    """Runs each call on a daemon thread of its own.

    Such a call never keeps the process from ending. The threads of asyncio's own executor would: the loop joins them
    when it closes, and the interpreter when it exits, so Ctrl-C would wait for the network.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Starts a call."""
        future: Future[T] = Future()
        threading.Thread(target=_carry_out, args=(future, fn, args, kwargs), name="blocking call", daemon=True).start()
        return future


DAEMON_THREADS = _DaemonThreads()


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Runs a call that may block for long, such as a network call, on a daemon thread. A cancellation abandons it.

    Args:
        call: what to run. It sees the caller's context variables.
        *args: its arguments.
    """
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(DAEMON_THREADS, lambda: context.run(call, *args))


def _carry_out(future: "Future[Any]", call: Callable[..., Any], args: Any, kwargs: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call(*args, **kwargs))
    except BaseException as error:
        future.set_exception(error)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GO_ON = "Start the same script again to go on"


class StoppedAtOnce(asyncio.CancelledError):
    """A second cancellation came while the first one waited: no time is left to save anything."""


async def shielded(work: Awaitable[T]) -> T:
    """Runs work that must not stop half-way: the first cancellation waits for its end, a second one stops it.

    Raises:
        CancelledError: the caller was cancelled, and the work has ended. An error of the work is logged, since the
            caller must act on the cancellation.
        StoppedAtOnce: it was cancelled twice.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            raise StoppedAtOnce from None
        if not task.cancelled() and task.exception() is not None:
            _log.warning("while stopping: %s", task.exception())
        raise


async def fail_with(work: Awaitable[T], *others: "asyncio.Future[Any] | None") -> T:
    """Awaits work. If one of the other futures fails first, cancels the work and raises that error.

    If several of them failed, the error of the first one given is raised.
    """
    task = asyncio.ensure_future(work)
    watched = [other for other in others if other is not None]
    try:
        while not task.done():
            done, _ = await asyncio.wait({task, *watched}, return_when=asyncio.FIRST_COMPLETED)
            for other in [other for other in watched if other in done]:
                other.result()
                watched.remove(other)
        return task.result()
    finally:
        task.cancel()


def silence(future: "asyncio.Future[Any]") -> None:
    """Keeps asyncio from reporting the error of a future that no code may wait for."""
    if not future.cancelled():
        future.exception()


def run_interruptible(call: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
    """`run_blocking` that SIGINT and SIGTERM stop cleanly, if it runs in the main thread.

    The first signal cancels the coroutine, which may use its time to save; a second one stops at once. Handlers
    are restored at the end. A signal that the process ignores stays ignored, as under `nohup`.

    Args:
        call: makes the coroutine. The message of its `CancelledError` becomes that of the error.
        name: as for `run_blocking`.

    Raises:
        EventLoopRunning: a loop already runs in this thread.
        RunInterrupted: a signal stopped it.
    """
    if threading.current_thread() is not threading.main_thread():
        return run_blocking(call, name)
    stop = _Stop()
    with stop.on_signals():
        try:
            return run_blocking(lambda: stop.watch(call), name)
        except KeyboardInterrupt:
            if stop.signal_number is None:
                raise
            raise RunInterrupted(f"stopped at once by a second signal. {_GO_ON}", stop.signal_number) from None


class _Stop:
    """The signal that came, and the task that it cancels."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        # None is a handler that C code installed, which could not be put back.
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
        try:
            for number in ours:
                signal.signal(number, self._on_signal)
            yield
        finally:
            for number in ours:
                signal.signal(number, before[number])

    async def watch(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            if self.signal_number is not None:  # it came before there was a task to cancel
                raise asyncio.CancelledError
            return await call()
        except asyncio.CancelledError as error:
            if self.signal_number is None:
                raise
            raise RunInterrupted(
                str(error) or f"stopped before anything was done. {_GO_ON}", self.signal_number
            ) from None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
        if self._task is not None and self._loop is not None:
            self._task.cancel()
            self._loop.call_soon_threadsafe(lambda: None)  # wakes a loop that waits for the network


async def gather_all(parts: Iterable[Awaitable[T]]) -> list[T]:
    """`asyncio.gather` that cancels all other parts when one fails or the caller is cancelled."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
