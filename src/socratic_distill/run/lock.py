"""One writer for a run directory."""

import json
import os
import platform
from contextlib import suppress
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from socratic_distill.config.paths import resolved
from socratic_distill.errors import LockLost, RunLocked, StorageError
from socratic_distill.files.durable import open_regular, write_atomically
from socratic_distill.files.rows import read_object
from socratic_distill.text import get_logger

_log = get_logger(__name__)


LOCK = ".lock"
HOLDER = ".lock.json"
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_ATTEMPTS = 5


class RunLock:
    """A lock on a run directory, which is made if it is missing. A context manager.

    The operating system frees the lock with the process that holds it, so a dead one never blocks a run.
    A file next to the lock says who holds it, or died with it. Directories that it made are removed on leaving
    if nothing was written there.

    Raises:
        RunLocked: on entering, when another process holds the lock.
        StorageError: the directory cannot be written.
    """

    def __init__(self, log_path: str | os.PathLike[str]) -> None:
        """Names the directory; the lock is taken on entering.

        Args:
            log_path: the run directory.
        """
        self._directory = Path(resolved(log_path))
        self._lock = FileLock(self._directory / LOCK, blocking=False)
        self._descriptor: int | None = None  # of the lock file, while the lock is held
        self._made: list[Path] = []  # directories, the innermost first

    def __enter__(self) -> Self:
        """Takes the lock, and notes who holds it."""
        try:
            self._acquire()
        except Timeout:
            raise RunLocked(
                f"{self._directory} is being written by {_shown(self._holder())}. Wait for it to end, stop it, or "
                "take another log_path"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise StorageError(
                f"{self._directory} cannot be made or locked: {error}. Take a log_path that can be written"
            ) from error
        try:
            if (dead := self._holder()) is not None:
                _log.warning("%s: taking over from %s, which ended without finishing", self._directory, _shown(dead))
            now = datetime.now(UTC).replace(microsecond=0)
            holder = {"host": platform.node(), "pid": os.getpid(), "started": now.isoformat()}
            write_atomically(self._directory / HOLDER, json.dumps(holder) + "\n")
        except BaseException:
            with suppress(OSError):
                self._remove_what_was_made()
            self._release()
            raise
        return self

    def __exit__(self, *reason: Any) -> None:
        """Takes the note away and frees the lock."""
        # The note goes first: once the lock is free, the next holder's may lie there.
        try:
            if self._is_its_own():
                (self._directory / HOLDER).unlink(missing_ok=True)
                self._remove_what_was_made()
        except OSError as error:  # the next holder takes over with a warning; what was done here stays done
            _log.warning("%s cannot be deleted: %s", self._directory / HOLDER, error)
        finally:
            self._release()

    def check(self) -> None:
        """To be called before each write: returns if the lock still keeps other writers out, or is not held.

        Raises:
            LockLost: the lock file was deleted or replaced, so that another process may hold a lock of its own.
        """
        if self._descriptor is not None and not self._is_its_own():
            raise LockLost(
                f"{self._directory / LOCK} was deleted or replaced while this process was writing, so that another one "
                "may be writing there now. This one stops. See that no other runs there, and start the same script "
                "again to resume"
            )

    def _acquire(self) -> None:
        """Makes the directory and takes the lock on the file that now has the lock's name.

        Between opening a lock file and locking it, a start that was refused may take it away with its directory.
        """
        for attempt in range(_ATTEMPTS):
            self._made += _missing(self._directory)
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self._directory / LOCK, _FLAGS, 0o644)
                self._lock.acquire()
                if self._is_its_own():
                    return
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                self._release()
                raise
            self._release()
        raise Timeout(str(self._directory / LOCK))

    def _release(self) -> None:
        self._lock.release()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_its_own(self) -> bool:
        """Whether the file with the lock's name is the one that is held open."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.lstat(self._directory / LOCK))
        except OSError:
            return False

    def _remove_what_was_made(self) -> None:
        """Removes the directories that were made for the lock, if they hold nothing else."""
        if not self._made or {path.name for path in self._directory.iterdir()} != {LOCK}:
            return
        (self._directory / LOCK).unlink()
        with suppress(OSError):  # another process has begun to use one of them
            for path in self._made:
                path.rmdir()

    def _holder(self) -> dict[str, Any] | None:
        """What the note says; empty where it cannot be read, None where there is none."""
        try:
            return read_object(self._directory / HOLDER, StorageError, "it says who holds the lock")
        except StorageError:
            return {}


def is_locked(directory: Path) -> bool:
    """Whether a process writes to a run directory. Changes nothing, and makes no file."""
    if not (directory / HOLDER).is_file():
        return False
    try:
        import fcntl
    except ImportError:  # on Windows: the note alone has to do
        return True
    try:
        with open_regular(directory / LOCK) as file:
            # Shared: an exclusive lock needs a file that is open for writing on some file systems.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _shown(holder: dict[str, Any] | None) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')}, started {holder.get('started')}"


def _missing(directory: Path) -> list[Path]:
    """The directory and its parents, the innermost first; only those that do not exist."""
    return list(takewhile(lambda path: not path.exists(), (directory, *directory.parents)))
