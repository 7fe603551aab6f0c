"""The journal of a run's saves, `checkpoints.jsonl`, as a run writes it."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from socratic_distill.cloud.reading import readable
from socratic_distill.cloud.urls import is_url
from socratic_distill.errors import StorageError
from socratic_distill.escaping import get_logger
from socratic_distill.files import append_durably, end_line, write_atomically
from socratic_distill.journal import Journal, rank
from socratic_distill.journal_lines import Line, bad_lines, without
from socratic_distill.layout import JOURNAL
from socratic_distill.paths import resolved
from socratic_distill.records import CheckpointRecord

_MOST_NAMED = 10
_log = get_logger(__name__)


def load_checkpoints(log_path: str | os.PathLike[str]) -> list[CheckpointRecord]:
    """The records of a run directory, or of a journal file, oldest first; none where there is no file.

    Lines that are no records are skipped with a warning that names them; the file stays as it is.

    Args:
        log_path: a run directory, or a file that ends in `.jsonl`; either may be in a store.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        JournalError: the file cannot be read.
        StorageError: the store fails.
    """
    path = journal_file(log_path)
    journal = Journal.read(path)
    warn_of_damage(path, journal)
    return journal.records()


def journal_file(log_path: str | os.PathLike[str]) -> Path:
    """The journal of a run directory; a path that names a `.jsonl` file is taken as it is.

    Of a run in a store it is a copy.
    """
    if is_url(log_path):
        url, slash, name = os.fspath(log_path).rpartition("/")
        directory = readable(url if name == JOURNAL else url + slash + name, JOURNAL.__eq__)
        return directory / JOURNAL
    path = Path(resolved(log_path))
    return path if path.suffix == ".jsonl" else path / JOURNAL


def warn_of_damage(path: Path, journal: Journal) -> list[Line]:
    """Gives and names the lines of a journal that are no records."""
    bad = list(bad_lines(journal.data))
    if bad:
        named = [f"line {line.number} (byte {line.offset}: {line.reason})" for line in bad[:_MOST_NAMED]]
        more = f"; and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
        _log.warning("%s: skipped %s%s", path, "; ".join(named), more)
    return bad


class CheckpointManager:
    """The journal of one run, open for appending. One writer at a time: a run holds its directory's lock.

    Each record is flushed and synced to disk before `append` returns. What a crash damaged is set aside in
    `checkpoints.jsonl.damaged` before the first record is appended, so that this stands on a line of its own.
    """

    def __init__(
        self,
        log_path: str | os.PathLike[str],
        on_record: Callable[[CheckpointRecord], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens the journal; nothing is read or written yet, but for a journal in a store, of which a copy is read.

        Args:
            log_path: a run directory, or a journal file. In a store it can be read alone.
            on_record: is told of each record that was written.
            check: is called before each write; raises where this process may not write any more.

        Raises:
            CloudExtraMissing: packages are not installed that the store needs.
            StorageError: the store fails.
        """
        self.path = journal_file(log_path)
        self._url = os.fspath(log_path) if is_url(log_path) else None
        self._on_record = on_record
        self._check = check
        self._is_mended = False
        self._newest: CheckpointRecord | None = None  # as of the last append
        self._is_newest_known = False
        self._last_path: str | None = None  # of the last line with a state

    @property
    def records(self) -> tuple[CheckpointRecord, ...]:
        """All good records, oldest first."""
        return tuple(Journal.read(self.path).records())

    def append(self, record: CheckpointRecord) -> None:
        """Adds a record, durably.

        The last line with a state is always the newest state of the current lineage, as readers expect that
        take the last one: where it would not be, since an older one arrives late or the newest was deleted, the
        newest is added again.

        Args:
            record: what was saved, or deleted.

        Raises:
            LockLost: another process may write to the run directory.
            StorageError: it cannot be written; the records before it are kept.
        """
        if self._url is not None:
            raise StorageError(f"{self._url} is in a store, and this a copy of its journal. Only its run writes it")
        self._check()
        self.mend()
        self._write(record)
        newest = self._newest
        if not self._is_newest_known or _may_take_newest_away(record, newest):
            self._newest = Journal.read(self.path).newest_state()
            self._is_newest_known = True
        elif record.resumable and (newest is None or rank(record) >= rank(newest)):
            self._newest = record
        if self._newest is not None and self._newest.state_path != self._last_path:
            self._newest = self._newest.model_copy(update={"resumed_at": None})
            self._write(self._newest)
        if self._on_record is not None:
            self._on_record(record)

    def mark_resumed(self, batch: int, record: CheckpointRecord | None) -> None:
        """Notes that the run goes on at `batch`, which supersedes the records of later batches.

        Args:
            batch: the next batch to run.
            record: what it goes on from; None where the run begins anew.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        again = CheckpointRecord(name="begin") if record is None else record
        self.append(again.model_copy(update={"batch": batch, "epoch": None, "resumed_at": now}))

    def rebuild(self, rest_client: Any, server_runs: Sequence[str] | None = None) -> int:
        """Adds what the service holds of this run and the journal lacks; restores a journal that was lost.

        Blocks, and takes the run directory's lock.

        Args:
            rest_client: a Tinker REST client, or an object with its interface.
            server_runs: ids of the run's server runs. None takes those that the run directory names; without
                any, all checkpoints of the user are paged through, and those that carry the run's id taken.

        Returns:
            The number of records added.

        Raises:
            RunLocked: a process writes to the run directory.
            EventLoopRunning: an asyncio loop already runs in this thread.
            ServiceError: the service cannot be asked.
            StartError: without server runs, the run directory must hold `run.json`, which has the run's id.
            StorageError: the journal cannot be written, or the store fails.
        """
        from socratic_distill.blocking import run_blocking
        from socratic_distill.locks import RunLock
        from socratic_distill.orphans import rebuild_journal

        if self._url is not None:
            from socratic_distill.run import RunDirectory

            with RunDirectory(self._url.removesuffix(f"/{JOURNAL}")) as run:
                return run_blocking(lambda: rebuild_journal(run.checkpoints, rest_client, server_runs), "rebuild")
        with RunLock(self.path.parent) as lock:
            self._check = lock.check
            return run_blocking(lambda: rebuild_journal(self, rest_client, server_runs), "rebuild")

    def mend(self) -> None:
        """Sets aside what is no record: a line cut off by a crash, and whatever else got into the file."""
        if self._is_mended:
            return
        journal = Journal.read(self.path)
        if bad := warn_of_damage(self.path, journal):
            if damaged := b"".join(line.bad + b"\n" for line in bad if line.bad):
                append_durably(self.path.with_name(self.path.name + ".damaged"), damaged)
            write_atomically(self.path, without(journal.data, bad))
        else:
            end_line(self.path)  # only the newline of the last record was lost
        self._is_newest_known = False
        self._last_path = journal.last_state_path()
        self._is_mended = True

    def _write(self, record: CheckpointRecord) -> None:
        # A write that fails half-way leaves a torn line, which the next append has to mend.
        self._is_mended = False
        append_durably(self.path, record.to_line())
        self._is_mended = True
        self._last_path = record.state_path or self._last_path


def _may_take_newest_away(record: CheckpointRecord, newest: CheckpointRecord | None) -> bool:
    """Whether another state than the newest one may be the newest behind a record, without being its own."""
    if record.resumed_at is not None:
        return True
    candidates = (record.state_path, newest.state_path if newest is not None else None)
    return record.deleted_path is not None and record.deleted_path in candidates
