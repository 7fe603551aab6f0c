"""Writes files of a run directory so that a crash at any moment leaves them intact."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from socratic_distill.errors import StorageError


def open_regular(path: Path, mode: Literal["rb", "r+b", "ab", "xb"] = "rb", root: Path | None = None) -> BinaryIO:
    """Opens a regular file of a directory; never blocks, as opening a named pipe would.

    Args:
        path: the file.
        mode: as for `open`.
        root: directory that must contain the file, after links are followed. None: its parent.

    Raises:
        OSError: the file cannot be opened, is not a regular file, or is a link that leads out of `root`.
    """
    real, allowed = os.path.realpath(path), os.path.realpath(path.parent if root is None else root)
    if not Path(real).is_relative_to(allowed):
        raise OSError(errno.ELOOP, "it is a link that leads out of the directory; copy the file there")
    return open(real, mode, opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    # O_NONBLOCK: a pipe put there meanwhile does not block. O_NOFOLLOW: a link put there meanwhile is not followed.
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def append_durably(path: Path, text: str | bytes) -> None:
    """Appends to a file and returns once it is on disk, its directory entry included.

    Raises:
        StorageError: the file cannot be written; part of the text may be in it.
    """
    with _explaining(path):
        is_new = not path.exists()
        with open_regular(path, "ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        if is_new:  # fsync of a file does not make its directory entry durable
            sync_directory(path.parent)


def end_line(path: Path) -> None:
    """Adds a newline to a file that does not end with one, so that the next append starts a new line.

    Raises:
        StorageError: the file cannot be written.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    with _explaining(path), open_regular(path) as file:
        file.seek(-1, os.SEEK_END)
        ends = file.read(1) == b"\n"
    if not ends:
        append_durably(path, "\n")


def write_atomically(path: Path, text: str | bytes) -> None:
    """Replaces a file atomically: a reader, or a crash, finds the old text or the new one.

    Raises:
        StorageError: the file cannot be written; the old one is unchanged.
    """
    partial = path.with_name(path.name + ".partial")
    with _explaining(path):
        partial.unlink(missing_ok=True)  # left by a crash; a link there would lead the write out of the directory
        with open_regular(partial, "xb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_directory(path.parent)


def truncate_durably(path: Path, size: int) -> None:
    """Cuts a file to its first `size` bytes and returns once that is on disk.

    Raises:
        StorageError: the file cannot be written.
    """
    with _explaining(path), open_regular(path, "r+b") as file:
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Syncs a directory, so that files created or replaced in it survive a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}. Free disk space or fix the permissions, then start "
            "the same script again"
        ) from error
