"""Settings that change over the run, at a step: learning rate, Adam's parameters, turns in a dialogue. Pure."""

import math

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.values import eased, value

# A step at which every schedule has ended.
LATE_STEP = 10**9


def learning_rate(config: SocraticConfig, step: int, total: int) -> float:
    """Adam's learning rate at a step.

    It rises linearly over the first `lr_warmup_steps`; the last of them, and the step after it, have `learning_rate`.
    From there it is constant, or falls towards 0. It would reach 0 at step `total`, so that the run's last step,
    `total - 1`, still learns.

    Args:
        config: with `learning_rate`, `lr_schedule` and `lr_warmup_steps`.
        step: number of the step, from 0.
        total: steps in the run; ignored if the rate is constant.
    """
    warmup = config.lr_warmup_steps
    if step < warmup:
        return config.learning_rate * ((step + 1) / warmup)
    if config.lr_schedule == "constant":
        return config.learning_rate
    if step >= total:
        return 0.0
    remaining = (total - step) / (total - warmup)
    return config.learning_rate * (eased(remaining) if config.lr_schedule == "cosine" else remaining)


def adam(config: SocraticConfig, step: int, total: int) -> dict[str, float]:
    """The keywords of `tinker.AdamParams` for a step; `step` and `total` as in `learning_rate`."""
    return {
        "learning_rate": learning_rate(config, step, total),
        "beta1": config.adam_beta1,
        "beta2": config.adam_beta2,
        "eps": config.adam_eps,
        "weight_decay": config.weight_decay,
        "grad_clip_norm": config.grad_clip_norm,
    }


def take_over(config: SocraticConfig, step: int) -> int | None:
    """Number of a recording's last tutor turns that the tutor speaks itself at a step; None: all stay as they are."""
    if config.recordings is None or config.recordings.take_over is None:
        return None
    return max(1, math.floor(round(value(config.recordings.take_over, step), 9)))


def turns(config: SocraticConfig, step: int) -> int:
    """Maximum number of tutor turns in this step's dialogues: `max_turns`, or its schedule rounded down; at least 1."""
    if config.max_turns_schedule is None:
        return config.max_turns
    # Half a cosine may be computed as 2.9999999999999996, which has to count as 3.
    return max(1, math.floor(round(value(config.max_turns_schedule, step), 9)))
