"""Objects of a store as files of a directory."""

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from socratic_distill.errors import StorageError
from socratic_distill.run.cloud.commits import DATA, Commit, Piece, newest_commit
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.run.cloud.stores import ObjectStore

# Pieces have up to 32 MiB.
_AT_ONCE = 4
_TRIES = 3


def fetch(store: ObjectStore, commit: Commit, directory: Path, patience: Patience) -> None:
    """Writes the files of a commit into a new directory.

    Raises:
        FileNotFoundError: an object is gone, as it goes once later commits do without it.
        StorageError: the store fails, an object is damaged, or the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for path, pieces in commit.files.items():
                target = directory / path
                if not target.resolve().is_relative_to(directory.resolve()):
                    raise StorageError(f"{store.url}: commit {commit.number} names a file outside the run: {path!r}")
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    for at in range(0, len(pieces), _AT_ONCE):
                        for data in pool.map(lambda piece: _read(store, piece, patience), pieces[at : at + _AT_ONCE]):
                            file.write(data)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(
            f"{directory} cannot be written: {error.strerror or error}. It holds a copy of {store.url}; make room, or "
            "set TMPDIR to a folder with room"
        ) from error


def fetch_newest(
    store: ObjectStore, directory: Path, patience: Patience, wanted: Callable[[str], bool] = lambda path: True
) -> Commit | None:
    """Writes the files of the newest commit, or some of them, into a new directory; None where there is no commit.

    While a run is written, an object may go between the reading of a commit and its own: then the next commit is there.

    Raises:
        StorageError: the store fails, an object is damaged, or the directory cannot be written.
    """
    gone: FileNotFoundError | None = None
    for _ in range(_TRIES):
        commit = newest_commit(store, patience)
        if commit is None:
            return None
        chosen = {path: pieces for path, pieces in commit.files.items() if wanted(path)}
        part = Commit(commit.number, commit.fence, commit.writer, commit.holder, commit.lease_seconds, files=chosen)
        try:
            fetch(store, part, directory, patience)
        except FileNotFoundError as error:
            gone = error
            shutil.rmtree(directory, ignore_errors=True)
            continue
        return commit
    raise StorageError(f"{store.url}: an object that its newest commit names is gone: {gone}") from gone


def _read(store: ObjectStore, piece: Piece, patience: Patience) -> bytes:
    name = f"{DATA}/{piece.name}"
    data = patience.call(f"reading {store.url}/{name}", store.read, name)
    if hashlib.sha256(data).hexdigest() != piece.digest:
        raise StorageError(f"{store.url}/{name} is damaged: it is not what was written there. Restore it if you can")
    return data
