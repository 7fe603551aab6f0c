"""Types of single values, with their bounds, and the base class of a config's parts."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    model_validator,
)

from socratic_distill.config.display import Shortened
from socratic_distill.config.messages import explain, plain, unknown_in_part
from socratic_distill.config.paths import GivenPath, PlacedText, given_model, given_path
from socratic_distill.errors import ConfigError
from socratic_distill.text import refuse_secrets


def _path(value: object) -> object:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("expected a path, as a str or os.PathLike")
    return os.fspath(value)


def _resolved_path(value: object, check: Callable[[object], str]) -> str:
    text = check(value)  # a plain str, whatever the class of the value
    return given_path(value if isinstance(value, GivenPath | PlacedText) else text)


def _resolved_model(value: object, check: Callable[[object], str]) -> str:
    text = check(value)
    return value if isinstance(value, GivenPath) else given_model(value if isinstance(value, PlacedText) else text)


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
# 'module:name' of a function of the user.
FunctionPath = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
# Upper bounds are far above real use. They stop typing errors such as 10**30, which would exhaust memory, overflow
# 32-bit numbers or reach a service.
Count = Annotated[int, Field(ge=1, le=10**9, strict=True)]
Tens = Annotated[int, Field(ge=1, le=10_000, strict=True)]  # for counts that are usually in the tens
Groups = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Steps = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
Tokens = Annotated[int, Field(ge=1, le=2**24, strict=True)]
Positive = Annotated[float, Field(gt=0.0, le=1e12, strict=True)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e12, strict=True)]
Factor = Annotated[float, Field(ge=0.0, le=1e4, strict=True)]


def _not_zero(value: float) -> float:
    if value == 0.0:
        raise ValueError("expected another number than 0")
    return value


TeacherWeight = Annotated[float, Field(ge=-1e6, le=1e12, strict=True), AfterValidator(_not_zero)]
RewardWeight = Annotated[float, Field(ge=-1e6, le=1e6, strict=True)]
Share = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]


# How a turn is compared with a problem's answer.
AnswerKind = Literal["number", "expression", "choice", "text", "judged", "function", "none"]
# Variables of a chat template, by name.
LoraTarget = Literal["attention", "mlp", "unembed"]
# Arguments of the SDK's `create_lora_training_client`.
LORA_FLAGS: dict[LoraTarget, str] = {"attention": "train_attn", "mlp": "train_mlp", "unembed": "train_unembed"}
Reasoning = Literal["off", "on", "low", "medium", "high", "max"]
_Number = Field(ge=-(10**9), le=10**9)
TemplateOptions = Mapping[
    Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")],
    bool | Annotated[int, _Number] | Annotated[float, _Number] | Annotated[str, Field(max_length=10_000)],
]


class _Checked(type(BaseModel)):
    """Raises ConfigError instead of pydantic's error when a part is built on its own."""

    def __call__(cls, *arguments: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*arguments, **plain(fields))
        except ValidationError as error:
            problems = explain(error, cast(type[BaseModel], cls))
        # Raised outside the handler, since pydantic's error as its context would show the values that were given.
        raise ConfigError(problems)


class Setting(Shortened, BaseModel, metaclass=_Checked):
    """Base class of the parts of a config.

    Raises:
        ConfigError: a field is unknown, or has an invalid value.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        problem = unknown_in_part(data, cls.model_fields) if isinstance(data, Mapping) else None
        if problem is not None:
            raise ValueError(problem)
        return data


class Section(BaseModel):
    """Base class of the sections."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), hide_input_in_errors=True
    )


class Schedule(Setting):
    """A number that changes from `start` at step 0 to `end` at step `steps`, and then stays constant."""

    start: Factor = Field(description="Value at step 0.")
    end: Factor = Field(description="Value from step `steps` on.")
    steps: Steps = Field(description="Number of steps that the change takes.")
    shape: Literal["linear", "cosine"] = Field(default="linear", description="'cosine' starts and ends slowly.")


def value(number: float | Schedule, step: int) -> float:
    """A number at a step, from 0: the number itself, or the schedule's value at that step.

    >>> [value(Schedule(start=1.0, end=2.0, steps=4), step) for step in (0, 1, 4, 9)]
    [1.0, 1.25, 2.0, 2.0]
    """
    if not isinstance(number, Schedule):
        return float(number)
    if step >= number.steps:
        return number.end
    change = number.end - number.start
    if number.shape == "cosine":
        return number.start + change * eased(step / number.steps)
    # Multiplying before dividing keeps whole numbers exact, such as the turns of `max_turns_schedule`.
    return number.start + change * step / number.steps


def eased(share: float) -> float:
    """Half a cosine wave, from 0 at share 0 to 1 at share 1."""
    # As a squared sine and not (1 - cos) / 2, which rounds to 0 for small shares.
    return math.sin(0.5 * math.pi * share) ** 2
