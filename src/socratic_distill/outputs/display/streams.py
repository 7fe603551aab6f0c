"""Who else writes to the terminal while the live view has it: the program's prints, and log handlers.

Rich's own redirection prints at once, in the thread that writes. Here lines go to the view, in order with what is said.
So a halted terminal delays nothing else, and an unfinished line waits for its end even if it is flushed.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Say = Callable[[str], None]
_PACKAGE = "socratic_distill"


class Lines:
    """A text stream that gives each whole line to a function; all but writing is the real stream's.

    After `end` it passes everything on: whoever took `sys.stdout` meanwhile may hold it for longer than the view lives.

    Attributes:
        stream: the real stream.
        has_view: whether lines go to the view.
    """

    def __init__(self, stream: Any, say: Say) -> None:
        """Stands for `stream`."""
        self.stream = stream
        self.has_view = True
        self._say = say
        self._begun = ""

    def write(self, text: str) -> int:
        """Takes text; an unfinished line waits for its end."""
        if not self.has_view:
            return self.stream.write(text)
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._say(line.rstrip("\r").rpartition("\r")[2])
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Takes several texts."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Leaves an unfinished line, which has no place above the view."""
        if not self.has_view:
            self.stream.flush()

    def end(self) -> None:
        """Gives out an unfinished line; from here on text goes to the stream."""
        if self._begun:
            self.write("\n")
        self.has_view = False

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self.stream, name)


@contextmanager
def redirected(say: Say, warn: Callable[[str, str], None]) -> Iterator[None]:
    """Has lines that would be written to the terminal said instead, and the package's warnings shown.

    Takes standard output and error, and the streams of log handlers that the package's messages reach; those that are
    no terminal are left alone.

    Args:
        say: takes a line.
        warn: takes the level and the message of a warning, or worse, where no handler writes it to the terminal.
    """
    logger = logging.getLogger(_PACKAGE)
    handlers = _handlers(logger)
    alerts = None if any(map(_shows_warnings, handlers)) else _Alerts(warn, is_alone=not handlers)
    owners: list[tuple[Any, str]] = [(sys, "stdout"), (sys, "stderr")]
    owners += [(handler, "stream") for handler in handlers if isinstance(handler, logging.StreamHandler)]
    taken = [(owner, name, Lines(getattr(owner, name), say)) for owner, name in owners]
    taken = [(owner, name, lines) for owner, name, lines in taken if is_terminal(lines.stream)]
    for owner, name, lines in taken:
        setattr(owner, name, lines)
    if alerts is not None:
        logger.addHandler(alerts)
    try:
        yield
    finally:
        if alerts is not None:
            logger.removeHandler(alerts)
        for owner, name, lines in taken:
            lines.end()
            if getattr(owner, name) is lines:  # somebody may have put another in its place meanwhile
                setattr(owner, name, lines.stream)


class _Alerts(logging.Handler):
    """Gives warnings to the view.

    With it, the package's logger has a handler, so that Python's handler of last resort is not asked any more. It still
    is where it writes to a file, which would lack them.
    """

    def __init__(self, warn: Callable[[str, str], None], is_alone: bool) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn
        self._last_resort = logging.lastResort if is_alone and not is_terminal(sys.stderr) else None

    def emit(self, record: logging.LogRecord) -> None:
        self._warn(record.levelname.lower(), record.getMessage())
        if self._last_resort is not None:
            self._last_resort.handle(record)


def _handlers(logger: logging.Logger | None) -> list[logging.Handler]:
    """The handlers that a message of a logger reaches."""
    handlers: list[logging.Handler] = []
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    return handlers


def _shows_warnings(handler: logging.Handler) -> bool:
    """Whether a handler, rich's own included, writes warnings to a terminal."""
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    return handler.level <= logging.WARNING and is_terminal(stream)


def is_terminal(stream: Any) -> bool:
    """Whether a stream, which may be closed or None, is a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
