"""Config documents: YAML, TOML and JSON files as plain values, with the place of every value for messages."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from socratic_distill.config.document_parts import MOST_DEPTH, Location, Parts
from socratic_distill.config.json_documents import read_json
from socratic_distill.config.yaml_documents import read_yaml
from socratic_distill.errors import ConfigError
from socratic_distill.files.durable import open_regular
from socratic_distill.files.rows import reason_of

SUFFIXES = (".yaml", ".yml", ".toml", ".json")
"""Endings of the files that are config documents."""
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Document:
    """A config document.

    Attributes:
        source: the file, as it was given.
        values: its fields, as plain values.
        lines: the line of each key and list item, from 1. Empty for TOML: Python's parser does not tell them.
    """

    source: str
    values: dict[str, Any]
    lines: Mapping[Location, int] = field(default_factory=dict)

    def place(self, location: Location) -> str:
        """Where a value stands, for messages: `FILE:LINE`; in TOML the file and the dotted key.

        Args:
            location: its location. Parts that the document does not have are passed over, such as the kind of an
                objective, which pydantic puts into its locations.
        """
        known = self.nearest(location)
        if known in self.lines:
            return f"{self.source}:{self.lines[known]}"
        return f"{self.source}, {dotted(known)}" if known else self.source

    def nearest(self, location: Location) -> Location:
        """The location of the innermost value of the document on the way to a location."""
        value: Any = self.values
        known: Location = ()
        for part in location:
            if (isinstance(value, dict) and part in value) or (
                isinstance(value, list) and isinstance(part, int) and part < len(value)
            ):
                value, known = cast(Any, value)[part], (*known, part)
        return known


def dotted(location: Location) -> str:
    """A location as a dotted key, such as `teachers.0.weight`."""
    return ".".join(map(str, location))


def read_document(path: Path) -> Document:
    """Reads a config document; its ending says which format it has.

    Args:
        path: a .yaml, .yml, .toml or .json file of at most 1 MiB.

    Raises:
        ConfigError: it cannot be read, or is not one mapping of fields.
    """
    source = os.fspath(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{source} has no known ending; expected a file that ends in {', '.join(SUFFIXES)}")
    text = _read(path, source)
    if path.suffix == ".toml":
        return Document(source, _read_toml(text, source))
    parts: Parts = (read_json if path.suffix == ".json" else read_yaml)(text, source)
    if not isinstance(parts.value, dict):
        what = "empty" if parts.value is None else "no mapping of fields"
        raise ConfigError(f"{source} is {what}; expected the fields of a config, such as learning_rate and its value")
    return Document(source, parts.value, parts.lines)


def _read(path: Path, source: str) -> str:
    try:
        # The user named the file: a link may lead anywhere.
        with open_regular(Path(os.path.realpath(path))) as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{source} does not exist; expected a config file, or the directory of a run") from None
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {reason_of(error)}") from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{source} is larger than 1 MiB; expected a config file. Seeds belong into seeds_file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: it is not UTF-8 text; save the file as UTF-8") from None


def _read_toml(text: str, source: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{source} is nested more than {MOST_DEPTH} levels deep") from None
    except ValueError as error:
        raise ConfigError(f"{source} is not TOML: {error}") from None
    level: list[tuple[Location, Any]] = [((), values)]
    for _ in range(MOST_DEPTH + 1):
        level = [(key, item) for key, value in level for key, item in _items(key, value)]
        if not level:
            return values
    raise ConfigError(f"{source}, {dotted(level[0][0][:1])}: it is nested more than {MOST_DEPTH} levels deep")


def _items(location: Location, value: Any) -> list[tuple[Location, Any]]:
    if isinstance(value, dict):
        return [((*location, key), item) for key, item in value.items()]
    return [((*location, number), item) for number, item in enumerate(value)] if isinstance(value, list) else []
