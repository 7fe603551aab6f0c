"""Builds a config from a document and the overrides of the command line; errors name the place of each problem."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.document_parts import Location
from socratic_distill.config.documents import Document
from socratic_distill.config.overrides import Override, apply, texts_in
from socratic_distill.config.paths import STORED_AS, PlacedText
from socratic_distill.errors import ConfigError
from socratic_distill.text import redacted

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class _Places:
    """Where each value of a config was written.

    Attributes:
        document: the document, with the values that the overrides left.
        overrides: the texts of overrides, by location.
    """

    document: Document
    overrides: Mapping[Location, str] = field(default_factory=dict)

    def name(self, location: Location, text: str) -> str:
        """The place of a problem: an override, a line, or the document.

        Args:
            location: as pydantic has it; empty for a rule between fields.
            text: the problem. The place of a rule is the first field that the text names, or whose value it quotes.
        """
        if not location:
            values = self.document.values
            named = [(word,) for word in _WORD.findall(text) if word in values]
            quoted = [(name,) for name, value in values.items() if isinstance(value, str) and repr(value) in text]
            location = next(iter(named + quoted), ())
        known = self.document.nearest(location)
        for end in range(len(known), 0, -1):
            if known[:end] in self.overrides:
                return f"override {self.overrides[known[:end]]!r}"
        below = [override for location, override in self.overrides.items() if known and location[: len(known)] == known]
        if below and known not in self.document.lines:
            return f"override {below[0]!r}"
        return self.document.place(location)


def build(document: Document, overrides: Sequence[Override], base: str | None, here: str) -> SocraticConfig:
    """The config that a document and overrides describe.

    Args:
        document: the fields.
        overrides: changes of them.
        base: directory that paths in the document are relative to; None: the paths are those of a run's config.json.
        here: the working directory, which paths in overrides are relative to.

    Raises:
        ConfigError: fields are unknown, missing or have invalid values. The message names the place of each.
    """
    values: Any = copy.deepcopy(document.values)
    stored = values.pop(STORED_AS, None)
    written = set(texts_in(values))
    if base is not None:
        kept = stored if isinstance(stored, dict) else {}
        values = _placed(values, lambda text: text if text in kept else PlacedText(text, base))
    elsewhere = written if here != base else set[str]()
    placed = [
        Override(
            override.text,
            override.keys,
            _placed(override.value, lambda text: PlacedText(text, here, in_full=text in elsewhere)),
        )
        for override in overrides
    ]
    places = _Places(Document(document.source, values, document.lines), apply(values, placed))
    try:
        return SocraticConfig(**(values | {STORED_AS: stored}))
    except ConfigError as error:
        problems = error.problems or [((), str(error))]
    raise ConfigError(
        redacted(_message(document.source, [(places.name(*problem), problem[1]) for problem in problems]))
    )


def _message(source: str, problems: Sequence[tuple[str, str]]) -> str:
    if len(problems) == 1:
        return ": ".join(problems[0])
    lines = [text if place == source else f"{place}: {text}" for place, text in problems]
    return "\n  ".join([f"{source} has {len(lines)} problems:", *lines])


def named_paths(overrides: Sequence[Override], here: str) -> frozenset[str]:
    """The paths that overrides may name, as the config may hold them; the user gave each of them.

    Args:
        overrides: the overrides.
        here: the working directory.
    """
    texts = {text for override in overrides for text in texts_in(override.value)}
    texts |= {text.rpartition("#")[0] for text in texts}  # `<run directory>#<name of a checkpoint>`
    return frozenset(texts | {PlacedText(text, here, in_full=True).path for text in texts} - {""})


def _placed(value: Any, place: Callable[[str], str]) -> Any:
    """The same value with its texts bound to a directory, in case they are paths.

    Args:
        value: a plain value.
        place: binds a text.
    """
    if isinstance(value, str):
        return place(value)
    if isinstance(value, dict):
        return {key: _placed(part, place) for key, part in value.items()}
    return [_placed(part, place) for part in value] if isinstance(value, list) else value
