"""The lines of a journal file: which of them are no records, and the file without those."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from pydantic_core import from_json

from socratic_distill.run.record import CheckpointRecord, parse_line, salvage

_BLANK_LINES = re.compile(rb"^\s*\n|^\s+\Z", re.MULTILINE)


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


def records_of(data: bytes, keys: Collection[str] = ()) -> Iterator[CheckpointRecord]:
    """The good records of a file, oldest first; with `keys`, those that have any of them, and perhaps others."""
    for _, raw in _lines(data):
        yield from _records(raw, keys)


def records_from_end(data: bytes, keys: Collection[str] = ()) -> Iterator[CheckpointRecord]:
    """The same, the last record first."""
    stop = len(data)
    while stop >= 0:
        start = data.rfind(b"\n", 0, stop) + 1
        yield from reversed(_records(data[start:stop], keys))
        stop = start - 1


def bad_lines(data: bytes) -> Iterator[Line]:
    """The lines of a file that are not one record each, from the top."""
    for number, (offset, raw) in enumerate(_lines(data), start=1):
        if raw.strip() and (line := _line(number, offset, raw, torn=offset + len(raw) == len(data))).reason:
            yield line


def without(data: bytes, bad: Iterable[Line]) -> bytes:
    """A file with the last line ended, no blank ones, and of its bad lines the whole records alone.

    Each record stands on a line of its own.
    """
    parts, position = [], 0
    for line in bad:
        parts += [data[position : line.offset], *(raw + b"\n" for raw, _ in line.good)]
        stop = data.find(b"\n", line.offset)
        position = stop + 1 if stop >= 0 else len(data)
    parts.append(data[position:])
    whole = _BLANK_LINES.sub(b"", b"".join(parts))
    return whole + b"\n" if whole and not whole.endswith(b"\n") else whole


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and text of each line, from the top, one at a time."""
    start = 0
    while start < len(data):
        stop = data.find(b"\n", start)
        stop = len(data) if stop < 0 else stop
        yield start, data[start:stop]
        start = stop + 1


def _records(raw: bytes, keys: Collection[str]) -> list[CheckpointRecord]:
    if keys and _lacks(raw, keys):
        return []
    try:
        return [parse_line(raw)]
    except ValueError:
        return [record for _, record in salvage(raw)[1]] if raw.strip() else []


def _lacks(raw: bytes, keys: Collection[str]) -> bool:
    """Whether a line is an object without any of some keys: then no record has to be made of it."""
    try:
        row = from_json(raw, allow_inf_nan=False)
    except ValueError:
        return False
    return isinstance(row, dict) and all(row.get(key) is None for key in keys)


def _line(number: int, offset: int, raw: bytes, torn: bool) -> Line:
    try:
        return Line(number, offset, b"", [(raw, parse_line(raw))], "", torn)
    except ValueError as error:
        return Line(number, offset, *salvage(raw), str(error), torn)
