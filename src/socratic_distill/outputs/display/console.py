"""Rich's console for text that others wrote: no markup, and no control characters but rich's own."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from socratic_distill.text import printable


class TextConsole(Console):
    """Prints strings as they are: `[brackets]` are no markup, `:words:` no emoji, control characters are escaped."""

    def __init__(self, **options: Any) -> None:
        """Takes rich's own options."""
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Renders an object to segments whose text is escaped."""
        for segment in super().render(renderable, options):
            is_text = not segment.control
            yield Segment(printable(segment.text, self.encoding), segment.style) if is_text else segment

    def on_broken_pipe(self) -> None:
        """Rich would end the process here."""
        raise BrokenPipeError("the reader of the output is gone")
