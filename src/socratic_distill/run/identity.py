"""Whose run a directory holds: the run's id, and whether the directory is a copy of another one.

`run.json` holds the id with the path and the inode of the directory at the last start. A directory that was moved keeps
its inode, one that was restored to its place keeps its path. Where both differ it is a copy: another run, with an id of
its own, that goes on from what it was copied from.

The path of a run in a store is its URL, and it has no inode, as on file systems that number no files: there the path
alone decides.
"""

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from socratic_distill.errors import ConfigError, StartError
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import read_object
from socratic_distill.run.layout import RUN


@dataclass(frozen=True)
class Source:
    """A run that a directory was copied from.

    Attributes:
        run_id: its id.
        path: where it was; None where that is not known.
    """

    run_id: str
    path: str | None


@dataclass(frozen=True)
class Identity:
    """What `run.json` says.

    Attributes:
        run_id: the id that the run's saves carry.
        path: of the directory, links followed, or its URL; None in files of older versions.
        inode: device and inode of the directory; None where there are none.
        copied_from: the runs that this one goes on from, the last one first. Their saves are theirs.
        claimed: ids of runs whose saves are this run's by now, and of server runs whose saves carry no id.
    """

    run_id: str
    path: str | None = None
    inode: str | None = None
    copied_from: tuple[Source, ...] = ()
    claimed: tuple[str, ...] = ()

    @property
    def owned(self) -> frozenset[str]:
        """The ids whose saves are this run's own."""
        return frozenset((self.run_id, *self.claimed))

    @property
    def lineage(self) -> frozenset[str]:
        """The ids whose saves this run may go on from."""
        return self.owned | {source.run_id for source in self.copied_from}

    def write(self, directory: Path) -> None:
        """Replaces `run.json`.

        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(directory / RUN, json.dumps(asdict(self), indent=2) + "\n")


def read_identity(directory: Path) -> Identity | None:
    """What `run.json` says; None where the directory has none yet.

    Raises:
        StartError: it cannot be read.
    """
    path = directory / RUN
    purpose = "it holds the id that the run's saves carry. Mend it, or delete it to go on as another run"
    stored = read_object(path, StartError, purpose)
    if stored is None:
        return None
    try:
        return _parse(stored)
    except (KeyError, TypeError, ValueError):
        raise StartError(f"{path} is not as a run writes it; {purpose}") from None


def recognise(directory: Path, url: str | None = None) -> Identity:
    """Whose run a directory holds, as it lies now. Writes nothing.

    Args:
        directory: the run directory; of a run in a store its local copy.
        url: of a run in a store.

    Returns:
        That of `run.json` with the place of now; that of a new run where there is none, or for a copy.

    Raises:
        StartError: `run.json` cannot be read.
    """
    stored, (path, inode) = read_identity(directory), _place(directory, url)
    if stored is None:
        return Identity(_new_id(), path, inode)
    if not _is_copy(stored, path, inode):
        return replace(stored, path=path, inode=inode)
    sources = [Source(run_id, stored.path) for run_id in (stored.run_id, *stored.claimed)]
    return Identity(_new_id(), path, inode, (*sources, *stored.copied_from))


def claim(directory: Path, url: str | None, server_runs: Sequence[str]) -> Identity:
    """The identity of a directory that takes over what it was copied from. Writes nothing.

    Args:
        directory: as for `recognise`.
        url: as for `recognise`.
        server_runs: those that the directory names: their saves without an id count as its own, too.

    Raises:
        ConfigError: a run that it was copied from is still there.
        StartError: `run.json` cannot be read, or there is none.
    """
    stored = read_identity(directory)
    if stored is None:
        raise StartError(f"{directory} has no {RUN}: no run of this library began there, and there is nothing to claim")
    now = recognise(directory, url)
    for source in now.copied_from:
        if source.path is not None and _holds_run(Path(source.path), source.run_id):
            raise ConfigError(
                f"{source.path} still holds the run {source.run_id} that this one was copied from. Only what is gone "
                "can be claimed: delete that directory first, or leave its saves to it"
            )
    if now.run_id != stored.run_id:  # a copy that has not begun: it becomes the run itself
        now = replace(stored, path=now.path, inode=now.inode)
    taken = (*now.claimed, *(source.run_id for source in now.copied_from), *server_runs)
    return replace(now, copied_from=(), claimed=tuple(dict.fromkeys(taken)))


def _is_copy(stored: Identity, path: str, inode: str | None) -> bool:
    if stored.path is None or stored.path == path:
        return False
    if inode is None or inode != stored.inode:
        return True
    # It was moved; but a back-up that was put in its place is the run by its path, and there cannot be two.
    return _place(Path(stored.path), None)[1] != inode and _holds_run(Path(stored.path), stored.run_id)


def _place(directory: Path, url: str | None) -> tuple[str, str | None]:
    """Path and inode of a directory."""
    if url is not None:
        return url, None
    try:
        path = os.path.realpath(directory)
        status = os.stat(path)
    except (OSError, ValueError):  # it is not there, or is no path at all
        return str(directory), None
    return path, f"{status.st_dev}:{status.st_ino}" if status.st_ino else None


def _holds_run(directory: Path, run_id: str) -> bool:
    try:
        stored = read_identity(directory)
    except (StartError, ValueError):
        return False
    return stored is not None and stored.run_id == run_id


def _parse(stored: dict[str, Any]) -> Identity:
    sources = [Source(_text(source["run_id"]), _maybe_text(source["path"])) for source in stored.get("copied_from", [])]
    claimed = tuple(_text(run_id) for run_id in stored.get("claimed", []))
    location = (_maybe_text(stored.get("path")), _maybe_text(stored.get("inode")))
    return Identity(_text(stored["run_id"]), *location, tuple(sources), claimed)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _maybe_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _new_id() -> str:
    return uuid.uuid4().hex
