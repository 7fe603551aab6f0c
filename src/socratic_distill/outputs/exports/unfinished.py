"""A directory that is being written, under another name until it is whole, and what an interrupted export left there.

`.OUT.partial` next to OUT holds the files, and `export.json`: which weights they are of, where the service holds these
for download, and what its store said of each file. The same command, given again, goes on from there.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from socratic_distill.errors import ConfigError, StorageError
from socratic_distill.files.durable import sync_directory, write_atomically
from socratic_distill.files.rows import read_part
from socratic_distill.service.digests import is_digest
from socratic_distill.service.downloads import StoredFile
from socratic_distill.service.external_weights import is_external_path

_MEMORY, _LOCK, _FILES = "export.json", "lock", "files"
_MOST_BYTES = 1 << 20
_Size = Annotated[int, Field(ge=0, lt=2**62)]
_Tag = Annotated[str, Field(pattern=r'^"[!#-~]{1,200}"$')]


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    size: _Size | None
    etag: _Tag | None
    digests: dict[str, str]


class _Memory(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    state_path: str
    external_path: str | None = None
    base_model: str | None = None
    files: dict[str, _File] = {}


@dataclass
class Unfinished:
    """The directory next to OUT.

    Attributes:
        out: the directory to write.
        state_path: the weights that it gets.
        external_path: where the service holds them for download; None: nowhere yet.
        base_model: as the service says it.
        stored: what the store said of files, by name.
    """

    out: Path
    state_path: str
    external_path: str | None = None
    base_model: str | None = None
    stored: dict[str, StoredFile] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The directory next to OUT."""
        return partial_of(self.out)

    @property
    def files(self) -> Path:
        """The directory that becomes OUT."""
        return self.path / _FILES

    def save(self) -> None:
        """Writes what is known, for a later command.

        Raises:
            StorageError: it cannot be written.
        """
        files = {
            name: _File(size=stored.size, etag=stored.etag, digests=dict(stored.digests))
            for name, stored in self.stored.items()
        }
        memory = _Memory(
            state_path=self.state_path, external_path=self.external_path, base_model=self.base_model, files=files
        )
        write_atomically(self.path / _MEMORY, memory.model_dump_json(indent=2) + "\n")

    def finish(self) -> None:
        """Gives the directory its name; it appears whole.

        Raises:
            ConfigError: the name is taken by now.
            StorageError: it cannot be renamed.
        """
        check_absent(self.out)
        with writing(self.out):
            for path in self.files.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            sync_directory(self.files)
            os.rename(self.files, self.out)
            sync_directory(self.out.parent)
        self.discard()

    def keep_only(self, names: Collection[str]) -> None:
        """Removes what is there and is none of these files.

        Raises:
            StorageError: it cannot be removed.
        """
        with writing(self.path):
            for path in self.files.iterdir():
                if path.name not in names:
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def discard_if_empty(self) -> None:
        """Removes the directory next to OUT, if nothing was downloaded and nothing waits on the service."""
        if self.external_path is None and not any(self.files.iterdir()):
            self.discard()

    def discard(self) -> None:
        """Removes the directory next to OUT."""
        shutil.rmtree(self.path, ignore_errors=True)


def partial_of(out: Path) -> Path:
    """The directory next to OUT in which it is written."""
    return out.with_name(f".{out.name}.partial")


def check_absent(out: Path) -> None:
    """Returns if a directory can be written under a name.

    Raises:
        ConfigError: something has the name already.
    """
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already; give a directory that does not exist")


@contextmanager
def unfinished(out: Path, state_path: str) -> Iterator[Unfinished]:
    """The directory next to OUT, or a new one; no other process has it meanwhile.

    What is left of an export of other weights is removed.

    Args:
        out: the directory to write.
        state_path: the weights that it is to have.

    Raises:
        ConfigError: OUT exists, another process writes it, or something else has the name of its directory.
        StorageError: the directory cannot be made.
    """
    check_absent(out)
    path = partial_of(out)
    _read(path)  # refuses what is no such directory, before anything is written there
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    with _locked(path, out):
        memory = _read(path)
        if memory is not None and memory.state_path != state_path:
            shutil.rmtree(path / _FILES, ignore_errors=True)
            memory = None
        with writing(path):
            (path / _FILES).mkdir(exist_ok=True)
        begun = _begun(out, state_path, memory)
        begun.save()
        yield begun


@contextmanager
def _locked(path: Path, out: Path) -> Iterator[None]:
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"another process is writing {out}; wait for it, or give another directory") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def _read(path: Path) -> _Memory | None:
    """What an interrupted export noted; None where there is nothing."""
    if not os.path.lexists(path):
        return None
    refusal = ConfigError(f"{path} is not what an interrupted export leaves; move it away, or give another directory")
    if path.is_symlink() or not path.is_dir() or any((path / name).is_symlink() for name in (_FILES, _LOCK)):
        raise refusal
    try:
        memory = _Memory.model_validate_json(read_part(path / _MEMORY, _MOST_BYTES))
    except FileNotFoundError:
        if any(entry.name not in (_LOCK, _FILES) for entry in path.iterdir()) or any((path / _FILES).glob("*")):
            raise refusal from None
        return None
    except (OSError, ValidationError):
        raise refusal from None
    are_digests = all(
        is_digest(algorithm, value) for stored in memory.files.values() for algorithm, value in stored.digests.items()
    )
    if not are_digests or not (memory.external_path is None or is_external_path(memory.external_path)):
        raise refusal
    return memory


def _begun(out: Path, state_path: str, memory: _Memory | None) -> Unfinished:
    if memory is None:
        return Unfinished(out, state_path)
    stored: Mapping[str, _File] = memory.files
    known = {name: StoredFile(file.size, file.etag, file.digests) for name, file in stored.items()}
    return Unfinished(out, state_path, memory.external_path, memory.base_model, known)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Explains why something cannot be written.

    Raises:
        StorageError: what is done here raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}. Make room or mend its permissions, then give the "
            "same command again"
        ) from error
