"""Which format a row has, by its keys, and what is nearest if it has none."""

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

# What users call the columns of a problem and its answer, for the proposal in a message.
_QUESTIONS = ("problem", "prompt", "query", "input", "instruction", "task", "text", "question_text")
_ANSWERS = (
    "ground_truth",
    "solution",
    "answer",
    "final_answer",
    "target",
    "output",
    "label",
    "response",
    "completion",
    "reference",
)
_NEAR = 1 / 3  # of its keys, for a format to be named as the nearest


class Format(BaseModel):
    """Base class of the formats: a pydantic model of a row. Unlisted keys are ignored.

    Attributes:
        title: its name in messages.
        preset: its name in a config.
        keys: the keys that a row of it has; several sets if it was published with several.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=())
    title: ClassVar[str]
    preset: ClassVar[str]
    keys: ClassVar[tuple[tuple[str, ...], ...]]

    @classmethod
    def fits(cls, row: dict[str, Any]) -> bool:
        """Whether a row has this format's keys."""
        return any(row.keys() >= set(keys) for keys in cls.keys)


F = TypeVar("F", bound=Format)


class Recogniser(Generic[F]):
    """Finds the format of each row of one source; all rows must have the first one's."""

    def __init__(self, formats: Sequence[type[F]], preset: str | None, mixed: str, unknown: str = "") -> None:
        """Takes the formats.

        Args:
            formats: in the order that they are tried.
            preset: the format that the user named; None: by keys.
            mixed: what to do with a file of mixed formats.
            unknown: the format to write rows of no known format in; "": columns can be named.
        """
        self._formats, self._mixed, self._unknown_as = formats, mixed, unknown
        self._named = next((kind for kind in formats if kind.preset == preset), None)
        self._first: type[F] | None = self._named
        self._known: dict[tuple[str, ...], type[F]] = {}  # formats by rows' keys, since most rows have the same

    @property
    def first(self) -> type[F] | None:
        """The source's format; None before its first row."""
        return self._first

    def format_of(self, row: dict[str, Any]) -> type[F]:
        """The format of a row.

        Raises:
            ValueError: it has none, or another than the source's first row.
        """
        if self._named is not None:
            return self._named
        keys = tuple(row)
        if (kind := self._known.get(keys)) is None:
            kind = self._find(row)
            if self._first is not None and kind is not self._first:
                raise ValueError(
                    f"keys {sorted(map(str, row))} are of the format {kind.title}, the file's first line is of "
                    f"{self._first.title}; {self._mixed}"
                )
            self._first = self._known[keys] = kind
        return kind

    def _find(self, row: dict[str, Any]) -> type[F]:
        # A row may lack a key that the format can do without, so the first row's format is tried first.
        tried = self._formats if self._first is None else (self._first, *self._formats)
        kind = next((kind for kind in tried if kind.fits(row)), None)
        if kind is None:
            raise ValueError(self._unknown(row))
        return kind

    def _unknown(self, row: dict[str, Any]) -> str:
        nearest, keys = max(
            ((kind, keys) for kind in self._formats for keys in kind.keys), key=lambda entry: _nearness(row, entry[1])
        )
        if _nearness(row, keys) < _NEAR:
            known = ", ".join(kind.title for kind in self._formats)
            return f"keys {sorted(map(str, row))} are of no known format ({known}). {self._proposal(row)}"
        missing = [key for key in keys if key not in row]
        message = (
            f"keys {sorted(map(str, row))} are of no known format; the nearest is {nearest.title}, which also has "
        )
        return message + ", ".join(map(repr, missing)) + f". {self._proposal(row)}"

    def _proposal(self, row: dict[str, Any]) -> str:
        """What to do with a row of no known format."""
        if self._unknown_as:
            return f'Name the columns, columns={{"{self._unknown_as}": "…"}}, or give a map function'
        question, answer = _guess(row, "question", _QUESTIONS), _guess(row, "expected_answer", _ANSWERS)
        columns = f'{{"question": {question}, "expected_answer": {answer}}}'
        return f"Name the columns, columns={columns}, or give a map function"


def _nearness(row: dict[str, Any], keys: Sequence[str]) -> float:
    """How much of a format's keys a row has; a key that is written almost so counts half."""
    close = sum(
        0.5 for key in keys if key not in row and difflib.get_close_matches(key, map(str, row), n=1, cutoff=0.75)
    )
    return (sum(key in row for key in keys) + close) / len(keys)


def _guess(row: dict[str, Any], ours: str, names: Sequence[str]) -> str:
    column = next((key for name in (ours, *names) for key in row if str(key).casefold() == name), None)
    return '"…"' if column is None else f'"{column}"'
