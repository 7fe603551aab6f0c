"""What a journal file holds: read whole for people, from its end for the newest state."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from socratic_distill.errors import JournalError
from socratic_distill.files.rows import read_file, reason_of
from socratic_distill.run.journal_lines import records_from_end, records_of
from socratic_distill.run.record import CheckpointRecord


class Journal:
    """The records of a journal, whatever else stands between them.

    A record is superseded where a line below it says that the run went on from an earlier batch; records that
    are not are the current lineage.

    The file's bytes are kept, and its lines are parsed anew for each question: a hundred thousand records take a
    fraction of a second, and kept as objects they would take ten times the memory of the file.
    """

    def __init__(self, data: bytes = b"") -> None:
        """Takes the bytes; they are parsed when they are asked for.

        Args:
            data: the file's bytes.
        """
        self.data = data
        self._newest: CheckpointRecord | None = None
        self._deleted: frozenset[str] | None = None

    @classmethod
    def of(cls, records: Iterable[CheckpointRecord]) -> "Journal":
        """A journal of these records."""
        return cls("".join(record.to_line() for record in records).encode())

    @classmethod
    def read(cls, path: Path) -> "Journal":
        """Reads a journal file; a missing file is an empty one.

        Raises:
            JournalError: the file cannot be read.
        """
        try:
            return cls(read_file(path))
        except FileNotFoundError:
            return cls()
        except OSError as error:
            reason = reason_of(error)
            raise JournalError(f"{path} cannot be read: {reason}; mend its permissions, or restore it") from error

    def records(self) -> list[CheckpointRecord]:
        """All good records, oldest first."""
        return list(records_of(self.data))

    def lineage(self) -> list[tuple[CheckpointRecord, bool]]:
        """All good records, oldest first, each with whether it is superseded."""
        marked = [(record, not is_current) for record, is_current in self._marked(())]
        return marked[::-1]

    def finals(self, batch: int) -> list[CheckpointRecord]:
        """The final records of a batch in the current lineage, oldest first."""
        finals = [record for record, is_current in self._marked(("final",)) if is_current and record.final]
        return [record for record in reversed(finals) if record.batch == batch]

    def sampler_paths(self, batch: int) -> list[str]:
        """Sampler weights saved before a batch, in the current lineage, the newest first."""
        current = (
            record for record, is_current in self._marked(("sampler_path",)) if is_current and record.batch == batch
        )
        return [record.sampler_path for record in current if record.sampler_path]

    def last_state_path(self) -> str | None:
        """The state of the last line that has one: what readers resume from that take the last line."""
        states = records_from_end(self.data, ("state_path",))
        return next((record.state_path for record in states if record.state_path), None)

    def known(self, paths: Iterable[str]) -> set[str]:
        """Those of some paths on the service that records name, or say were deleted."""
        wanted = set(paths)
        named = (path for record in records_of(self.data) for path in (*record.paths, record.deleted_path))
        return {path for path in named if path in wanted}

    def is_deleted(self, path: str) -> bool:
        """Whether a line says that a path was deleted."""
        return path in self.deleted

    def newest_state(
        self, why_unusable: Callable[[CheckpointRecord], str | None] | None = None
    ) -> CheckpointRecord | None:
        """The resumable record of the highest batch, of the highest epoch, in the current lineage.

        Of two equal ones it is that of the later line.

        By batch and not by line: a slow save may be confirmed, and so recorded, after a newer one.

        Args:
            why_unusable: says why a record cannot be used; None for one that can. Left out, all can.
        """
        if why_unusable is None and self._newest is not None:
            return self._newest
        deleted: set[str] = set(self._deleted or ())
        best, refused = self._search(why_unusable, deleted)
        if best is not None and best.state_path in deleted:  # by a line above its own
            best, refused = self._search(why_unusable, deleted)
        self._deleted = frozenset(deleted)
        if not refused:
            self._newest = best
        return best

    @property
    def deleted(self) -> frozenset[str]:
        """The paths that lines of the journal say were deleted."""
        if self._deleted is None:
            deletions = (record.deleted_path for record in records_of(self.data, ("deleted_path",)))
            self._deleted = frozenset(path for path in deletions if path is not None)
        return self._deleted

    def _search(
        self, why_unusable: Callable[[CheckpointRecord], str | None] | None, deleted: set[str]
    ) -> tuple[CheckpointRecord | None, bool]:
        """One pass from the end: the newest state, and whether any was refused as unusable.

        Args:
            why_unusable: as for `newest_state`.
            deleted: paths that are known to be deleted; gets all others that lines name.
        """
        best, limit, refused = None, None, False
        for record in records_from_end(self.data, ("state_path", "resumed_at", "deleted_path")):
            if record.deleted_path is not None:
                deleted.add(record.deleted_path)
            if record.resumable and _within(record, limit) and (best is None or rank(record) > rank(best)):
                if why_unusable is not None and why_unusable(record) is not None:
                    refused = True
                elif record.state_path not in deleted:
                    best = record
            limit = _lower(limit, record)
        return best, refused

    def _marked(self, keys: Sequence[str]) -> Iterator[tuple[CheckpointRecord, bool]]:
        """Records with a key of some, or all, the last one first, each with whether it is of the current lineage."""
        limit = None
        for record in records_from_end(self.data, (*keys, "resumed_at") if keys else ()):
            yield record, _within(record, limit)
            limit = _lower(limit, record)


def _batch(record: CheckpointRecord) -> int:
    return -1 if record.batch is None else record.batch


def rank(record: CheckpointRecord) -> tuple[int, int]:
    """How far into its run a record is: epoch and batch, since other tools count batches within an epoch."""
    return record.epoch or 0, _batch(record)


def _within(record: CheckpointRecord, limit: tuple[int, int] | None) -> bool:
    return limit is None or record.batch is None or rank(record) <= limit


def _lower(limit: tuple[int, int] | None, record: CheckpointRecord) -> tuple[int, int] | None:
    """The highest rank that lines above a record may be of, not to be superseded."""
    if record.resumed_at is None or record.batch is None:
        return limit
    return rank(record) if limit is None else min(limit, rank(record))
