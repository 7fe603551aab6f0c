"""How far an evaluation is: a bar for each tutor in a terminal, lines with times elsewhere."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from socratic_distill.outputs.display.console import TextConsole
from socratic_distill.text import printable

_SECONDS = 10  # between two lines


class PlayedDialogues:
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
        self._tasks: dict[str, Any] = {}
        self._bars: Progress | None = None
        if console.is_terminal and console.is_interactive:
            columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
            self._bars = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)

    def __enter__(self) -> Self:
        """Draws the bars, if there are any."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *reason: object) -> None:
        """Gives the terminal back."""
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        """So many of a tutor's dialogues were played."""
        try:
            self._show(name, done, total)
        except (OSError, ValueError):  # the stream is closed; the evaluation goes on
            self._console.quiet = True

    def _show(self, name: str, done: int, total: int) -> None:
        if self._bars is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total)
            self._bars.update(self._tasks[name], completed=done)
            return
        now = self._now()
        if done == total or (now - self._last).total_seconds() >= _SECONDS:
            self._last = now
            line = f"{now:%H:%M:%S} {name}: {done} of {total} {self._what}"
            self._console.out(printable(line, self._console.encoding), highlight=False)
