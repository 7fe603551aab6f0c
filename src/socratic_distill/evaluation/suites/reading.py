"""Reads the data of suites: rows of any container that seeds files may have, and YAML."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from socratic_distill.dialogues.reading.packed import Source
from socratic_distill.dialogues.reading.sources import rows_of
from socratic_distill.errors import SuiteError


def read_rows_of(path: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a file, in order.

    Args:
        path: the file, or a directory that `datasets` saved.
        limit: at most so many; None: all.

    Raises:
        SuiteError: it cannot be read.
    """
    for row in islice(rows_of(Source(path, "item", SuiteError)), limit):
        if row.problem is not None:
            raise SuiteError(f"{path}, {row.place}: {row.problem}")
        yield row.values


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        SuiteError: it cannot be read, or holds no mapping.
    """
    try:
        value = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise SuiteError(f"{path} cannot be read: {error}; expected the suite's published files") from error
    if not isinstance(value, dict):
        raise SuiteError(f"{path} holds no mapping; expected the suite's published files")
    return value


def text_of(row: object, key: str) -> str:
    """The text in a row's field.

    Raises:
        SuiteError: it has no such text.
    """
    value = row.get(key) if isinstance(row, Mapping) else None
    if not isinstance(value, str):
        raise SuiteError(f"a row has no text {key!r}, but {value!r:.60}; expected the suite's published data")
    return value
