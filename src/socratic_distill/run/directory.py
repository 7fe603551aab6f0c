"""The run directory: its lock, run.json, config.json, origin.json, server runs, metrics and dialogues."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.grant import Allowed, Grant, server_for
from socratic_distill.config.log_path import is_url
from socratic_distill.config.paths import STORED_AS, paths_of, resolved
from socratic_distill.errors import ConfigError, SocraticError
from socratic_distill.files.durable import append_durably, end_line, write_atomically
from socratic_distill.files.rows import read_object, read_rows, to_line
from socratic_distill.local.saved_paths import STORE
from socratic_distill.run.cloud.guard import CarefulRestClient
from socratic_distill.run.cloud.mirror import Mirror
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.drift import Fingerprint, free_changes
from socratic_distill.run.finding import check_run
from socratic_distill.run.identity import Identity, recognise
from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_writer import JournalWriter
from socratic_distill.run.layout import (
    BESIDE_ANOTHER,
    CONFIG,
    DIALOGUES,
    EVALUATIONS,
    FINGERPRINT,
    METRICS,
    ORIGIN,
    RUN,
    SERVER_RUNS,
    Origin,
    config_file,
)
from socratic_distill.run.lock import RunLock
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.run.rollback import roll_back, set_aside
from socratic_distill.text import get_logger

if TYPE_CHECKING:
    from socratic_distill.service.connect import Service

_log = get_logger(__name__)


_EXPECTED = "expected the directory of a run, or a config as JSON"


class RunDirectory:
    """Everything that a run writes. A context manager, sync and async, that holds the directory's lock.

    A run in a store is written in a local directory, from which it is uploaded; leaving waits for that.

    Attributes:
        path: the directory; of a run in a store the local one.
        checkpoints: the journal.

    Raises:
        CloudExtraMissing: on entering, when packages are not installed that the store needs.
        LeaseLost: another process took over a run in a store.
        RunLocked: on entering, when another process holds the lock.
        StorageError: a file cannot be written, or the store fails.
    """

    def __init__(self, log_path: str | os.PathLike[str]) -> None:
        """Names the directory; nothing is read or written yet."""
        self._mirror = Mirror(os.fspath(log_path)) if is_url(log_path) else None
        self.path = Path(resolved(log_path)) if self._mirror is None else self._mirror.path
        self._lock = RunLock(self.path)
        self.checkpoints = JournalWriter(self.path, self._recorded, self.check)

    def __enter__(self) -> Self:
        """Takes the directory's lock; of a run in a store it takes the lease and fetches the files."""
        if self._mirror is not None:
            self._mirror.open()
        self._lock.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *reason: Any) -> None:
        """Frees the lock; of a run in a store it uploads the rest and gives back the lease."""
        self._remove_unused()
        self._lock.__exit__(kind, *reason)
        if self._mirror is not None:
            _close(self._mirror, kind is not None)

    async def __aenter__(self) -> Self:
        """As `with`, but a store is waited for off the event loop."""
        if self._mirror is not None:
            await _off_the_loop(self._mirror.open, self._mirror.interrupt, undo=self._mirror.close)
        self._lock.__enter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *reason: Any) -> None:
        """As `with`, but a store is waited for off the event loop."""
        self._remove_unused()
        self._lock.__exit__(kind, *reason)
        if (mirror := self._mirror) is not None:
            await _off_the_loop(lambda: _close(mirror, kind is not None), mirror.interrupt)

    @cached_property
    def identity(self) -> Identity:
        """Whose run the directory holds; that of a copy is written when it begins.

        Raises:
            StartError: `run.json` cannot be read.
        """
        return recognise(self.path, self.url)

    @property
    def url(self) -> str | None:
        """Of a run in a store; else None."""
        return None if self._mirror is None else self._mirror.url

    def check(self) -> None:
        """To be called before each write to the directory.

        Raises:
            LockLost: the lock file was deleted or replaced: another process may write there.
        """
        self._lock.check()

    def guarded(self, service: "Service") -> "Service":
        """A service on which nothing is deleted that the run, as the store has it, still counts on."""
        if self._mirror is None or service.rest is None:
            return service
        return replace(service, rest=CarefulRestClient(service.rest, self._mirror))

    def begin(self, config: SocraticConfig, meaning: Fingerprint, origin: Origin | None) -> str:
        """Writes what this start is: the config, what it means and, for a run that begins here, its origin.

        Returns:
            The run's id, the same at every start; a copy of a run's directory gets one of its own.
        """
        self.check()
        config_path = config_file(self.path)
        self._log_free_changes(config)
        self.identity.write(self.path)
        if origin is not None:
            write_atomically(self.path / ORIGIN, _text({"given": origin.given, "resolved": origin.resolved}))
        write_atomically(self.path / FINGERPRINT, _text(meaning))
        stored = json.loads(config.model_dump_json()) | {STORED_AS: paths_of(config)}
        write_atomically(config_path, _text(stored))
        return self.identity.run_id

    def note_server_run(self, server_run: str, batch: int) -> None:
        """Writes the id of a training client's life on the service, before its first training call.

        After a line that a crash tore it would be lost, and with it every save that has no record yet.
        """
        self.check()
        end_line(self.path / SERVER_RUNS)
        append_durably(self.path / SERVER_RUNS, json.dumps({"server_run": server_run, "batch": batch}) + "\n")
        if self._mirror is not None:
            self._mirror.request()

    def roll_back(self, batch: int) -> None:
        """Moves what batches >= `batch` left aside: metric rows, dialogues, evaluations. Those batches run again."""
        self.check()
        if self._mirror is not None:
            self._mirror.rewind()
        for name in (METRICS, DIALOGUES):
            roll_back(self.path / name, batch)
        set_aside(self.path / EVALUATIONS, batch)

    def log_step(self, metrics: Mapping[str, Any], dialogues: Iterable[Mapping[str, Any]]) -> None:
        """Appends a step's metrics row and its dialogues; the dialogues first, the row vouches for them.

        Raises:
            LeaseLost: another process took over a run in a store.
            LockLost: another process may write to the directory.
            StorageError: a file cannot be written, or the store has failed for too long.
        """
        if self._mirror is not None:
            self._mirror.check()
        line, unfit = to_line(metrics)
        if unfit:
            named = ", ".join(unfit)
            _log.warning("step %s: not finite, written as null to %s: %s", metrics.get("step"), METRICS, named)
        self.check()
        append_durably(self.path / DIALOGUES, b"".join(to_line(row)[0] for row in dialogues))
        self.check()
        append_durably(self.path / METRICS, line)
        if self._mirror is not None:
            self._mirror.request_if_late()

    def note_added(self) -> None:
        """Has files that were written beside the rows uploaded to the store within a minute.

        Raises:
            LeaseLost: another process took over a run in a store.
            StorageError: the store has failed for too long.
        """
        if self._mirror is not None:
            self._mirror.check()
            self._mirror.request_if_late()

    def has_state(self) -> bool:
        """Whether the journal holds a state to go on from."""
        return Journal.read(self.checkpoints.path).newest_state() is not None

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The rows of the steps so far; a line that a crash tore is passed over."""
        return read_rows(self.path / METRICS)

    def _remove_unused(self) -> None:
        """Removes the empty directories that the local engine made for a start that was then refused."""
        store = self.path / STORE
        rows = read_rows(self.path / SERVER_RUNS) if store.is_dir() else ()
        noted = {str(row.get("server_run")) for row in rows}
        for directory in [*(folder for folder in store.glob("local-*") if folder.name not in noted), store]:
            with suppress(OSError):  # it holds something
                directory.rmdir()

    def _recorded(self, record: CheckpointRecord) -> None:
        """Has a record of consequence uploaded; sampler weights only serve the next steps."""
        if self._mirror is not None and (record.state_path or record.deleted_path):
            self._mirror.request()

    def _log_free_changes(self, config: SocraticConfig) -> None:
        try:
            before = _stored_config(config_file(self.path))
        except ConfigError:  # a first start, or another tool's directory
            return
        for change in free_changes(before, json.loads(config.model_dump_json())):
            _log.info("%s: %s was %s and is %s from here on", self.path, change.field, change.before, change.now)


@asynccontextmanager
async def opened_to_add(log_path: str | os.PathLike[str]) -> AsyncIterator[RunDirectory]:
    """A run's directory, to add files that no training writes.

    A local directory is not locked: a training may go on in it. Of a run in a store this process becomes the writer.

    Args:
        log_path: the directory, or its URL.

    Raises:
        As entering `RunDirectory`.
    """
    run = RunDirectory(log_path)
    if run.url is None:
        yield run
    else:
        async with run:
            yield run


def _close(mirror: Mirror, failed: bool) -> None:
    """Closes a mirror; an error that is raised already counts more than what the store fails then."""
    try:
        mirror.close()
    except SocraticError as error:
        if not failed:
            raise
        _log.error("%s", error)


async def _off_the_loop(
    call: Callable[[], None], interrupt: Callable[[], None], undo: Callable[[], None] | None = None
) -> None:
    """Runs a blocking call in a thread; a cancellation hurries it, and undoes it where it came to its end."""
    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        interrupt()
        await asyncio.wait([task])
        if task.exception() is not None:
            _log.warning("while stopping: %s", task.exception())
        elif undo is not None:
            await asyncio.to_thread(undo)
        raise


def load_config(
    log_path: str | os.PathLike[str],
    *,
    base_url: str | None = None,
    allow_files: bool = False,
    allow_code: bool = False,
    allow_servers: Sequence[str] = (),
) -> SocraticConfig:
    """The config that a run directory was last started with, equal to the one that was built.

    A run directory is data: whatever is done with this config, such as `evaluate`, obeys it only where the user
    allows here, and raises `UntrustedConfig` beyond.

    Args:
        log_path: the directory, or its URL.
        base_url: server that requests and the key may go to. Where the config names another one, this is used instead.
            None: Tinker's own, and those that the user named to a command by `--base-url`.
        allow_files: whether files outside the directory that the config names may be read, and a model hub asked.
        allow_code: whether functions of seeds, rewards and losses that the config names, and code among its models'
            files, may run.
        allow_servers: other servers that requests and their keys may go to: endpoints of students and judges.

    Raises:
        ConfigError: there is none, or it cannot be read.
        StorageError: the store that the run is in fails.
    """
    directory = readable(log_path, (CONFIG, BESIDE_ANOTHER, RUN).__contains__)
    check_run(log_path, directory)
    path = config_file(directory)
    source = path if not is_url(log_path) else f"{os.fspath(log_path).rstrip('/')}/{path.name}"
    return read_config(
        path, Grant(os.fspath(source), directory, base_url, allow_files, allow_code, tuple(allow_servers))
    )


def config_of(log_path: str | os.PathLike[str], **allowed: Unpack[Allowed]) -> SocraticConfig:
    """The config of a run, with the log_path that it is found at: a directory may have been moved since.

    Args:
        log_path: the directory, or its URL.
        **allowed: as for `load_config`.

    Raises:
        ConfigError: there is none, or it cannot be read.
        StorageError: the store that the run is in fails.
    """
    return load_config(log_path, **allowed).model_copy(update={"log_path": os.fspath(log_path)})


def read_config(path: Path, grant: Grant) -> SocraticConfig:
    """The config in a file.

    Args:
        path: the file.
        grant: what the config may do. Where it names a server, the config has that one.

    Raises:
        ConfigError: it cannot be read, or the named server is none.
    """
    stored = _stored_config(path)
    config = SocraticConfig(**stored)
    if (url := server_for(config.base_url, grant)) != config.base_url:
        config = SocraticConfig(**{**stored, "base_url": url})
    return config.granted(grant)


def _stored_config(path: Path) -> dict[str, Any]:
    stored = read_object(path, ConfigError, _EXPECTED)
    if stored is None:
        raise ConfigError(f"{path} does not exist; {_EXPECTED}")
    return stored


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"
