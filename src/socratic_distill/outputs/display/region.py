"""The last lines of a terminal, drawn again in place; what is printed meanwhile goes above them."""

from collections.abc import Callable
from typing import Self

from rich.console import Console, ConsoleRenderable, RenderHook
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text


class Region(RenderHook):
    """A context manager; to be used in one thread, in which all else is printed on the console too.

    Other than rich's own `Live`, it finds its lines again when the terminal became narrower and broke them, or wider
    and joined them.
    """

    def __init__(self, console: Console, lines: Callable[[int], list[Text]]) -> None:
        """Draws on a console what `lines` gives for a width in cells."""
        self._console = console
        self._lines = lines
        self._drawn: list[int] = []  # cells of each line on the screen

    def __enter__(self) -> Self:
        """Hides the cursor."""
        self._console.show_cursor(False)
        self._console.push_render_hook(self)
        return self

    def __exit__(self, *reason: object) -> None:
        """Leaves the lines where they are, and gives the cursor back below them."""
        self._console.pop_render_hook()
        self._console.show_cursor(True)

    def draw(self) -> None:
        """Draws the lines as they are now."""
        self._console.print(Control())

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Called by the console for whatever is printed."""
        width, height = self._console.size
        erased = self._erase(width)
        lines = self._lines(width)[: max(1, height - 1)]
        self._drawn = [line.cell_len for line in lines]
        # The cursor rests on an empty line: what the terminal echoes, such as ^C, would break one of ours.
        drawn = Text("\n", no_wrap=True, overflow="ignore").join(lines)
        return [erased, *renderables, drawn] if lines else [erased, *renderables]

    def _erase(self, width: int) -> Control:
        if not self._drawn:
            return Control()
        rows = sum(max(1, -(-cells // width)) for cells in self._drawn)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * rows
        return Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up)
