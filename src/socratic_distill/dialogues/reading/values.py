"""Types of single values in users' rows, and pydantic's errors about them as plain messages."""

import json
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationError

from socratic_distill.config.values import AnswerKind
from socratic_distill.dialogues.seed import ANSWER_KINDS

# Fields that prompts can use on every seed, in addition to its private fields.
SHARED_FIELDS = ("question", "expected_answer", "initial_error", "student_profile")
# Lower-case words only, so that LaTeX such as \frac{1}{2} in a prompt is left unchanged.
FIELD_NAME = re.compile(r"[a-z_]+")
PLACEHOLDER = re.compile(rf"\{{({FIELD_NAME.pattern})\}}")  # of a field, in a prompt
_SURROGATE = re.compile("[\ud800-\udfff]")


class Sentence(ValueError):
    """A message about a part of a value that is complete without the name of the field."""


def as_text(value: Any) -> str:
    """A text, trimmed.

    Raises:
        ValueError: it is no text, or empty.
    """
    if not isinstance(value, str):
        raise ValueError(f"must be text, found {type(value).__name__}: {value!r}")
    if _SURROGATE.search(value):
        raise ValueError("holds half a character (a lone surrogate), which cannot be written as UTF-8")
    trimmed = value.strip()
    if not trimmed:
        raise ValueError("is empty")
    return trimmed


def as_text_or_number(value: Any) -> str:
    """A text, trimmed; or a number without an exponent, as a person writes it.

    Raises:
        ValueError: it is neither, or empty, or not finite.
    """
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, int) and not isinstance(value, bool):  # it may be too large for a float
        return str(value)
    if not isinstance(value, float | Decimal):
        raise ValueError(f"must be text or a number, found {type(value).__name__}: {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"is not a finite number: {value}")
    return (
        str(int(value))
        if value == int(value)
        else format(Decimal(repr(value) if isinstance(value, float) else value), "f")
    )


def _optional_text(value: Any) -> str | None:
    return None if value is None else as_text(value)


def _optional_text_or_number(value: Any) -> str | None:
    return None if value is None else as_text_or_number(value)


def from_json(value: Any) -> Any:
    """A list or an object that a cell of a table holds as JSON; any other value unchanged."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _facts(value: Any) -> tuple[tuple[str, str], ...]:
    """Private facts by name, as pairs sorted by name."""
    value = from_json(value)
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise ValueError(f'must be an object such as {{"hint": "..."}}, found {type(value).__name__}: {value!r}')
    facts = []
    for name in sorted(value, key=str):
        if not isinstance(name, str) or not FIELD_NAME.fullmatch(name):
            raise ValueError(f"has the name {name!r}; expected lower-case letters and underscores")
        if name in SHARED_FIELDS:
            raise ValueError(f"has the name {name!r}, which is reserved for the seed's {name}; use another name")
        try:
            facts.append((name, as_text_or_number(value[name])))
        except ValueError as error:
            raise Sentence(f"fields.{name} {error}") from None
    return tuple(facts)


def _texts(value: Any) -> Any:
    value = from_json(value)
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list of texts, or one text, found {type(value).__name__}: {value!r}")
    return value


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        twice = sorted({value for value in values if values.count(value) > 1})
        raise ValueError(f"holds {twice[0]!r} more than once; keep one")
    return values


def _kind(value: Any) -> AnswerKind | None:
    if value is not None and value not in ANSWER_KINDS:
        raise ValueError(f"must be one of {', '.join(ANSWER_KINDS)}, found {type(value).__name__}: {value!r}")
    return value


def _switch(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):  # a cell of a table
        return value.strip().lower() == "true"
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"must be true or false, found {type(value).__name__}: {value!r}")
    return bool(value)


# What pydantic's own checks expect.
_EXPECTED = {"string_type": "text", "list_type": "a list", "dict_type": "an object", "model_type": "an object"}

Text = Annotated[str, PlainValidator(as_text)]
TextOrNumber = Annotated[str, PlainValidator(as_text_or_number)]
OptionalText = Annotated[str | None, PlainValidator(_optional_text)]
OptionalTextOrNumber = Annotated[str | None, PlainValidator(_optional_text_or_number)]
Texts = Annotated[tuple[TextOrNumber, ...], BeforeValidator(_texts)]
Tags = Annotated[tuple[Text, ...], BeforeValidator(_texts), AfterValidator(_once)]
Facts = Annotated[tuple[tuple[str, str], ...], PlainValidator(_facts)]
Kind = Annotated[AnswerKind | None, PlainValidator(_kind)]
Switch = Annotated[bool, PlainValidator(_switch)]


def problem_of(error: ValidationError, known: Iterable[str] = ()) -> str:
    """What is wrong with a row: its first problem, or all unknown keys.

    Args:
        error: of the row.
        known: the keys that its format allows, if it refuses others.
    """
    problems = error.errors(include_url=False)
    unknown = sorted(str(problem["loc"][0]) for problem in problems if problem["type"] == "extra_forbidden")
    if unknown:
        return f"unknown keys {unknown}; known are {', '.join(known)}"
    first = problems[0]
    where = _dotted(first["loc"])
    if first["type"] == "missing":
        return f"{where} is missing"
    message = first["msg"].removeprefix("Value error, ")
    if (expected := _EXPECTED.get(first["type"])) is not None:
        message = f"must be {expected}, found {type(first['input']).__name__}: {first['input']!r:.60}"
    is_sentence = isinstance(first.get("ctx", {}).get("error"), Sentence)
    return f"{where} {message}" if where and not is_sentence else message


def _dotted(location: Iterable[int | str]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")
