"""Log messages while the live view has the terminal: above the view, each once."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.logging import RichHandler

from socratic_distill.outputs.display.streams import Lines, Say, is_terminal

_PACKAGE = "socratic_distill"


@contextmanager
def alerts(say: Say, warn: Callable[[str, str], None]) -> Iterator[None]:
    """Has the package's warnings shown above the view.

    Handlers that a program set up to write to the terminal go on in their own format, through `say`; those that write
    elsewhere are left alone. Where none writes to the terminal, warnings are given to `warn`.

    Args:
        say: takes lines of other handlers.
        warn: takes the level and the message of a warning, or worse.
    """
    logger = logging.getLogger(_PACKAGE)
    handlers = _handlers(logger)
    plain = [(one, one.stream) for one in map(_on_terminal, handlers) if one is not None]
    rich = [one for one in handlers if isinstance(one, RichHandler) and one.console.is_terminal]
    is_shown = any(one.level <= logging.WARNING for one in (*(one for one, _ in plain), *rich))
    own = None if is_shown else _Alerts(warn, None if handlers else logging.lastResort)
    for handler, stream in plain:
        handler.setStream(Lines(stream, say))
    if own is not None:
        logger.addHandler(own)
    try:
        yield
    finally:
        if own is not None:
            logger.removeHandler(own)
        for handler, stream in plain:
            if isinstance(handler.stream, Lines):  # somebody may have put another in its place meanwhile
                handler.setStream(stream)


class _Alerts(logging.Handler):
    """Gives warnings to the view.

    With it, the package's logger has a handler, so that Python's handler of last resort is not asked any more; it still
    is where standard error is no terminal, as in a file, which would lack them.
    """

    def __init__(self, warn: Callable[[str, str], None], last_resort: logging.Handler | None) -> None:
        super().__init__(logging.WARNING)
        self._warn = warn
        is_seen = last_resort is None or is_terminal(getattr(last_resort, "stream", None))
        self._last_resort = None if is_seen else last_resort

    def emit(self, record: logging.LogRecord) -> None:
        self._warn(record.levelname.lower(), record.getMessage())
        if self._last_resort is not None:
            self._last_resort.handle(record)


def _handlers(logger: logging.Logger | None) -> list[logging.Handler]:
    """The handlers that a message of a logger reaches."""
    found: list[logging.Handler] = []
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found


def _on_terminal(handler: logging.Handler) -> "logging.StreamHandler[Any] | None":
    """The handler, if it writes to a terminal."""
    return handler if isinstance(handler, logging.StreamHandler) and is_terminal(handler.stream) else None
