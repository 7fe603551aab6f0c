"""The lines of a journal file: which of them are no records, and the file without those."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from socratic_distill.records import CheckpointRecord, parse_line, salvage

# A line as this library and tinker-cookbook write it: a flat object of plain ASCII, its name first. Such a line is a
# record, and is known for one ten times faster than by parsing it; every other line is parsed. First come, in our
# order, our most common keys, since an optional pair is matched faster than one of a repeated choice.
_TEXT = rb'"[ !#-\[\]-~]*+"'
_COUNT = rb"-?(?:0|[1-9]\d{0,17}+)"
_COMMON = {b"batch": _COUNT, b"state_path": _TEXT, b"sampler_path": _TEXT, b"version": _COUNT, b"kind": _TEXT}
_COMMON |= dict.fromkeys((b"created_at", b"expires_at", b"config_digest"), _TEXT)
_ANY = (
    rb'(?:state_path|sampler_path)": (?:%b|null)' % _TEXT,
    rb'(?:batch|epoch)": (?:%b|null)' % _COUNT,
    rb'final": (?:true|false|null)',
    rb'(?!(?:name|state_path|sampler_path|batch|epoch|final)")[ !#-\[\]-~]*+": (?:%b|%b|true|false|null)'
    % (_TEXT, _COUNT),
)
_RECORD = b"".join(
    [
        rb'\{"name": ' + _TEXT,
        *(rb'(?:, "%b": %b|)' % pair for pair in _COMMON.items()),
        rb'(?:, "(?:%b))*' % b"|".join(_ANY),
        rb"\}(?:\n|\Z)",
    ]
)
_FIRST_LINE = re.compile(_RECORD)
_BEFORE_ANOTHER_LINE = re.compile(rb"\n(?!" + _RECORD + rb")")
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


def lines(data: bytes) -> Iterator[Line]:
    """Every line of a file that is not blank, from the top."""
    offset, parts = 0, data.split(b"\n")
    for number, raw in enumerate(parts, start=1):
        if raw.strip():
            yield _line(number, offset, raw, torn=number == len(parts))
        offset += len(raw) + 1


def bad_lines(data: bytes) -> Iterator[Line]:
    """The lines of a file that are not one record each, from the top; few lines are parsed to find them."""
    number, place = 1, 0
    for offset in _offsets_of_uncommon_lines(data):
        number += data.count(b"\n", place, offset)
        place = offset
        stop = data.find(b"\n", offset)
        raw = data[offset:stop] if stop >= 0 else data[offset:]
        if raw.strip() and (line := _line(number, offset, raw, torn=stop < 0)).reason:
            yield line


def without(data: bytes, bad: Iterable[Line]) -> bytes:
    """A file with the last line ended, no blank ones, and of its bad lines the whole records alone.

    Each record stands on a line of its own.
    """
    parts, place = [], 0
    for line in bad:
        parts += [data[place : line.offset], *(raw + b"\n" for raw, _ in line.good)]
        stop = data.find(b"\n", line.offset)
        place = stop + 1 if stop >= 0 else len(data)
    parts.append(data[place:])
    whole = _BLANK_LINES.sub(b"", b"".join(parts))
    return whole + b"\n" if whole and not whole.endswith(b"\n") else whole


def _offsets_of_uncommon_lines(data: bytes) -> Iterator[int]:
    """Where the lines begin that have to be parsed to know whether they are records."""
    if data and not _FIRST_LINE.match(data):
        yield 0
    yield from (newline.end() for newline in _BEFORE_ANOTHER_LINE.finditer(data))


def _line(number: int, offset: int, raw: bytes, torn: bool) -> Line:
    try:
        return Line(number, offset, b"", [(raw, parse_line(raw))], "", torn)
    except ValueError as error:
        return Line(number, offset, *salvage(raw), str(error), torn)
