"""How far a download is: a bar for each file in a terminal, lines elsewhere."""

from typing import Any, Self

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from socratic_distill.outputs.display.console import TextConsole
from socratic_distill.text import printable


class DownloadedBytes:
    """Shows what happens, and how much of each file is there. A context manager."""

    def __init__(self, console: TextConsole) -> None:
        """Shows it on a console.

        Args:
            console: where; nothing else may print there meanwhile.
        """
        self._console = console
        self._tasks: dict[str, Any] = {}
        self._bars: Progress | None = None
        if console.is_terminal and console.is_interactive:
            columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn()
            times = TransferSpeedColumn(), TimeRemainingColumn()
            self._bars = Progress(*columns, *times, console=console, transient=True)

    def __enter__(self) -> Self:
        """Draws the bars, if there are any."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *reason: object) -> None:
        """Gives the terminal back."""
        if self._bars is not None:
            self._bars.stop()

    def say(self, line: str) -> None:
        """Prints a line above the bars."""
        try:
            self._console.print(printable(line, self._console.encoding), soft_wrap=True)
        except (OSError, ValueError):  # the stream is closed; the export goes on
            self._console.quiet = True

    def downloaded(self, name: str, done: int, total: int | None) -> None:
        """So many bytes of a file are there."""
        if self._bars is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total)
