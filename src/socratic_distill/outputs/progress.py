"""What follows a run while it goes on: a display, and trackers."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from socratic_distill.config.config import SocraticConfig
from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.evaluation.table import describe_measure
from socratic_distill.outputs.display import Display, Look, open_display
from socratic_distill.outputs.trackers import Trackers
from socratic_distill.service.pauses import Pauses
from socratic_distill.text import get_logger

_log = get_logger(__name__)
_SHOWN = ("teacher_kl", "first_reply/tells", "first_reply/asks", "solved")


class Progress:
    """A display that passes on to trackers what is for them; none of them can fail the run. An async context manager.

    Attributes:
        evaluation: what the last evaluation found, in a line; None before the first.
    """

    def __init__(self, config: SocraticConfig) -> None:
        """Opens the display.

        Args:
            config: says which display and trackers.

        Raises:
            ConfigError: the library of a tracker is not installed.
        """
        self.evaluation: str | None = None
        self._has_trackers = bool(config.trackers)
        self._trackers = Trackers(config)
        self._display: Display | None = None if config.display == "off" else open_display(config.display)
        # With no display the SDK's log goes where it went.
        self._pauses = None if self._display is None else Pauses(self.say)

    async def __aenter__(self) -> Self:
        """Listens for pauses of the service; trackers are opened by `begin`."""
        if self._pauses is not None:
            self._pauses.watch()
        return self

    async def __aexit__(self, *reason: Any) -> None:
        """Hands over to the trackers what is left, and gives the terminal back."""
        if self._pauses is not None:
            self._pauses.close()
        try:
            # First, since they put themselves before the streams after the display did.
            if self._has_trackers:
                await asyncio.to_thread(self._trackers.close)  # may wait for a network
        finally:
            self.close()

    def begin(self, run_id: str, batch: int, log_path: Path) -> None:
        """Batches from this one on are next, as at the start or after a recovery."""
        self._trackers.begin(run_id, batch, log_path)

    def say(self, text: str) -> None:
        """One line for the reader."""
        self._show(lambda display: display.say(text))

    def watch(self, look: Look, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Batches begin; see `Display`."""
        self._show(lambda display: display.watch(look, history))

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """A step ended: `done` of `total` batches, with the step's row of `metrics.jsonl`."""
        if self._pauses is not None:
            self._pauses.over()
        self._trackers.log(metrics["step"], metrics)
        self._show(lambda display: display.step(done, total, metrics))

    def evaluated(self, batch: int, evaluation: Evaluation) -> None:
        """The weights before a batch were evaluated."""
        self._trackers.evaluation(batch, evaluation.measures)
        measures = "  ".join(describe_measure(name, evaluation.measures[name]) for name in _SHOWN)
        self.evaluation = f"before batch {batch}: {measures}"
        self.say(f"evaluation {self.evaluation}")

    def close(self) -> None:
        """Gives the terminal back."""
        self._show(lambda display: display.close())

    def _show(self, tell: Callable[[Display], None]) -> None:
        """Calls the display. After an error, as when its terminal is gone, it is not called again."""
        if self._display is None:
            return
        try:
            tell(self._display)
        except Exception as error:
            failed, self._display = self._display, None
            _log.warning("the display failed and is off from here on: %s: %s", type(error).__name__, error)
            with suppress(Exception):
                failed.close()
