"""The commits of a run in a store: numbered objects, the newest of which is the run."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from socratic_distill.errors import StorageError
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.run.cloud.stores import ObjectStore

COMMITS = ".run/commits"
DATA = ".run/data"


@dataclass(frozen=True)
class Piece:
    """A part of a file, as an object.

    Attributes:
        name: of the object, within `.run/data`.
        size: bytes.
        digest: SHA-256 of them, in hexadecimal.
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class Commit:
    """All files of a run at one moment, and who wrote them.

    Attributes:
        number: from 1; the next one must be one higher.
        fence: the writer's fencing number, higher than that of every writer before it.
        writer: an id that no other writer has.
        holder: host, pid and start of the writer, for people.
        lease_seconds: how long its heartbeat may stand still before it counts as dead.
        released: whether it has ended, so that no one has to wait for it.
        files: by path in the run directory, the pieces in order.
    """

    number: int
    fence: int
    writer: str
    holder: Mapping[str, Any]
    lease_seconds: float
    released: bool = False
    files: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)

    @property
    def objects(self) -> set[str]:
        """The names of all pieces."""
        return {piece.name for pieces in self.files.values() for piece in pieces}

    def to_bytes(self) -> bytes:
        """As it is kept."""
        return (json.dumps(asdict(self)) + "\n").encode()

    @classmethod
    def of(cls, data: bytes) -> "Commit":
        """Reads one; `ValueError` where it is none."""
        return _COMMIT.validate_json(data, strict=True)


_COMMIT = TypeAdapter(Commit)


def newest_commit(store: ObjectStore, patience: Patience) -> Commit | None:
    """The run as it stands; None where there is none.

    Raises:
        StorageError: the store fails, or the commit cannot be read.
    """
    numbers = _numbers(patience.call(f"listing {store.url}", store.names, COMMITS))
    return read_commit(store, max(numbers), patience) if numbers else None


def read_commit(store: ObjectStore, number: int, patience: Patience) -> Commit | None:
    """A commit by its number; None where it was not made.

    Raises:
        StorageError: the store fails, or the commit cannot be read.
    """
    name = commit_name(number)
    try:
        return Commit.of(patience.call(f"reading {store.url}/{name}", store.read, name))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StorageError(
            f"{store.url}/{name} is no commit of this library: {error!r}. Another version may have written it"
        ) from error


def add_commit(store: ObjectStore, commit: Commit, patience: Patience) -> bool:
    """Makes a commit, whatever becomes of the answers; whether it is the one of its number.

    A request may be carried out though its answer is lost, and stores word the refusal differently: what stands
    under the name decides.

    Raises:
        StorageError: the store fails.
    """
    name, data = commit_name(commit.number), commit.to_bytes()

    def claim() -> bool:
        try:
            store.create(name, data)
        except Exception:
            try:
                return store.read(name) == data
            except FileNotFoundError:
                pass
            raise
        return True

    try:
        return patience.call(f"writing {store.url}/{name}", claim)
    except (FileExistsError, FileNotFoundError) as error:
        raise StorageError(f"{store.url}/{name} can neither be made nor read: {error}") from error


def commit_name(number: int) -> str:
    """The name of a commit; names sort by number."""
    return f"{COMMITS}/{number:010d}.json"


def _numbers(names: Iterable[str]) -> list[int]:
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return [int(stem) for stem in stems if stem.isdecimal()]
