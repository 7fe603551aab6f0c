"""How far an evaluation is: a bar for each tutor in a terminal, lines with times elsewhere."""

from collections.abc import Callable
from datetime import datetime

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from socratic_distill.cli.bars import Bars
from socratic_distill.outputs.display.console import TextConsole
from socratic_distill.text import printable

_SECONDS = 10  # between two lines


class PlayedDialogues(Bars):
    """Shows how many were played or answered. A context manager; call it with a tutor's name, done and total."""

    def __init__(
        self, console: TextConsole, now: Callable[[], datetime] = datetime.now, what: str = "dialogues"
    ) -> None:
        """Shows it on a console.

        Args:
            console: where; nothing else may print there meanwhile.
            now: the time of day, for lines.
            what: what is counted.
        """
        self._console = console
        self._now = now
        self._what = what
        self._last = now()
        name = TextColumn("{task.description}", markup=False)
        super().__init__(console, name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    def __call__(self, name: str, done: int, total: int) -> None:
        """So many of a tutor's dialogues were played."""
        try:
            self._show(name, done, total)
        except (OSError, ValueError):  # the stream is closed; the evaluation goes on
            self._console.quiet = True

    def _show(self, name: str, done: int, total: int) -> None:
        if self.drawn(name, done, total):
            return
        now = self._now()
        if done == total or (now - self._last).total_seconds() >= _SECONDS:
            self._last = now
            line = f"{now:%H:%M:%S} {name}: {done} of {total} {self._what}"
            self._console.out(printable(line, self._console.encoding), highlight=False)
