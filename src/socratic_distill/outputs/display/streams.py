"""Standard output and error while the live view has the terminal: their lines go above it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

Say = Callable[[str], None]


class Lines:
    """A text stream that gives each whole line to a function; all but writing is the real stream's."""

    def __init__(self, stream: TextIO, say: Say) -> None:
        """Stands for `stream`."""
        self._stream = stream
        self._say = say
        self._begun = ""

    def write(self, text: str) -> int:
        """Takes text; an unfinished line waits for its end."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._say(line.rstrip("\r").rpartition("\r")[2])
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Takes several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back but an unfinished line, which has no place above the view."""

    def end(self) -> None:
        """Gives out an unfinished line."""
        if self._begun:
            self.write("\n")

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self._stream, name)


@contextmanager
def redirected(say: Say) -> Iterator[None]:
    """Has what is written to standard output and error said instead, where they are a terminal."""
    ours: dict[str, Lines] = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if is_terminal(stream):
            ours[name] = Lines(cast(TextIO, stream), say)
            setattr(sys, name, ours[name])
    try:
        yield
    finally:
        for name, lines in ours.items():
            lines.end()
            if getattr(sys, name) is lines:  # somebody may have put another in its place meanwhile
                setattr(sys, name, lines._stream)


def is_terminal(stream: Any) -> bool:
    """Whether a stream, which may be closed or None, is a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
