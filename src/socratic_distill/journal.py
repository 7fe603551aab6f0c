"""What a journal file holds: read whole for people, from its end for the newest state."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path

from socratic_distill.errors import JournalError
from socratic_distill.journal_lines import lines
from socratic_distill.records import CheckpointRecord, parse_line, salvage

_LATER_EPOCH = re.compile(rb'"epoch"\s*+:\s*+(?!0\b|null)')
_BLOCK_BYTES = 1 << 20
_FEW = 4


class Journal:
    """The records of a journal, whatever else stands between them.

    A record is superseded where a line below it says that the run went on from an earlier batch; records that
    are not are the current lineage.
    """

    def __init__(self, data: bytes = b"") -> None:
        """Takes the bytes; they are parsed when they are asked for.

        Args:
            data: the file's bytes.
        """
        self.data = data
        self._newest: CheckpointRecord | None = None
        self._asked = 0

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

    def records(self) -> list[CheckpointRecord]:
        """All good records, oldest first."""
        return [record for line in lines(self.data) for _, record in line.good]

    def lineage(self) -> list[tuple[CheckpointRecord, bool]]:
        """All good records, oldest first, each with whether it is superseded."""
        marked, limit = [], None
        for record in reversed(self.records()):
            marked.append((record, not _within(record, limit)))
            limit = _lower(limit, record)
        return marked[::-1]

    def finals(self, batch: int) -> list[CheckpointRecord]:
        """The final records of a batch in the current lineage, oldest first."""
        found, limit = [], None
        for record in self._records_with(b'"final"', b'"resumed_at"'):
            if record.final and record.batch == batch and _within(record, limit):
                found.append(record)
            limit = _lower(limit, record)
        return found[::-1]

    def sampler_paths(self, batch: int) -> list[str]:
        """Sampler weights saved before a batch, in the current lineage, the newest first."""
        found, limit = [], None
        for record in self._records_with(b'"sampler_path"', b'"resumed_at"'):
            if record.sampler_path and record.batch == batch and _within(record, limit):
                found.append(record.sampler_path)
            limit = _lower(limit, record)
        return found

    def last_state_path(self) -> str | None:
        """The state of the last line that has one: what readers resume from that take the last line."""
        return next((one.state_path for one in self._records_with(b'"state_path"') if one.state_path), None)

    def known(self, paths: Iterable[str]) -> set[str]:
        """Those of some paths on the service that records name, or say were deleted."""
        wanted = set(paths)
        return {
            path
            for record in self._records_naming(wanted)
            for path in (*record.paths, record.deleted_path)
            if path in wanted
        }

    def is_deleted(self, path: str) -> bool:
        """Whether a line says that a path was deleted; the first few are looked up one by one, as that is faster."""
        self._asked += 1
        if self._asked > _FEW:
            return path in self.deleted
        if not self._has(0, len(self.data), b'"deleted_path"', b"\\"):
            return False
        return any(record.deleted_path == path for record in self._records_naming({path}))

    def newest_state(
        self, why_unusable: Callable[[CheckpointRecord], str | None] | None = None
    ) -> CheckpointRecord | None:
        """The resumable record of the highest batch, of the highest epoch, in the current lineage.

        Of two equal ones it is that of the later line.

        By batch and not by line: a slow save may be confirmed, and so recorded, after a newer one. Lines are
        read from the end, up to where the run last went on from a batch that is not above the best one; a line that
        cannot hold a higher batch than the best one so far is not parsed, so that a million records take a
        fraction of a second.

        Args:
            why_unusable: says why a record cannot be used; None for one that can. Left out, all can.
        """
        if why_unusable is None and self._newest is not None:
            return self._newest
        best, limit, refused = None, None, False
        for start, stop in self._blocks_from_end():
            if not self._may_matter(start, stop, best, limit):
                continue
            for place in self._lines_from_end(start, stop):
                found = _records_of(self.data[slice(*place)]) if self._may_matter(*place, best, limit) else []
                for record in reversed(found):
                    if record.resumable and _within(record, limit) and (best is None or rank(record) > rank(best)):
                        if why_unusable is not None and why_unusable(record) is not None:
                            refused = True
                        elif not self.is_deleted(record.state_path or ""):
                            best = record
                    limit = _lower(limit, record)
        if not refused:
            self._newest = best
        return best

    @cached_property
    def deleted(self) -> frozenset[str]:
        """The paths that lines of the journal say were deleted."""
        records = self._records_at(chain(self._places_of(b'"deleted_path"'), self._places_of(b"\\")))
        return frozenset(one.deleted_path for one in records if one.deleted_path is not None)

    def _records_with(self, *keys: bytes) -> Iterator[CheckpointRecord]:
        """The records that have one of some quoted keys, and perhaps others, the last one first.

        A line with an escaped character may spell any key.
        """
        for start, stop in self._blocks_from_end():
            if self._has(start, stop, b"\\", *keys):
                for place in self._lines_from_end(start, stop):
                    if self._has(*place, b"\\", *keys):
                        yield from reversed(_records_of(self.data[slice(*place)]))

    def _records_naming(self, paths: Iterable[str]) -> Iterator[CheckpointRecord]:
        """The records that name one of some paths on the service, and perhaps others, in any order.

        A line with an escaped character may spell any path.
        """
        names: dict[bytes, set[bytes]] = defaultdict(set)
        for path in paths:
            folder, slash, name = path.encode().rpartition(b"/")
            names[folder + slash].add(name)
        places = set(self._places_of(b"\\"))
        for folder, wanted in names.items():
            pattern = re.compile(rb'"' + re.escape(folder) + rb'(?=([^"\n]*+)")')
            places.update(found.start() for found in pattern.finditer(self.data) if found[1] in wanted)
        return self._records_at(places)

    def _records_at(self, places: Iterable[int]) -> Iterator[CheckpointRecord]:
        """The records of the lines that some places are in, in any order."""
        starts = {self.data.rfind(b"\n", 0, place) + 1 for place in places}
        for start in starts:
            stop = self.data.find(b"\n", start)
            yield from _records_of(self.data[start:stop] if stop >= 0 else self.data[start:])

    def _places_of(self, part: bytes) -> Iterator[int]:
        """A place in each line that has a part."""
        place = self.data.find(part)
        while place >= 0:
            yield place
            end = self.data.find(b"\n", place)
            place = self.data.find(part, end) if end >= 0 else -1

    def _has(self, start: int, stop: int, *parts: bytes) -> bool:
        return any(self.data.find(part, start, stop) >= 0 for part in parts)

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

    def _may_matter(self, start: int, stop: int, best: CheckpointRecord | None, limit: tuple[int, int] | None) -> bool:
        """False only for a part of whole lines that could not change what `newest_state` finds.

        A part with an escaped character may spell any key: it is parsed to be sure.
        """
        if best is not None and limit is not None and rank(best) >= limit:
            return False
        if self._has(start, stop, b"\\", b'"resumed_at"'):
            return True
        if self._has(start, stop, b'"epoch"') and _LATER_EPOCH.search(self.data, start, stop):
            return True
        if best is None:
            return self._has(start, stop, b'"state_path"')
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
