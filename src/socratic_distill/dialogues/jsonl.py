"""Reads users' JSONL files strictly: lines, the object in each line, and the values in it.

The parameter `what` names the content of a file in messages, such as "seed".
"""

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

from socratic_distill.errors import ConfigError


def lines(path: Path, what: str, error: type[ConfigError]) -> list[str]:
    """The lines of a file.

    Raises:
        ConfigError: of type `error`; the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        raise error(f"{path}, line {line}: not UTF-8 ({fault.reason}); save the file as UTF-8") from None
    except OSError as fault:
        reason = fault.strerror or fault
        raise error(f"{path}: cannot be read ({reason}); expected a JSONL file of {what}s") from None


def load_object(line: str, what: str) -> dict[str, Any]:
    """The JSON object in a line.

    Raises:
        ValueError: the line is not a JSON object.
    """
    try:
        value = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated_keys)
    except json.JSONDecodeError as error:
        hint = f"{what}s files are JSONL, one whole object a line, not one JSON document"
        raise ValueError(f"not JSON ({error.msg} at column {error.colno}); {hint}") from None
    except RecursionError:
        raise ValueError(f"not a {what} (nested too deeply); expected one flat JSON object a line") from None
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ValueError(f"expected a JSON object, found a {kind}; {what}s files are JSONL, one object a line")
    return value


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"a key occurs twice in one object: {sorted(key for key, _ in pairs)}")
    return row


def optional(row: dict[str, Any], key: str, numbers: bool = False) -> str | None:
    """A row's text at a key, as `text`; None if the key is missing or null."""
    return None if row.get(key) is None else text(row, key, numbers)


def text(row: dict[str, Any], key: str, numbers: bool = False) -> str:
    """A row's text at a key, trimmed; with `numbers`, a number is accepted too and written as a person writes it.

    Raises:
        ValueError: the value is not a text, or is empty.
    """
    return as_text(key, row[key], numbers)


def as_text(key: str, value: Any, numbers: bool = False) -> str:
    """A value as `text` returns it; `key` names it in errors."""
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return _plain(key, value)
    if not isinstance(value, str):
        kinds = "text or a number" if numbers else "text"
        raise ValueError(f"{key} must be {kinds}, found {type(value).__name__}: {value!r}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{key} holds half a character (a lone surrogate), which cannot be written as UTF-8")
    trimmed = value.strip()
    if not trimmed:
        raise ValueError(f"{key} is empty")
    return trimmed


def _plain(key: str, value: int | float) -> str:
    """A number without an exponent, as a person writes it."""
    if isinstance(value, int):  # it may be too large for a float
        return str(value)
    if not math.isfinite(value):
        raise ValueError(f"{key} is not a finite number: {value}")
    return str(int(value)) if value == int(value) else format(Decimal(repr(value)), "f")
