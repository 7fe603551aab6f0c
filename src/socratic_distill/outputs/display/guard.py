"""A display may fail, as when its terminal is gone; the run goes on."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from socratic_distill.outputs.display.protocol import Display, Look
from socratic_distill.text import get_logger

_log = get_logger(__name__)


class Guarded:
    """A display of which nothing is heard any more once it failed."""

    def __init__(self, display: Display) -> None:
        """Shows what it is told on another display."""
        self._display = display
        self._has_failed = False

    def say(self, text: str) -> None:
        """One line for the reader."""
        self._try(lambda: self._display.say(text))

    def watch(self, look: Look, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Batches begin."""
        self._try(lambda: self._display.watch(look, history))

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """A step ended."""
        self._try(lambda: self._display.step(done, total, metrics))

    def close(self) -> None:
        """The run ended or failed."""
        self._try(self._display.close)

    def _try(self, show: Callable[[], None]) -> None:
        if self._has_failed:
            return
        try:
            show()
        except Exception as error:
            self._has_failed = True
            _log.warning("the display failed and is off from here on: %s: %s", type(error).__name__, error)
