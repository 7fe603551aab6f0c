"""Appends to the journal of a run's saves, `checkpoints.jsonl`."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from socratic_distill.config.log_path import is_url
from socratic_distill.errors import StorageError
from socratic_distill.files.durable import append_durably, end_line, write_atomically
from socratic_distill.run.journal import Journal, rank
from socratic_distill.run.journal_lines import Line, bad_lines, without
from socratic_distill.run.layout import journal_file
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.text import get_logger

_log = get_logger(__name__)


_MOST_NAMED = 10


def warn_of_damage(path: Path, journal: Journal) -> list[Line]:
    """Gives and names the lines of a journal that are no records."""
    bad = list(bad_lines(journal.data))
    if bad:
        named = [f"line {line.number} (byte {line.offset}: {line.reason})" for line in bad[:_MOST_NAMED]]
        more = f"; and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
        _log.warning("%s: skipped %s%s", path, "; ".join(named), more)
    return bad


class JournalWriter:
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
            on_record: is called with each record that was written.
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
    """Whether a state other than the newest one may be the newest after a record, without being its own."""
    if record.resumed_at is not None:
        return True
    candidates = (record.state_path, newest.state_path if newest is not None else None)
    return record.deleted_path is not None and record.deleted_path in candidates
