"""What a step's settings are where they change over the run: learning rate, longest dialogue, weights. Pure."""

import math

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.values import eased, value


def learning_rate(config: SocraticConfig, step: int, total: int) -> float:
    """Adam's learning rate at a step.

    It rises evenly over the first `lr_warmup_steps`, the last of which has `learning_rate`. The step after them has
    `learning_rate` too, and from there it stays, or falls to what would be 0 at `total`: the run's last step still
    learns.

    Args:
        config: with `learning_rate`, `lr_schedule` and `lr_warmup_steps`.
        step: number of the step, from 0.
        total: steps in the run; without effect on a constant rate.
    """
    warmup = config.lr_warmup_steps
    if step < warmup:
        return config.learning_rate * ((step + 1) / warmup)
    if config.lr_schedule == "constant":
        return config.learning_rate
    if step >= total:
        return 0.0
    left = (total - step) / (total - warmup)
    return config.learning_rate * (eased(left) if config.lr_schedule == "cosine" else left)


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


def turns(config: SocraticConfig, step: int) -> int:
    """Most tutor turns in a dialogue of this step's batch: `max_turns`, or its schedule rounded down; at least 1."""
    if config.max_turns_schedule is None:
        return config.max_turns
    # Half of a cosine's way may come out as 2.9999999999999996, which means 3.
    return max(1, math.floor(round(value(config.max_turns_schedule, step), 9)))
