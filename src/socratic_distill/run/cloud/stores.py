"""An object store through fsspec, and whether a run can be kept there."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from socratic_distill.errors import CloudExtraMissing, StorageError
from socratic_distill.files.extras import how_to_install
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.text import refuse_secrets

_RIVALS = 6
PROBE = ".run/probe"


class ObjectStore(Protocol):
    """Objects by name, under one URL. All calls block, and may come from several threads."""

    url: str

    def create(self, name: str, data: bytes) -> None:
        """Writes an object that must not exist, in one step; fails where it does."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Writes an object, in one step."""
        ...

    def read(self, name: str) -> bytes:
        """An object; `FileNotFoundError` where there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """The last parts of the names of a folder's objects, sorted; none where there are none."""
        ...

    def delete(self, name: str) -> None:
        """Takes an object away; one that is not there already is."""
        ...


class FsspecStore:
    """A store that fsspec has a filesystem for; see `ObjectStore`.

    Attributes:
        url: what the names are under.
    """

    def __init__(self, url: str) -> None:
        """Opens the filesystem; nothing is asked yet.

        Args:
            url: of the run.

        Raises:
            CloudExtraMissing: fsspec, or its filesystem for this kind of URL, is not installed.
            StorageError: the URL holds a password, there is no such kind of URL, or the filesystem cannot be set up.
        """
        try:
            refuse_secrets(url)
        except ValueError as error:
            raise StorageError(f"log_path: {error}") from None
        self.url = url.rstrip("/")
        try:
            from fsspec.core import url_to_fs

            self._fs, self._root = url_to_fs(self.url)
        except ImportError as error:
            raise CloudExtraMissing(
                f"log_path={url!r} needs packages that are not installed: {error}. {how_to_install('cloud')}"
            ) from error
        except Exception as error:
            raise StorageError(
                f"log_path={url!r} cannot be opened: {type(error).__name__}: {error}. Expected a URL that fsspec knows"
            ) from error

    def create(self, name: str, data: bytes) -> None:  # noqa: D102
        self._fs.pipe_file(self._path(name), data, mode="create")

    def write(self, name: str, data: bytes) -> None:  # noqa: D102
        self._fs.pipe_file(self._path(name), data)

    def read(self, name: str) -> bytes:  # noqa: D102
        return self._fs.cat_file(self._path(name))

    def names(self, folder: str) -> list[str]:  # noqa: D102
        path = self._path(folder)
        self._fs.invalidate_cache()
        try:
            paths: list[Any] = self._fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(entry).rstrip("/").rpartition("/")[2] for entry in paths)

    def delete(self, name: str) -> None:  # noqa: D102
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def check_store(store: ObjectStore, patience: Patience) -> None:
    """Finds out, by doing it, whether a store keeps two writers from making one object.

    Several threads try at once: some filesystems look whether there is an object and then write it, which is no
    condition on the write.

    Raises:
        StorageError: it does not, or cannot be written.
    """
    name = f"{PROBE}/{uuid.uuid4().hex}"
    texts = [uuid.uuid4().bytes for _ in range(_RIVALS)]
    start = threading.Barrier(_RIVALS)

    def claim(text: bytes) -> Exception | None:
        start.wait()
        return _error_of(lambda: store.create(name, text))

    try:
        # A plain write first: it distinguishes a store that cannot be written from one without conditional writes.
        patience.call(f"writing to {store.url}", store.write, f"{name}-plain", b"")
    except FileNotFoundError as error:
        raise StorageError(
            f"{store.url} cannot be written: {error}. Make the bucket, or take another log_path"
        ) from error
    with ThreadPoolExecutor(_RIVALS) as rivals:
        refused = [error for error in rivals.map(claim, texts) if error is not None]
    late = _error_of(lambda: store.create(name, b"late"))
    kept = _error_of(lambda: _expect(store.read(name) in texts))
    for path in (name, f"{name}-plain"):
        _error_of(lambda path=path: store.delete(path))
    if len(refused) != _RIVALS - 1 or late is None or kept is not None:
        reason = f" ({type(refused[0]).__name__}: {refused[0]})" if len(refused) == _RIVALS else ""
        raise StorageError(
            f"{store.url}: this store, or its filesystem in fsspec, lacks conditional writes{reason}: it cannot keep "
            "two processes from writing one run. Expected one that has them, as S3, GCS and Azure do, with a recent "
            "version of its library; or take a local log_path"
        )


def _error_of(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


def _expect(holds: bool) -> None:
    if not holds:
        raise ValueError
