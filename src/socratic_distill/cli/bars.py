"""Progress bars in a terminal."""

from typing import Any, Self

from rich.progress import Progress, ProgressColumn

from socratic_distill.outputs.display.console import TextConsole


class Bars:
    """Bars of a terminal, by name; nothing is drawn elsewhere. A context manager."""

    def __init__(self, console: TextConsole, *columns: ProgressColumn) -> None:
        """Draws nothing yet.

        Args:
            console: where; nothing else may print there meanwhile.
            *columns: the parts of a bar.
        """
        self._tasks: dict[str, Any] = {}
        self._progress = None
        if console.is_terminal and console.is_interactive:
            self._progress = Progress(*columns, console=console, transient=True)

    def __enter__(self) -> Self:
        """Draws the bars, if there are any."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *reason: object) -> None:
        """Gives the terminal back."""
        if self._progress is not None:
            self._progress.stop()

    def drawn(self, name: str, done: int, total: int | None) -> bool:
        """Whether there are bars; then that of a name is moved."""
        if self._progress is None:
            return False
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)
        return True
