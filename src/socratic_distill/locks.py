"""One writer for a run directory."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from socratic_distill.errors import RunLocked, StorageError
from socratic_distill.escaping import get_logger
from socratic_distill.files import write_atomically

LOCK = ".lock"
HOLDER = ".lock.json"
_log = get_logger(__name__)


class RunLock:
    """A lock on a run directory, which is made if it is missing. A context manager.

    The operating system frees the lock with the process that holds it, so a dead one never blocks a run.
    Who holds it, or died with it, is told by a file beside the lock.

    Raises:
        RunLocked: on entering, when another process holds the lock.
        StorageError: the directory cannot be written.
    """

    def __init__(self, log_path: str | os.PathLike[str]) -> None:
        """Names the directory; the lock is taken on entering.

        Args:
            log_path: the run directory.
        """
        self._directory = Path(log_path)
        self._lock = FileLock(self._directory / LOCK, blocking=False)

    def __enter__(self) -> Self:
        """Takes the lock, and notes who holds it."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise RunLocked(
                f"{self._directory} is being written by {_told(self._holder())}. Wait for it to end, stop it, or "
                "take another log_path"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise StorageError(
                f"{self._directory} cannot be made or locked: {error}. Take a log_path that can be written"
            ) from error
        try:
            if (dead := self._holder()) is not None:
                _log.warning("%s: taking over from %s, which ended without finishing", self._directory, _told(dead))
            now = datetime.now(UTC).replace(microsecond=0)
            holder = {"host": platform.node(), "pid": os.getpid(), "started": now.isoformat()}
            write_atomically(self._directory / HOLDER, json.dumps(holder) + "\n")
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *reason: Any) -> None:
        """Takes the note away and frees the lock."""
        # The note goes first: once the lock is free, the next holder's may lie there.
        try:
            (self._directory / HOLDER).unlink(missing_ok=True)
        except OSError as error:  # the next holder takes over with a warning; what was done here stays done
            _log.warning("%s cannot be deleted: %s", self._directory / HOLDER, error)
        finally:
            self._lock.release()

    def _holder(self) -> dict[str, Any] | None:
        """What the note says; empty where it cannot be read, None where there is none."""
        try:
            holder = json.loads((self._directory / HOLDER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return {}
        return holder if isinstance(holder, dict) else {}


def _told(holder: dict[str, Any] | None) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')}, started {holder.get('started')}"
