"""Types of single values, with their bounds, and the base of all parts of a config."""

import math
import os
from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WrapValidator

from socratic_distill.config.messages import explain, plain
from socratic_distill.config.paths import GivenPath, given_model, given_path
from socratic_distill.errors import ConfigError
from socratic_distill.text import refuse_secrets


def _path(value: object) -> object:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("expected a path, as a str or os.PathLike")
    return os.fspath(value)


def _resolved_path(value: object, check: Callable[[object], str]) -> str:
    text = check(value)
    return value if isinstance(value, GivenPath) else given_path(text)


def _resolved_model(value: object, check: Callable[[object], str]) -> str:
    text = check(value)
    return value if isinstance(value, GivenPath) else given_model(text)


PathText = Annotated[
    str,
    BeforeValidator(_path),
    Field(min_length=1),
    AfterValidator(refuse_secrets),
    WrapValidator(_resolved_path),
]
Name = Annotated[str, Field(min_length=1, strict=True), AfterValidator(refuse_secrets)]
# A model's name may be a path.
ModelName = Annotated[Name, WrapValidator(_resolved_model)]
# Upper bounds are far above what anybody does. They keep slips such as 10**30 from services, memory and 32-bit numbers.
Count = Annotated[int, Field(ge=1, le=10**9, strict=True)]
Tens = Annotated[int, Field(ge=1, le=10_000, strict=True)]  # of what a batch has tens of
Groups = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Steps = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
Tokens = Annotated[int, Field(ge=1, le=2**24, strict=True)]
Positive = Annotated[float, Field(gt=0.0, le=1e12, strict=True)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e12, strict=True)]
Factor = Annotated[float, Field(ge=0.0, le=1e4, strict=True)]
RewardWeight = Annotated[float, Field(ge=-1e6, le=1e6, strict=True)]
Share = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]


class _Checked(type(BaseModel)):
    """Gives our error where a user builds a part; parts within a config are told of by the config's."""

    def __call__(cls, *arguments: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*arguments, **plain(fields))
        except ValidationError as error:
            problems = explain(error, cast(type[BaseModel], cls))
        raise ConfigError(problems)  # outside the handler: pydantic's error, with all that was given, is no context


class Setting(BaseModel, metaclass=_Checked):
    """What all parts have in common.

    Raises:
        ConfigError: a field is unknown, or its value cannot be meant.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )


class Schedule(Setting):
    """A number that goes from `start` at step 0 to `end` at step `steps`, and stays there."""

    start: Factor = Field(description="Value at step 0.")
    end: Factor = Field(description="Value from step `steps` on.")
    steps: Steps = Field(description="Steps that the way takes.")
    shape: Literal["linear", "cosine"] = Field(default="linear", description="'cosine' begins and ends slowly.")


def value(number: float | Schedule, step: int) -> float:
    """A number at a step, from 0: itself, or where its schedule has come to.

    >>> [value(Schedule(start=1.0, end=2.0, steps=4), step) for step in (0, 1, 4, 9)]
    [1.0, 1.25, 2.0, 2.0]
    """
    if not isinstance(number, Schedule):
        return float(number)
    if step >= number.steps:
        return number.end
    way = number.end - number.start
    if number.shape == "cosine":
        return number.start + way * eased(step / number.steps)
    # Multiplied first: a whole number on the way then comes out whole.
    return number.start + way * step / number.steps


def eased(share: float) -> float:
    """Half a cosine wave from 0 at 0 to 1 at 1. As a squared sine it is above 0 however small the share is."""
    return math.sin(0.5 * math.pi * share) ** 2
