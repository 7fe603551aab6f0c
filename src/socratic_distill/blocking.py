"""Async functions called from code without an event loop, and blocking ones from code that has one."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from socratic_distill.errors import EventLoopRunning

T = TypeVar("T")


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

    The process ends whatever such a call waits for. The threads of asyncio's own executor are joined, by the loop when
    it closes and by the interpreter when it exits, so that Ctrl-C would wait for the network.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Begins a call."""
        future: Future[T] = Future()
        threading.Thread(target=_carry_out, args=(future, fn, args, kwargs), name="blocking call", daemon=True).start()
        return future


DAEMON_THREADS = _DaemonThreads()


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Runs a call that may block for long, as for a network, on a daemon thread; a cancellation leaves it behind.

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
