"""Turns pydantic's errors about a config into plain messages."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from socratic_distill.config.foreign_names import answer
from socratic_distill.errors import ConfigError
from socratic_distill.text import redacted

_LONGEST = 200  # characters of a value in a message
# Pydantic names the form of a value that may have several; these say no more than the value does.
UNNAMED = ("as a path", "with options")


def refuse_unknown(data: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuses unknown fields of a config, and says what to write instead of each.

    Raises:
        ConfigError: a field is unknown.
    """
    if hints := hints_for(data, known):
        raise ConfigError(unknown_text(hints))


def hints_for(data: Mapping[str, Any], known: Iterable[str]) -> dict[str, str]:
    """What to write instead of each unknown field of a config."""
    names = sorted(known)
    unknown = [name for name in data if name not in names]
    return {name: answer(name) or _closest(name, names, "the fields are") for name in unknown}


def unknown_text(hints: Mapping[str, str]) -> str:
    """The message about unknown fields of a config, of which there is at least one."""
    if len(hints) == 1:
        ((name, hint),) = hints.items()
        return f"unknown config field {name!r}; {hint}"
    return f"{len(hints)} unknown config fields:" + "".join(f"\n  {name!r}: {hint}" for name, hint in hints.items())


def unknown_in_part(data: Mapping[Any, Any], known: Iterable[str]) -> str | None:
    """What to write instead of the first unknown field of a part; None if all are known."""
    names = sorted(known)
    unknown = next((str(name) for name in data if name not in names), None)
    return None if unknown is None else f"it has no field {unknown!r}; {_closest(unknown, names, 'its fields are')}"


def _closest(name: str, names: list[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"{otherwise}: {', '.join(names)}"


def plain(value: Any) -> Any:
    """Converts numpy's numbers and booleans to Python's, inside mappings, lists and tuples too."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    # The dtype tells, so that building a config does not import numpy.
    as_python = {"i": int, "u": int, "f": float, "b": bool}.get(kind)
    return value if as_python is None or getattr(value, "ndim", None) != 0 else as_python(value)


def _quoted(value: object) -> str:
    """A value as it was given, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to convert integers of thousands of digits to text
        return "an integer of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The problems in one line, each with its field, what was given (without secrets) and what was expected."""
    return "; ".join(text for _, text in problems_of(error, model))


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[str | int, ...], str]]:
    """The location of each problem, as pydantic has it, and what `explain` says about it."""
    problems = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"] if part not in UNNAMED)
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            text = f"{field} is missing: {_description(problem['loc'], model)}"
        elif problem["type"] == "union_tag_not_found":
            text = f"{field}={_quoted(problem['input'])}: it does not say which kind it is; add 'kind'"
        elif problem["type"] == "union_tag_invalid":
            text = f"{field}: {_no_kind(problem.get('ctx', {}))}"
        elif field:
            text = f"{field}={_quoted(problem['input'])}: {reason[0].lower() + reason[1:]}"
        else:
            text = reason
        problems.append((problem["loc"], redacted(text)))
    return problems


def _description(location: Sequence[str | int], model: type[BaseModel]) -> str | None:
    """What the field at a location means; its part of the config may be one of several kinds, in a list or alone."""
    models, description = [model], None
    for part in location:
        fields = [part_model.model_fields[str(part)] for part_model in models if str(part) in part_model.model_fields]
        tagged = [part_model for part_model in models if _kind_of(part_model) == part]
        if tagged and len(models) > 1:
            models = tagged
        elif fields:
            models, description = list(_models_in(fields[0].annotation)), fields[0].description
    return description


def _kind_of(model: type[BaseModel]) -> object:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of, such as those of a list or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _no_kind(context: Mapping[str, Any]) -> str:
    given, kinds = str(context.get("tag")), str(context.get("expected_tags"))
    close = difflib.get_close_matches(given, [kind.strip("' ") for kind in kinds.split(",")], n=1)
    return f"there is no kind {_quoted(given)}; " + (f"did you mean {close[0]!r}?" if close else f"expected {kinds}")
