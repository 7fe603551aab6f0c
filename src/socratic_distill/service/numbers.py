"""Numbers that a service answers with: what a run can be trained on, and what would spoil its weights. Pure.

One NaN among a batch's log-probabilities makes every weight NaN, and so does a number that 32 bits do not hold. Such
numbers are refused where they come in: a dialogue that holds one fails, and a training step that answers with one
stops the run.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

LOWEST = -1e6
"""Least log-probability, nats. Models stay far above it; below it stand masks, such as -1e30 and float32's least."""

HIGHEST = 0.1
"""Largest log-probability, nats. It is 0 in exact numbers; a server that computes in 16 bits may round above it."""

FLOAT32 = float(np.finfo(np.float32).max)
"""The largest number that services take, which compute in 32 bits."""

UNUSABLE = "is no log-probability"
"""Stands in every error about a value out of this range."""


def first_bad(logprobs: npt.NDArray[np.floating]) -> tuple[int, ...] | None:
    """Where the first value stands that is NaN, infinite, below `LOWEST` or above `HIGHEST`; None if there is none.

    Args:
        logprobs: log-probabilities, nats, of any shape.
    """
    good = (logprobs >= LOWEST) & (logprobs <= HIGHEST)  # NaN is in no range
    if good.all():
        return None
    return tuple(int(index) for index in np.argwhere(~good)[0])


def explain_bad(value: object) -> str:
    """What is wrong with a log-probability that `first_bad` found, as the end of a sentence."""
    return f"{value}, which {UNUSABLE}; expected a number from {LOWEST:g} to 0 nats"


def not_finite(values: Mapping[str, float]) -> str | None:
    """The name of the first value that is NaN, infinite or beyond 32 bits; None if there is none."""
    return next((name for name, value in values.items() if not is_finite(value)), None)


def is_finite(value: float) -> bool:
    """Whether 32 bits hold a number."""
    return math.isfinite(value) and abs(value) <= FLOAT32
