"""The future that the in-process services answer with: awaitable, or `.result()`.

One class serves the local engine and the fake, as the SDK's `APIFuture` serves Tinker.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from tinker import APIFuture

T = TypeVar("T")


class ServiceFuture(APIFuture[T]):
    """An `APIFuture` over a `concurrent.futures.Future`."""

    def __init__(self, future: Future[T], drive: Callable[[], None] | None = None) -> None:
        """Wraps a future that somebody completes.

        Args:
            future: completed by the service, now or later.
            drive: called by a blocking `result()` while the future is open, for a service
                that does its work only when somebody waits for it. None: nothing to drive.
        """
        self._future = future
        self._drive = drive

    @classmethod
    def of(cls, value: T) -> "ServiceFuture[T]":
        """A future that is already done."""
        future: Future[T] = Future()
        future.set_result(value)
        return cls(future)

    @classmethod
    def failed(cls, error: BaseException) -> "ServiceFuture[T]":
        """A future that has already failed."""
        future: Future[T] = Future()
        future.set_exception(error)
        return cls(future)

    @classmethod
    def later(cls, value: T | Exception, seconds: float) -> "ServiceFuture[T]":
        """A future that is done, or fails, some seconds from now, by the clock of the asyncio loop where one runs."""
        future: Future[T] = Future()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            timer = threading.Timer(seconds, _answer, [future, value])
            timer.daemon = True
            timer.start()
        else:
            loop.call_later(seconds, _answer, future, value)
        return cls(future)

    async def result_async(self, timeout: float | None = None) -> T:
        """The result; `TimeoutError` after `timeout` seconds, None waits for ever."""
        waiting = asyncio.wrap_future(self._future)
        return await (waiting if timeout is None else asyncio.wait_for(waiting, timeout))

    def result(self, timeout: float | None = None) -> T:
        """The result, blocking; `TimeoutError` after `timeout` seconds, None waits for ever."""
        if self._drive is not None and not self._future.done():
            self._drive()
        return self._future.result(timeout)

    def future(self) -> Future[T]:
        """The underlying `concurrent.futures.Future`; cancelling it cancels the operation."""
        return self._future


def _answer(future: Future[T], value: T | Exception) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
