"""Reads and writes the JSON of a run directory: JSONL files row by row, single objects, and the values in them.

Anyone may have written these files, and a crash may have cut them short. Only regular files inside the directory are
opened. Rows that cannot be read are skipped with one warning; an object that cannot be read is an error.
"""

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from socratic_distill.errors import SocraticError, StorageError
from socratic_distill.files.durable import open_regular
from socratic_distill.text import get_logger, whole_characters

_log = get_logger(__name__)


_BLOCK_BYTES = 1 << 20
# Limit for the standard library's parser. It reads lone surrogates, which pydantic's does not, but is slower.
_MOST_BYTES = 1 << 24
_MOST_DEPTH = 200  # as pydantic's parser
_MOST_LINE_BYTES = 1 << 28
_MOST_OBJECT_BYTES = 1 << 30
_MOST_WHOLE = 2**63


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a JSONL file that holds an object.

    Attributes:
        number: number of the line, from 1.
        offset: position of its first byte in the file.
        size: number of bytes, its newline included.
        row: the object.
    """

    number: int
    offset: int
    size: int
    row: dict[str, Any]


def read_file(path: Path, root: Path | None = None) -> bytes:
    """The bytes of a regular file; see `socratic_distill.files.durable.open_regular`.

    Raises:
        OSError: the file cannot be read, or is too large.
    """
    with open_regular(path, root=root) as file:
        data = file.read(_MOST_OBJECT_BYTES + 1)
    if len(data) > _MOST_OBJECT_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_MOST_OBJECT_BYTES} bytes")
    return data


def read_part(path: Path, most: int, root: Path | None = None, *, from_end: bool = False) -> bytes:
    """The first bytes of a regular file, or the last ones; of a short file all.

    Args:
        path: the file.
        most: number of bytes.
        root: as for `read_file`.
        from_end: whether the last bytes are read.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(path, root=root) as file:
        if from_end:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read(most)


def parse(text: bytes, *, lenient: bool = False) -> Any:
    """A JSON value. Lone surrogates (half characters) are read, because older versions wrote them.

    Args:
        text: UTF-8, with or without a byte order mark.
        lenient: read NaN and Infinity as null, because older versions wrote them. A number like 1e400 is infinite
            either way, so read the values of a row with `number` and `whole`.

    Raises:
        ValueError: the text is not JSON, or pydantic's parser refuses it and it is too large or too deeply nested
            for the standard library's.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if len(text) > _MOST_BYTES:
            raise
        reason = error
    try:
        value = json.loads(text.decode("utf-8-sig", "surrogatepass"), parse_constant=_null if lenient else _refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError:
        raise reason from None
    if _is_deep(value):
        raise ValueError("it is nested too deeply")
    return value


def parse_row(text: bytes) -> dict[str, Any] | None:
    """The object in a line that a run wrote, NaN and Infinity as null; None for anything else, such as a cut line."""
    try:
        row = parse(text, lenient=True)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def read_object(
    path: Path, error: type[SocraticError], purpose: str, *, lenient: bool = False, root: Path | None = None
) -> dict[str, Any] | None:
    """The object that a JSON file holds; None if there is no file.

    Args:
        path: the file.
        error: type of the error that is raised if the file cannot be read.
        purpose: end of the error's message: what the file is for, and what to do.
        lenient: as in `parse`.
        root: as for `read_file`.

    Raises:
        SocraticError: of type `error`; the file cannot be read, or holds no JSON object.
    """
    try:
        value = parse(read_file(path, root), lenient=lenient)
        if not lenient:
            _refuse_infinities(value)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        raise error(f"{path} cannot be read: {reason_of(fault)}; {purpose}") from fault
    if not isinstance(value, dict):
        raise error(f"{path} cannot be read: it holds no JSON object; {purpose}")
    return value


def read_lines(path: Path, skipped: list[int]) -> Iterator[Line]:
    """The objects of a JSONL file, in order. A last line without a newline counts if it is a complete object.

    Args:
        path: the file.
        skipped: receives the numbers of the other lines, except blank ones and an incomplete last one.

    Raises:
        OSError: the file cannot be read, or does not exist.
    """
    offset = number = 0
    with open_regular(path) as file:
        while line := file.readline(_MOST_LINE_BYTES):
            number, size = number + 1, len(line)
            is_whole = line.endswith(b"\n")
            row = parse_row(line)
            if row is not None:
                yield Line(number, offset, size, row)
            elif line.strip() and (is_whole or size == _MOST_LINE_BYTES):
                skipped.append(number)
            # A line beyond the limit was read only in part: its rest is read and dropped to get to the next line.
            while not is_whole and size >= _MOST_LINE_BYTES and (rest := file.readline(_BLOCK_BYTES)):
                is_whole, size = rest.endswith(b"\n"), size + len(rest)
            offset += size


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file of a run, in order; none if there is no file.

    An incomplete last line is left out, because the run may be writing it. Other lines without an object are skipped,
    with one warning that names them.

    Raises:
        StorageError: the file cannot be read.
    """
    skipped: list[int] = []
    try:
        for line in read_lines(path, skipped):
            yield line.row
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. Restore the file or delete it") from error
    if skipped:
        _log.warning("%s: skipped lines that hold no JSON object (%s)", path, named_lines(skipped))


def lines_from_end(path: Path) -> Iterator[tuple[int, bytes]]:
    """Offset and text of each line that is not empty, from the last line to the first.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        start = file.seek(0, os.SEEK_END)
        rest: list[bytes] = []  # parts of the line that reaches into an earlier block, the last part first
        while start > 0:
            size = min(_BLOCK_BYTES, start)
            start = file.seek(start - size)
            first, *lines = file.read(size).split(b"\n")
            end = start + size
            for line in reversed(lines):
                end -= len(line)
                if line or rest:
                    yield end, b"".join([line, *reversed(rest)])
                rest = []
                end -= 1
            rest += [first] if first else []
        if rest:
            yield 0, b"".join(reversed(rest))


def to_line(row: Mapping[str, Any]) -> tuple[bytes, list[str]]:
    """A row as a line of strict JSON, and the keys whose values are NaN or Infinity, which are written as null.

    Lone surrogates (half characters) are written as U+FFFD.
    """
    unfit = [key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    try:
        return to_json(row, ensure_ascii=True, inf_nan_mode="null") + b"\n", unfit
    except PydanticSerializationError:  # a lone surrogate, which only the standard library can write
        text = json.dumps(parse(json.dumps(row).encode(), lenient=True), ensure_ascii=False)
        return to_json(from_json(whole_characters(text)), ensure_ascii=True) + b"\n", unfit


def whole(value: object) -> int | None:
    """An integer of at most 64 bits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -_MOST_WHOLE <= value < _MOST_WHOLE else None


def number(value: object) -> float | None:
    """A finite number as a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:  # an integer larger than any float
        return None
    return as_float if math.isfinite(as_float) else None


def step_of(row: Mapping[str, Any]) -> int | None:
    """The step of a row, from 0; None if it has none."""
    step = whole(row.get("step"))
    return step if step is not None and step >= 0 else None


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, for a message that names the file."""
    return str(getattr(error, "strerror", None) or error)


def named_lines(numbers: list[int]) -> str:
    """`line 3, 5, …`: the first five line numbers."""
    return "line " + ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")


def _null(constant: str) -> None:
    return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _refuse_infinities(value: Any) -> None:
    """Refuses numbers like 1e400: they are valid JSON, but infinite as floats."""
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError("it holds a number that is too large")
        parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


def _is_deep(value: Any) -> bool:
    """Whether a value is nested more deeply than pydantic's parser reads; such a value could not be written again."""
    level = [value]
    for _ in range(_MOST_DEPTH):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [item for part in parts for item in part]
        if not level:
            return False
    return True
