"""One tracker on a thread of its own: opened, logged to and closed there, unheard in the terminal."""

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from socratic_distill.outputs.trackers.adapters import TrackedRun, Tracker
from socratic_distill.text import get_logger, redacted

_log = get_logger(__name__)


class Worker(threading.Thread):
    """Takes tasks at once and does them in its thread. A tracker that fails is reported once, and then ignored.

    The thread does not keep the process alive: a hanging tracker is abandoned.
    """

    def __init__(self, name: str, opener: Callable[[TrackedRun], Tracker], tracked: TrackedRun) -> None:
        """Starts the thread, which opens the tracker.

        Args:
            name: of the tracker, for messages.
            opener: opens it; may take long, print or raise.
            tracked: what it is opened for.
        """
        super().__init__(name=f"tracker {name}", daemon=True)
        self._opener, self._tracked = opener, tracked
        self._tasks: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self.start()

    def send(self, task: Callable[[Tracker], None]) -> None:
        """Has something logged, later."""
        if self.is_alive():
            self._tasks.put(task)

    def end(self) -> None:
        """Closes the tracker after all that was sent."""
        self._tasks.put(None)

    def wait(self, seconds: float) -> bool:
        """Waits until it is closed, for so long at most; gives whether it is."""
        self.join(max(seconds, 0.0))
        if self.is_alive():
            _log.warning(
                "%s has not taken all figures in time, and is not waited for; metrics.jsonl has them all", self.name
            )
        return not self.is_alive()

    def run(self) -> None:
        """Does the tasks; called by the thread."""
        tracker = None
        try:
            tracker = self._opener(self._tracked)
            while (task := self._tasks.get()) is not None:
                task(tracker)
            closing, tracker = tracker, None
            closing.close()
        except Exception as error:
            _log.warning(
                "%s failed (%s: %s); training goes on without it, and metrics.jsonl has all figures",
                self.name,
                type(error).__name__,
                redacted(str(error)),
            )
            with suppress(Exception):
                if tracker is not None:
                    tracker.close()


class _Hushed:
    """A text stream that drops what workers write, and passes on what other threads do.

    Redirecting the streams for a moment, as contextlib does, would take what other threads write meanwhile along.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return len(text) if isinstance(threading.current_thread(), Worker) else self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def hush() -> None:
    """Keeps what trackers print off the terminal, where the live view is, or nothing at all."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, _Hushed(getattr(sys, name)))


def unhush() -> None:
    """Takes back one `hush`, unless something else has been put before it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Hushed):
            setattr(sys, name, stream.stream)
