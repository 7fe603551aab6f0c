"""Trying again what an object store failed to do."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from socratic_distill.errors import StorageError
from socratic_distill.text import get_logger

_log = get_logger(__name__)
T = TypeVar("T")


# Answers to a request that came through; asked again, they would be the same.
_ANSWERS = (FileNotFoundError, FileExistsError, PermissionError, TypeError, NotImplementedError)
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 20.0


class Patience:
    """How long a store may fail before that counts.

    A pause doubles with each failure in a row.
    """

    def __init__(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Begins with nothing failed.

        Args:
            seconds: how long one call is tried again.
            stop: once set, nothing is tried again.
        """
        self._seconds = seconds
        self._stop = stop or threading.Event()

    def call(self, what: str, function: Callable[..., T], *arguments: Any) -> T:
        """The function's answer, however often it must be asked.

        Args:
            what: what is done, for the error: "reading s3://…".
            function: asks the store.
            *arguments: are given to it.

        Raises:
            FileNotFoundError: there is no such object.
            FileExistsError: there is one already.
            StorageError: the store refused, or failed for longer than there is patience.
        """
        until, pause = time.monotonic() + self._seconds, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return function(*arguments)
            except (FileNotFoundError, FileExistsError):
                raise
            except Exception as error:
                if isinstance(error, _ANSWERS):
                    raise StorageError(
                        f"{what} was refused: {_shown(error)}. Check the store's credentials and permissions"
                    ) from error
                if time.monotonic() + pause > until or self._stop.wait(pause):
                    raise StorageError(
                        f"{what} failed for {self._seconds:.0f} s: {_shown(error)}. Once the store answers again, "
                        "start the same script again"
                    ) from error
                _log.warning("%s failed and is tried again: %s", what, _shown(error))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
