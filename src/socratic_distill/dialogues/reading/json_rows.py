"""JSONL and JSON documents as rows, strictly: no repeated keys, no NaN. Every error names its line."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from socratic_distill.dialogues.reading.packed import Source

_MESSAGE = {"role", "from", "speaker", "user", "content"}  # keys of messages
_SPACE = re.compile(r"[ \t\r\n]*")


class Row(NamedTuple):
    """A row of a source.

    Attributes:
        number: its number from 1: of its line in JSONL, else of the row itself.
        place: where it is, such as "line 3".
        values: the row; empty if it cannot be read.
        problem: why it cannot be read; None if it can.
    """

    number: int
    place: str
    values: dict[str, Any]
    problem: ValueError | None = None


def jsonl_rows(lines: Iterator[str], what: str) -> Iterator[Row]:
    """The rows of JSONL, one object a line; blank lines are skipped.

    Args:
        lines: the lines.
        what: content of the file, such as "seed", for messages.
    """
    for number, line in enumerate(lines, start=1):
        if line.isspace() or not line:
            continue
        try:
            yield Row(number, f"line {number}", load_object(line, what))
        except ValueError as problem:
            yield Row(number, f"line {number}", {}, problem)


def load_object(line: str, what: str) -> dict[str, Any]:
    """The JSON object in a line.

    Raises:
        ValueError: the line is not a JSON object.
    """
    try:
        value = _DECODER.decode(line.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        hint = f"{what}s files are JSONL, one whole object a line, not one JSON document"
        raise ValueError(f"not JSON ({error.msg} at column {error.colno}); {hint}") from None
    except RecursionError:
        raise ValueError(f"not a {what} (nested too deeply); expected one flat JSON object a line") from None
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ValueError(f"expected a JSON object, found a {kind}; {what}s files are JSONL, one object a line")
    return value


def json_rows(source: Source) -> Iterator[Row]:
    """The rows of a .json file: a list of objects, one object that holds an object for each name, or JSONL.

    Raises:
        ConfigError: of the source's class; it is not JSON.
    """
    text = "".join(source.lines())
    start = _after_space(text, 0)
    if text.startswith("[", start):
        return _listed(source, text, start)
    if _is_jsonl(text, start):
        return jsonl_rows(iter(text.split("\n")), source.what)
    return _named(source, text, start)


def _is_jsonl(text: str, start: int) -> bool:
    """Whether a text is JSONL: its first line is an object, and more lines follow."""
    line, _, rest = text[start:].partition("\n")
    if not rest.strip():
        return False
    try:
        return isinstance(_DECODER.decode(line), dict)
    except (ValueError, RecursionError):
        return False


def _listed(source: Source, text: str, start: int) -> Iterator[Row]:
    """The objects of a list, each with the line that it begins in."""
    position, number, line, counted = _after_space(text, start + 1), 0, 1, 0
    while not text.startswith("]", position):
        if number:
            if not text.startswith(",", position):
                raise _not_json(source, json.JSONDecodeError("Expecting ',' delimiter", text, position))
            position = _after_space(text, position + 1)
        number += 1
        line, counted = line + text.count("\n", counted, position), position
        value, stop = _decode(source, text, position, line)
        where = f"line {line}, entry {number}"
        if isinstance(value, dict):
            yield Row(number, where, value)
        else:
            problem = f"expected a JSON object, found a {type(value).__name__}; a list of {source.what}s holds objects"
            yield Row(number, where, {}, ValueError(problem))
        position = _after_space(text, stop)
    if (rest := _after_space(text, position + 1)) < len(text):
        raise _not_json(source, json.JSONDecodeError("Extra data", text, rest))


def _named(source: Source, text: str, start: int) -> Iterator[Row]:
    """The objects of an object, each with its name as `id` if it has none, or those of the only list that it holds.

    An object of other values is one row.
    """
    if start == len(text):
        return
    value, stop = _decode(source, text, start, 1 + text.count("\n", 0, start))
    if (rest := _after_space(text, stop)) < len(text):
        raise _not_json(source, json.JSONDecodeError("Extra data", text, rest))
    if not isinstance(value, dict):
        raise source.error(
            f"{source.name}: expected a list of objects or an object a line, found a {type(value).__name__}"
        )
    if value and all(isinstance(row, dict) for row in value.values()):
        for number, (name, row) in enumerate(value.items(), start=1):
            yield Row(number, f"entry {name!r}", {"id": name} | row)
    elif value and all(map(_is_list_of_rows, value.values())):
        if len(value) > 1:
            raise source.error(
                f"{source.name}: it holds the lists {', '.join(map(repr, value))}; write the one that you mean to a "
                "file of its own"
            )
        (rows,) = value.values()
        for number, row in enumerate(rows, start=1):
            yield Row(number, f"entry {number}", row)
    else:
        yield Row(1, "line 1", value)


def _is_list_of_rows(value: Any) -> bool:
    """Whether a value is a list of objects, and none of them a message of a dialogue."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) and not row.keys() & _MESSAGE for row in value)
    )


def _decode(source: Source, text: str, position: int, line: int) -> tuple[Any, int]:
    """The value at a position, and where it ends."""
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _not_json(source, error) from None
    except RecursionError:
        raise source.error(f"{source.name}, line {line}: not a {source.what} (nested too deeply)") from None
    except ValueError as error:
        raise source.error(f"{source.name}, line {line}: {error}") from None


def _not_json(source: Source, error: json.JSONDecodeError) -> Exception:
    hint = f"a .json file of {source.what}s is one list of objects, or an object a line"
    return source.error(f"{source.name}, line {error.lineno}: not JSON ({error.msg} at column {error.colno}); {hint}")


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None, "the pattern matches nothing as well"
    return match.end()


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"a key occurs twice in one object: {sorted(key for key, _ in pairs)}")
    return row


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated_keys)
