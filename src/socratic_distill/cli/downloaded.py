"""How far a download is: a bar for each file in a terminal, lines elsewhere."""

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from socratic_distill.cli.bars import Bars
from socratic_distill.outputs.display.console import TextConsole
from socratic_distill.text import printable


class DownloadedBytes(Bars):
    """Shows what happens, and how much of each file is there. A context manager."""

    def __init__(self, console: TextConsole) -> None:
        """Shows it on a console.

        Args:
            console: where; nothing else may print there meanwhile.
        """
        self._console = console
        name = TextColumn("{task.description}", markup=False)
        super().__init__(console, name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())

    def say(self, line: str) -> None:
        """Prints a line above the bars."""
        try:
            self._console.print(printable(line, self._console.encoding), soft_wrap=True)
        except (OSError, ValueError):  # the stream is closed; the export goes on
            self._console.quiet = True

    def downloaded(self, name: str, done: int, total: int | None) -> None:
        """So many bytes of a file are there."""
        self.drawn(name, done, total)
