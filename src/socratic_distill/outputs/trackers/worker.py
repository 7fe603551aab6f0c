"""One tracker on a thread of its own: opened, logged to and closed there."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from socratic_distill.outputs.trackers.adapters import TrackedRun, Tracker
from socratic_distill.outputs.trackers.hush import Hush
from socratic_distill.text import get_logger, redacted

_log = get_logger(__name__)


class Worker:
    """Takes tasks at once and does them in its thread. A tracker that fails is reported once, and then ignored.

    The thread does not keep the process alive: a hanging tracker is abandoned.
    """

    def __init__(self, name: str, opener: Callable[[TrackedRun], Tracker], tracked: TrackedRun, hush: Hush) -> None:
        """Starts the thread, which opens the tracker.

        Args:
            name: of the tracker, for messages.
            opener: opens it; may take long, print or raise.
            tracked: what it is opened for.
            hush: keeps what it prints off the terminal.
        """
        self._name = name
        self._tasks: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(opener, tracked, hush), name=f"tracker {name}", daemon=True
        )
        self._thread.start()

    def send(self, task: Callable[[Tracker], None]) -> None:
        """Has something logged, later."""
        if self._thread.is_alive():
            self._tasks.put(task)

    def end(self) -> None:
        """Closes the tracker after all that was sent."""
        self._tasks.put(None)

    def wait(self, seconds: float) -> bool:
        """Waits until it is closed, for so long at most; gives whether it is."""
        self._thread.join(max(seconds, 0.0))
        if self._thread.is_alive():
            _log.warning(
                "tracker %s has not taken all figures in time, and is not waited for; metrics.jsonl has them all",
                self._name,
            )
        return not self._thread.is_alive()

    def _run(self, opener: Callable[[TrackedRun], Tracker], tracked: TrackedRun, hush: Hush) -> None:
        tracker = None
        with hush.here():
            try:
                tracker = opener(tracked)
                while (task := self._tasks.get()) is not None:
                    task(tracker)
                closing, tracker = tracker, None
                closing.close()
            except Exception as error:
                _log.warning(
                    "tracker %s failed (%s: %s); training goes on without it, and metrics.jsonl has all figures",
                    self._name,
                    type(error).__name__,
                    redacted(str(error)),
                )
                with suppress(Exception):
                    if tracker is not None:
                        tracker.close()
