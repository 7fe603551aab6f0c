"""What a journal file holds: read whole for people, from its end for the newest state."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from socratic_distill.errors import JournalError
from socratic_distill.records import CheckpointRecord, parse_line, salvage

_LATER_EPOCH = re.compile(rb'"epoch"\s*+:\s*+(?!0\b|null)')
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Line:
    """One line that is not blank.

    Attributes:
        number: from 1.
        offset: of its first byte in the file.
        bad: the bytes that are no record; empty for a good line.
        good: the records, each with its bytes: one on a good line, on a bad one those that are whole.
        reason: why the line is bad; empty for a good one.
        torn: whether the line is the last one and lacks its newline.
    """

    number: int
    offset: int
    bad: bytes
    good: list[tuple[bytes, CheckpointRecord]]
    reason: str
    torn: bool


class Journal:
    """The records of a journal, whatever else stands between them.

    A record is superseded where a line below it says that the run went on from an earlier batch; records that
    are not are the current lineage.

    Args:
        data: the file's bytes.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

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
            return cls(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise JournalError(f"{path} cannot be read: {error}; mend its permissions, or restore it") from error

    def lines(self) -> Iterator[Line]:
        """Every line that is not blank, from the top."""
        offset, lines = 0, self.data.split(b"\n")
        for number, raw in enumerate(lines, start=1):
            if raw.strip():
                torn = number == len(lines)
                try:
                    yield Line(number, offset, b"", [(raw, parse_line(raw))], "", torn)
                except ValueError as error:
                    yield Line(number, offset, *salvage(raw), str(error), torn)
            offset += len(raw) + 1

    def records(self) -> list[CheckpointRecord]:
        """All good records, oldest first."""
        return [record for line in self.lines() for _, record in line.good]

    def lineage(self) -> list[tuple[CheckpointRecord, bool]]:
        """All good records, oldest first, each with whether it is superseded."""
        marked, limit = [], None
        for record in reversed(self.records()):
            marked.append((record, not _within(record, limit)))
            limit = _lower(limit, record)
        return marked[::-1]

    def newest_state(
        self, why_unusable: Callable[[CheckpointRecord], str | None] = lambda _: None
    ) -> CheckpointRecord | None:
        """The resumable record of the highest batch, of the highest epoch, in the current lineage.

        Of two equal ones it is that of the later line.

        By batch and not by line: a slow save may be confirmed, and so recorded, after a newer one. Lines are
        read from the end; a line that cannot hold a higher batch than the best one so far is not parsed, so
        that a million records take a fraction of a second.

        Args:
            why_unusable: says why a record cannot be used; None for one that can.
        """
        best, limit = None, None
        for start, stop in self._blocks_from_end():
            if not self._may_matter(start, stop, best):
                continue
            for place in self._lines_from_end(start, stop):
                found = _records_of(self.data[slice(*place)]) if self._may_matter(*place, best) else []
                for record in reversed(found):
                    if (
                        record.resumable
                        and _within(record, limit)
                        and (best is None or rank(record) > rank(best))
                        and record.state_path not in self.deleted
                        and why_unusable(record) is None
                    ):
                        best = record
                    limit = _lower(limit, record)
        return best

    @cached_property
    def deleted(self) -> frozenset[str]:
        """The paths that lines of the journal say were deleted."""
        if b'"deleted_path"' not in self.data and b"\\" not in self.data:
            return frozenset()
        lines = (line for line in self.data.split(b"\n") if b'"deleted_path"' in line or b"\\" in line)
        records = (record for line in lines for record in _records_of(line))
        return frozenset(one.deleted_path for one in records if one.deleted_path is not None)

    def _blocks_from_end(self) -> Iterator[tuple[int, int]]:
        """The file as places of blocks of whole lines, the last one first."""
        stop = len(self.data)
        while stop > 0:
            start = self.data.rfind(b"\n", 0, max(stop - _BLOCK_BYTES, 0)) + 1
            yield start, stop
            stop = start - 1

    def _lines_from_end(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The places of a block's lines, the last one first."""
        while stop >= start:
            line = max(self.data.rfind(b"\n", start, stop) + 1, start)
            yield line, stop
            stop = line - 1

    def _may_matter(self, start: int, stop: int, best: CheckpointRecord | None) -> bool:
        """False only for a part of whole lines that could not change what `newest_state` finds.

        A part with an escaped character may spell any key: it is parsed to be sure.
        """
        if self.data.find(b"\\", start, stop) >= 0 or self.data.find(b'"resumed_at"', start, stop) >= 0:
            return True
        if self.data.find(b'"epoch"', start, stop) >= 0 and _LATER_EPOCH.search(self.data, start, stop):
            return True
        if best is None:
            return self.data.find(b'"state_path"', start, stop) >= 0
        return _batch_above(_batch(best)).search(self.data, start, stop) is not None


@lru_cache(maxsize=1)
def _batch_above(batch: int) -> re.Pattern[bytes]:
    """Matches the text of a record of a higher batch; one search in C is faster than reading each number."""
    digits = str(batch)
    same_length = (
        f"{digits[:place]}[{int(digit) + 1}-9]\\d{{{len(digits) - place - 1}}}(?!\\d)"
        for place, digit in enumerate(digits)
        if digit != "9"
    )
    longer = f"[1-9]\\d{{{len(digits)}}}"
    return re.compile(rf'"batch"\s*+:\s*+(?:{"|".join([longer, *same_length])})'.encode())


def _records_of(line: bytes) -> list[CheckpointRecord]:
    try:
        return [parse_line(line)]
    except ValueError:
        return [record for _, record in salvage(line)[1]]


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
