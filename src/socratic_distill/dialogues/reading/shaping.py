"""Changes rows before their format is recognised: renames columns, or calls a function of the user."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from socratic_distill.config.functions import import_function

Shape = Callable[[dict[str, Any]], dict[str, Any] | None]


def renamed(columns: Mapping[Any, str], known: Sequence[str]) -> Shape:
    """Makes rows of our own format: the named columns, and those that have our names already.

    The function raises `ValueError` for a row that lacks a column.

    Args:
        columns: the source's column for each of our keys.
        known: all of our keys.
    """
    taken = set(columns.values())
    kept = [key for key in known if key not in columns and key not in taken]

    def shape(row: dict[str, Any]) -> dict[str, Any]:
        ours = {key: row[key] for key in kept if key in row}
        return ours | {key: _column(row, key, column) for key, column in columns.items()}

    return shape


def relabelled(columns: Mapping[str, str]) -> Shape:
    """Renames columns, and keeps all others.

    The function raises `ValueError` for a row that lacks a column.

    Args:
        columns: the source's column for each key of a format.
    """
    taken = set(columns.values())

    def shape(row: dict[str, Any]) -> dict[str, Any]:
        ours = {key: value for key, value in row.items() if key not in taken}
        return ours | {key: _column(row, key, column) for key, column in columns.items()}

    return shape


def _column(row: dict[str, Any], key: str, column: str) -> Any:
    if column not in row:
        close = difflib.get_close_matches(column, [str(name) for name in row], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"they are {sorted(map(str, row))}"
        raise ValueError(f"columns gives {key!r} the column {column!r}, which is none of its keys; {hint}")
    return row[column]


def mapped(path: str, what: str) -> Shape:
    """Calls a function of the user; the caller has checked that its code may run.

    The returned function raises `ValueError` if the user's raises any error, or returns something else than a dict.

    Args:
        path: where the function is, as 'module:name'.
        what: content of the file, such as "seed".

    Raises:
        ConfigError: there is no such function.
    """
    expected = f"takes a row and returns one of our own format, such as {{name}}(row) -> {{'question': …}} for a {what}"
    function = import_function(path, f"the {what}s' function", expected)

    def shape(row: dict[str, Any]) -> dict[str, Any] | None:
        try:
            made = function(row)
        except Exception as error:  # code of the user may raise anything
            raise ValueError(f"the function {path!r} raised {type(error).__name__}: {error}") from error
        if made is not None and not isinstance(made, dict):
            kind = type(made).__name__
            raise ValueError(f"the function {path!r} returned {kind}; expected a dict, or None to leave the row out")
        return made

    return shape
