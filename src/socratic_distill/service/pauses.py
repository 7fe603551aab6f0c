"""Pauses of the service that the SDK waits out by itself, reported where people look.

The SDK says of them in its log alone: that billing is refused (for up to an hour), that capacity or a limit on
samplers or training clients is reached, and that its session is not heard. It says so again and again while a pause
lasts, and nothing when it ends; so a pause is over for us with the next thing that gets done.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from socratic_distill.text import duration, escape_record, redacted

_LOGGER = "tinker"
_PAUSE = re.compile(r"\bis paused\b|\bheartbeat failed\b")
_NUMBERS = re.compile(r"\d+")
# A heartbeat that is not heard is none of these: the service is gone, and may have lost what it was asked.
_RESTS = re.compile(r"\bis paused\b")
_REMIND_SECONDS = 300.0


@dataclass
class _Pause:
    what: str
    began: float
    reported: float


class Pauses:
    """Says each pause once when it begins, every five minutes while it lasts, and once when it is over."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """Begins without a pause.

        Args:
            say: takes a line; may be called from the SDK's thread.
            clock: gives seconds.
        """
        self._say = say
        self._clock = clock
        self._lock = threading.Lock()
        self._pauses: dict[str, _Pause] = {}
        self._handler = _Handler(self)

    def watch(self) -> None:
        """Listens to the SDK's log."""
        logging.getLogger(_LOGGER).addHandler(self._handler)

    def close(self) -> None:
        """Stops listening; pauses under way are reported as over."""
        logging.getLogger(_LOGGER).removeHandler(self._handler)
        self.over()

    def over(self) -> None:
        """Something got done."""
        with self._lock:
            pauses, self._pauses = self._pauses, {}
        for pause in pauses.values():
            self._say(f"the service went on after {duration(self._clock() - pause.began)}: {pause.what}")

    def heard(self, message: str) -> bool:
        """Takes a message of the SDK; says whether it reports a pause."""
        if not _PAUSE.search(message):
            return False
        what = redacted(message)
        key, now = _NUMBERS.sub("#", what), self._clock()  # the same pause, whatever it counts
        with self._lock:
            is_new = key not in self._pauses
            pause = self._pauses.setdefault(key, _Pause(what, began=now, reported=now))
            is_due = now - pause.reported >= _REMIND_SECONDS
            if is_due:
                pause.reported = now
        if is_new:
            self._say(f"the service pauses, and the SDK waits until it goes on: {what}")
        elif is_due:
            self._say(f"still paused after {duration(now - pause.began)}: {what}")
        return True


class _Counter(logging.Filter):
    """Counts messages that say that the SDK waits out a pause; lets every record pass."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if _RESTS.search(record.getMessage()):
            self.count += 1
        return True


_COUNTER = _Counter()


def count_pauses() -> None:
    """Counts the SDK's messages about pauses from now on, over the whole process."""
    for name in (_LOGGER, *logging.root.manager.loggerDict):
        if name.partition(".")[0] == _LOGGER:
            logging.getLogger(name).addFilter(_COUNTER)  # adding it twice changes nothing


def pauses_heard() -> int:
    """How many messages about pauses the SDK has logged since they are counted. It repeats one every minute."""
    return _COUNTER.count


class _Handler(logging.Handler):
    """Gives the SDK's warnings to `Pauses`, and those of other things to whom they would have gone without it."""

    def __init__(self, pauses: Pauses) -> None:
        super().__init__(logging.WARNING)
        self._pauses = pauses

    def emit(self, record: logging.LogRecord) -> None:
        is_pause = self._pauses.heard(record.getMessage())
        if not is_pause and not _has_other_handlers(record.name) and logging.lastResort is not None:
            escape_record(record)
            logging.lastResort.handle(record)


def _has_other_handlers(name: str) -> bool:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(handler, _Handler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
