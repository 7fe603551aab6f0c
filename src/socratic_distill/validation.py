"""What pydantic finds wrong with a config, in our words."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from socratic_distill.errors import ConfigError
from socratic_distill.redaction import redacted


def refuse_unknown(data: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Refuses a field that is not known, and names the closest one.

    Raises:
        ConfigError: there is one.
    """
    names = sorted(known)
    for name in data:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the fields are: {', '.join(names)}"
            raise ConfigError(f"unknown {what} field {name!r}; {hint}")


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line a problem: the field, what was given without secrets, what was expected."""
    lines = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            lines.append(f"{field} is missing: {model.model_fields[str(problem['loc'][0])].description}")
        elif problem["type"] == "union_tag_not_found":
            lines.append(f"{field}={problem['input']!r}: it does not say which kind it is; add 'kind'")
        elif field:
            lines.append(f"{field}={problem['input']!r}: {reason[0].lower() + reason[1:]}")
        else:
            lines.append(reason)
    return redacted("; ".join(lines))
