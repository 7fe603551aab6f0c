"""Progress as plain lines, one a step."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console

from socratic_distill.outputs.display.pace import Pace
from socratic_distill.outputs.display.protocol import Look
from socratic_distill.outputs.display.tally import Tally
from socratic_distill.outputs.display.text import amount, dollars, shaped
from socratic_distill.text import duration, printable


class Plain:
    """Lines with the time of day and no control characters, for files, pipes, notebooks and simple terminals."""

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Prints on a console; `clock` gives seconds, `now` the local time."""
        self._console = console
        self._clock = clock
        self._now = now
        self._pace = Pace()
        self._tally = Tally()

    def say(self, text: str) -> None:
        """Prints it."""
        self._console.out(printable(f"{self._now():%H:%M:%S} {text}", self._console.encoding), highlight=False)

    def watch(self, look: Look, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Starts the clock. Between steps nothing is printed."""
        self._pace.begin(self._clock())
        if not self._tally.counted:
            for row in history:
                self._tally = self._tally.after(row)

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """Prints the step's figures in one line."""
        now = self._clock()
        self._pace.stepped(now)
        self._tally = self._tally.after(metrics)
        self.say(f"step {done}/{total}  {_summary(metrics, self._tally, self._pace.left(now, total - done))}")

    def close(self) -> None:
        """Nothing is to be given back."""


def _summary(metrics: Mapping[str, Any], tally: Tally, left: float | None) -> str:
    parts = (
        ("teacher_kl", shaped(metrics.get("teacher_kl"), "{:.3f}")),
        ("tells", shaped(metrics.get("first_reply/tells"), "{:.0%}")),
        ("asks", shaped(metrics.get("first_reply/asks"), "{:.0%}")),
        ("solved", shaped(metrics.get("solved"), "{:.0%}")),
        ("seconds", shaped(metrics.get("time/step"), "{:.1f}")),
        ("tokens", amount(tally.sampled) if tally.sampled else None),
        ("cost", dollars(tally.usd) if tally.usd else None),
        ("left", duration(left) if left else None),
    )
    return "  ".join(f"{name} {value}" for name, value in parts if value is not None)
