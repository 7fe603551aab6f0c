"""What the fake service keeps: server runs and their saved weights, in memory or in a directory."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

Kind = Literal["weights", "sampler_weights"]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class RunInfo:
    """One server run: a training client's model and LoRA settings, and when it was opened (seconds)."""

    run: str
    base_model: str
    rank: int
    seed: int | None
    train_mlp: bool
    train_attn: bool
    train_unembed: bool
    opened: float
    user_metadata: dict[str, str] | None = None


@dataclass(frozen=True)
class Header:
    """One checkpoint without its arrays.

    Attributes:
        info: the server run that saved it.
        kind: "weights" (with the optimizer) or "sampler_weights".
        name: its name in the server run.
        saved: when, in seconds since the epoch.
        size_bytes: of its arrays.
        expires: when it is gone, in seconds since the epoch; None is never.
        user_metadata: given by the user.
    """

    info: RunInfo
    kind: Kind
    name: str
    saved: float
    size_bytes: int
    expires: float | None = None
    user_metadata: dict[str, str] | None = None

    @property
    def path(self) -> str:
        """`tinker://<server run>/<kind>/<name>`."""
        return f"tinker://{self.info.run}/{self.kind}/{self.name}"


class Store(Protocol):
    """Where server runs and checkpoints are kept; a checkpoint is known by run, kind and name."""

    def open_session(self) -> str:
        """A session id that none had before."""
        ...

    def add_run(self, info: RunInfo) -> None:
        """Keeps a new server run."""
        ...

    def run(self, run: str) -> RunInfo | None:
        """A server run by its id, or None."""
        ...

    def header(self, path: str) -> Header | None:
        """The checkpoint at a path of three parts, or None."""
        ...

    def put(self, header: Header, arrays: Arrays) -> None:
        """Keeps a checkpoint, in the place of one with the same name."""
        ...

    def arrays(self, header: Header) -> Arrays:
        """The arrays of a checkpoint that is kept."""
        ...

    def remove(self, header: Header) -> None:
        """Forgets a checkpoint."""
        ...

    def headers(self, run: str | None = None) -> list[Header]:
        """Every checkpoint, or those of one server run, the oldest first."""
        ...


class MemoryStore:
    """Keeps everything in this object; see `Store`."""

    def __init__(self) -> None:
        """Begins empty."""
        self._sessions = 0
        self._runs: dict[str, RunInfo] = {}
        self._kept: dict[str, tuple[Header, Arrays]] = {}

    def open_session(self) -> str:  # noqa: D102
        self._sessions += 1
        return f"fake-{self._sessions:04d}"

    def add_run(self, info: RunInfo) -> None:  # noqa: D102
        self._runs[info.run] = info

    def run(self, run: str) -> RunInfo | None:  # noqa: D102
        return self._runs.get(run)

    def header(self, path: str) -> Header | None:  # noqa: D102
        return self._kept[path][0] if path in self._kept else None

    def put(self, header: Header, arrays: Arrays) -> None:  # noqa: D102
        self._kept[header.path] = (header, arrays)

    def arrays(self, header: Header) -> Arrays:  # noqa: D102
        return self._kept[header.path][1]

    def remove(self, header: Header) -> None:  # noqa: D102
        del self._kept[header.path]

    def headers(self, run: str | None = None) -> list[Header]:  # noqa: D102
        return sorted((header for header, _ in self._kept.values() if run in (None, header.info.run)), key=_age)


class DirectoryStore:
    """Keeps everything in a directory, for other processes and later ones; see `Store`.

    A session is a folder `fake-0001`, a server run in it a file `train-0.json`, a checkpoint a file
    `train-0/<kind>/<name>.npz` with its header inside. Files appear whole or not at all.
    """

    def __init__(self, directory: Path) -> None:
        """Makes the directory where it is missing."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def open_session(self) -> str:  # noqa: D102
        number = 1 + len(list(self._directory.glob("fake-*")))
        while True:
            session = f"fake-{number:04d}"
            try:
                (self._directory / session).mkdir()
            except FileExistsError:
                number += 1
            else:
                return session

    def add_run(self, info: RunInfo) -> None:  # noqa: D102
        text = json.dumps(asdict(info))
        _write(self._folder(info.run).with_suffix(".json"), lambda file: file.write(text.encode()))

    def run(self, run: str) -> RunInfo | None:  # noqa: D102
        file = self._folder(run).with_suffix(".json")
        return RunInfo(**json.loads(file.read_text())) if file.exists() else None

    def header(self, path: str) -> Header | None:  # noqa: D102
        file = self._file(path)
        return _header_of(file) if file.exists() else None

    def put(self, header: Header, arrays: Arrays) -> None:  # noqa: D102
        about = np.frombuffer(json.dumps(asdict(header)).encode(), np.uint8)
        contents: dict[str, Any] = {"header": about, **arrays}
        _write(self._file(header.path), lambda file: np.savez(file, **contents))

    def arrays(self, header: Header) -> Arrays:  # noqa: D102
        with np.load(self._file(header.path), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if key != "header"}

    def remove(self, header: Header) -> None:  # noqa: D102
        self._file(header.path).unlink(missing_ok=True)

    def headers(self, run: str | None = None) -> list[Header]:  # noqa: D102
        files = self._directory.glob("fake-*/train-*/*/*.npz") if run is None else self._folder(run).glob("*/*.npz")
        return sorted(map(_header_of, files), key=_age)

    def _folder(self, run: str) -> Path:
        session, _, number = run.partition(":train:")
        return self._directory / session / f"train-{number}"

    def _file(self, path: str) -> Path:
        run, kind, name = path.removeprefix("tinker://").split("/")
        return self._folder(run) / kind / f"{quote(name, safe='')}.npz"


def expiring(header: Header, expires: float | None) -> Header:
    """The header with another expiry."""
    return replace(header, expires=expires)


def _age(header: Header) -> tuple[float, str]:
    return header.saved, header.path


def _header_of(file: Path) -> Header:
    with np.load(file, allow_pickle=False) as archive:
        fields = json.loads(archive["header"].tobytes())
    return Header(**{**fields, "info": RunInfo(**fields["info"])})


def _write(target: Path, fill: Callable[[Any], object]) -> None:
    """Writes a file under a temporary name, makes it durable and renames it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
