"""The service's losses on log-probabilities and advantages, and the options that each takes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from socratic_distill.config.values import Section

LossName = Literal["importance_sampling", "ppo", "cispo", "gspo", "dro"]

LARGEST_OPTION = 1e12  # far above real use, as the bounds of other numbers of a config


@dataclass(frozen=True)
class _Option:
    """An option: its default, and its range."""

    default: float
    least: float
    most: float = LARGEST_OPTION

    @property
    def bounds(self) -> str:
        return f"{self.least:g} or more" if self.most == LARGEST_OPTION else f"{self.least:g} to {self.most:g}"


# Tinker's defaults. Other servers have others, so all options are always sent.
_CLIP = {"clip_low_threshold": _Option(0.8, 0.0, 1.0), "clip_high_threshold": _Option(1.2, 1.0)}
_OPTIONS: Mapping[str, Mapping[str, _Option]] = {
    "importance_sampling": {},
    "ppo": _CLIP,
    "cispo": _CLIP,
    "gspo": _CLIP,
    "dro": {"beta": _Option(0.01, 0.0)},  # TuFT's default
}


# The bounds are checked by `problem_with_options`, whose message says what the loss takes.
LossOptions = Mapping[
    str, Annotated[float, Field(strict=True, allow_inf_nan=True, json_schema_extra={"maximum": LARGEST_OPTION})]
]


class PolicyLoss(Section):
    """How tokens with an advantage are trained."""

    loss_fn: LossName = Field(
        "importance_sampling",
        description="The service's loss function on log-probabilities and advantages. Not every server has 'gspo' and "
        "'dro'.",
    )
    loss_fn_options: LossOptions = Field(
        {},
        description="Options of loss_fn by name: clip_low_threshold and clip_high_threshold of 'ppo', 'cispo' and "
        "'gspo', 0.8 and 1.2 by default; beta of 'dro', 0.01 by default.",
    )
    max_probability_change: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] | None = Field(
        None,
        description="A token whose probability moved by more than this since it was sampled takes no part in the "
        "policy loss. It costs one more training cycle. None: every token takes part.",
    )

    @property
    def counts_context(self) -> bool:
        """Whether servers compute the loss over all tokens of a datum, those without an advantage too."""
        return self.loss_fn in ("gspo", "dro")

    @property
    def policy_needs_forward(self) -> bool:
        """Whether its data depend on the tutor's current log-probabilities, which takes a forward pass."""
        return self.counts_context or self.max_probability_change is not None


def loss_options(loss_fn: LossName, given: Mapping[str, float]) -> dict[str, float]:
    """The options to send with a loss: those given, and the defaults of the others; empty if it takes none.

    >>> loss_options("ppo", {"clip_low_threshold": 0.5}), loss_options("importance_sampling", {})
    ({'clip_low_threshold': 0.5, 'clip_high_threshold': 1.2}, {})
    """
    return {name: float(given.get(name, option.default)) for name, option in _OPTIONS[loss_fn].items()}


def problem_with_options(loss_fn: LossName, given: Mapping[str, float]) -> str | None:
    """Why a loss does not take these options, and what it takes; None if it takes them."""
    takes = _OPTIONS[loss_fn]
    if given and not takes:
        others = ", ".join(name for name, options in _OPTIONS.items() if options)
        return f"loss_fn_options are set, but {loss_fn!r} takes none; leave them out, or set loss_fn to one of {others}"
    expected = " and ".join(f"{name} ({option.bounds})" for name, option in takes.items())
    for name, number in given.items():
        if name not in takes:
            return f"loss_fn_options has {name!r}; {loss_fn!r} takes {expected}"
        if not takes[name].least <= number <= takes[name].most:  # nan is in no range
            return f"loss_fn_options.{name}={number:g}; {loss_fn!r} takes {expected}"
    return None
