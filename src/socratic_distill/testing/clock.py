"""An asyncio loop on virtual time: it jumps to the next timer, so that an hour of waiting takes no time."""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
# How long, in real seconds, a loop without timers waits for another thread before it gives up.
_PATIENCE = 10.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` begins at 0 and moves only while it waits, at once to the next timer.

    What runs takes no virtual time, and so every figure is the same on every machine. Functions given to an
    executor (`asyncio.to_thread`) run at once, in the loop's thread, since time must not pass them by.
    """

    def __init__(self) -> None:
        """Begins at time 0."""
        self._now = 0.0
        self._running_in: int | None = None
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Lets virtual time pass.

        Args:
            seconds: how much.
        """
        self._now += seconds

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        """As `call_soon` in the loop's own thread: nothing sleeps that would have to be woken."""
        if self._running_in == threading.get_ident():
            return self.call_soon(callback, *args, context=context)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def run_forever(self) -> None:
        """Runs until it is stopped."""
        self._running_in = threading.get_ident()
        try:
            super().run_forever()
        finally:
            self._running_in = None

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Runs the function at once."""
        done: Future[T] = Future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return asyncio.wrap_future(done, loop=self)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for as long as it is asked to, lets the loop's time jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # nothing is timed: only another thread could go on
            if not (ready := super().select(_PATIENCE)):
                raise RuntimeError("the virtual loop waits for something that nothing will ever do")
            return ready
        ready = super().select(0)
        if not ready and timeout > 0:
            self._loop.jump(timeout)
        return ready


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end on a `VirtualLoop`, as `asyncio.run` does on a real one.

    Examples:
        >>> async def an_hour():
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run_virtual(an_hour())
        3600.0

    Args:
        main: what to run; its result is given back.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
