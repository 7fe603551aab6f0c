"""The advantage of every token that the tutor sampled. Pure numpy.

Implements sampled-token reverse KL (Thinking Machines, "On-Policy Distillation", 2025; Agarwal et al., "On-Policy
Distillation of Language Models", 2024). The signal of a token is

    a_t = coef * clip(log p_teacher(t) - log p_tutor(t))

Its advantage is A_t = a_t + discount * A_{t+1}, over the tutor's later tokens of the dialogue. A step up along A is a
step down along KL(tutor || teacher), on the tutor's own dialogues. Tokens that are not trained on have neither signal
nor advantage. With rewards, every trained token also gets the advantage of its dialogue (`reward_advantages.py`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.objectives import ConstantControl, OfSampled
from socratic_distill.dialogues.dialogue import Turn
from socratic_distill.distillation.datums import Floats, Mask


def signals(
    tutor: Sequence[Floats], teacher: Sequence[Floats], masks: Sequence[Mask], coef: float, clip: float | None
) -> Floats:
    """The signals of all tutor tokens of a dialogue, nats times `coef`, `[sum of T]`.

    Args:
        tutor: the tutor's log-probabilities, nats, one array `[T]` a turn.
        teacher: the teacher's log-probabilities, of the same shapes.
        masks: True for the tokens that are trained on, of the same shapes.
        coef: factor of the signal.
        clip: bound on a token's absolute difference, nats; None for no bound.
    """
    flat = [np.where(mask, p - q, 0.0) for q, p, mask in zip(tutor, teacher, masks, strict=True)]  # [T] a turn
    difference = np.concatenate(flat)  # [sum of T]
    return coef * (difference if clip is None else np.clip(difference, -clip, clip))


@dataclass(frozen=True, eq=False)
class SampledTokens:
    """What the signals of a dialogue's tokens are made of.

    Attributes:
        tutor: the tutor's log-probabilities, nats, one array `[T]` a turn.
        teacher: the teacher's log-probabilities, of the same shapes.
        masks: True for the tokens that are trained on, of the same shapes.
        coef: factor of the signal.
        seed: of random numbers for this dialogue.
    """

    tutor: Sequence[Floats]
    teacher: Sequence[Floats]
    masks: Sequence[Mask]
    coef: float
    seed: int


def _of_teacher(settings: OfSampled, given: SampledTokens) -> Floats:
    return signals(given.tutor, given.teacher, given.masks, given.coef, settings.advantage_clip)


def _shuffled(settings: OfSampled, given: SampledTokens) -> Floats:
    """The same with the teacher's log-probabilities of the trained tokens in a random order; a control."""
    mask, scores = np.concatenate(given.masks), np.concatenate(given.teacher)
    scores[mask] = np.random.default_rng(given.seed).permutation(scores[mask])
    teacher = np.split(scores, np.cumsum([len(turn) for turn in given.masks])[:-1])
    return _of_teacher(settings, replace(given, teacher=teacher))


def _constant(settings: ConstantControl, given: SampledTokens) -> Floats:
    """A constant for the share of the trained tokens that the tutor found least likely; a control.

    Ding and Zhang, "Does On-Policy Distillation Really Distill?", 2026, arXiv:2608.31046, find that a single negative
    advantage can do as well as a teacher's.
    """
    where = np.flatnonzero(np.concatenate(given.masks))
    order = np.argsort(np.concatenate(given.tutor)[where], kind="stable")
    signal = np.zeros(sum(map(len, given.masks)))
    signal[where[order[: share_of(settings.share, len(where))]]] = given.coef * settings.advantage
    return signal


def share_of(share: float, count: int) -> int:
    """A share of a count, rounded up.

    >>> share_of(0.3, 10), share_of(0.5, 3)
    (3, 2)
    """
    # 0.3 * 10 is a little more than 3.
    return math.ceil(share * count - 1e-9)


# The signals of all tutor tokens of a dialogue, `[sum of T]`, by the kind of the objective.
SIGNALS: Mapping[str, Callable[[Any, SampledTokens], Floats]] = {
    "sampled_reverse_kl": _of_teacher,
    "control_shuffled_teacher": _shuffled,
    "control_constant_advantage": _constant,
}


def discounted(signal: Floats, discount: float) -> Floats:
    """Each token's signal plus the later ones, times `discount` for each token of distance, `[sum of T]`."""
    if discount == 0.0:
        return signal
    advantages = signal.copy()
    # Backwards, since the entry at i + 1 must already hold its own discounted sum.
    for i in range(len(advantages) - 2, -1, -1):
        advantages[i] += discount * advantages[i + 1]
    return advantages


def reverse_kl_advantages(
    settings: OfSampled, signal: Sequence[Floats], trained: Sequence[Mask], discount: float
) -> list[Floats]:
    """The token advantages of a group's dialogues, from the signals of their tokens.

    The group baseline is the mean advantage over the tokens of the group's other dialogues. A baseline that included
    the token itself would be correlated with it, and bias the gradient.

    Args:
        settings: baseline and length normalisation.
        signal: one array `[sum of T]` for each dialogue.
        trained: True for the tokens that are trained on, of the same shapes.
        discount: factor for each later token.
    """
    advantages = [np.where(mask, discounted(row, discount), 0.0) for row, mask in zip(signal, trained, strict=True)]
    if settings.baseline == "group":
        sums, counts = [row.sum() for row in advantages], [int(mask.sum()) for mask in trained]
        # Leave-one-out means; where no other dialogue has a trained token, the baseline is 0 / 1.
        means = [(sum(sums) - total) / max(sum(counts) - count, 1) for total, count in zip(sums, counts, strict=True)]
        advantages = [np.where(mask, row - b, 0.0) for row, b, mask in zip(advantages, means, trained, strict=True)]
    if settings.normalize_length:
        advantages = [row / max(int(mask.sum()), 1) for row, mask in zip(advantages, trained, strict=True)]
    return advantages


def trained(turn: Turn, config: SocraticConfig) -> npt.NDArray[np.bool_]:
    """Which tokens of a tutor turn are trained on, `[T]`.

    All are, including the end-of-turn token, except

    - the `<think>` part, if `train_thinking` is False;
    - the first `skip_first_tokens` of the remaining tokens: of the reply if the `<think>` part is left out, else of the
      whole turn. A turn that is not longer than that has no trained token;
    - every token, if the reply was cut and `cut_replies` is "mask";
    - every token, if a teacher spoke in the tutor's place.
    """
    assert turn.role == "tutor", f"only the tutor is trained, this is a turn of the {turn.role}"
    mask = np.ones(len(turn.tokens), dtype=np.bool_)  # [T]
    first = config.skip_first_tokens + (0 if config.train_thinking else turn.thought)
    mask[:first] = False
    if turn.by or (config.cut_replies == "mask" and _was_cut(turn)):
        mask[:] = False
    return mask


def penalty(turn: Turn, config: SocraticConfig) -> float:
    """What to subtract from the advantage of each token of a tutor turn: `cut_penalty` if it was cut, else 0."""
    return config.cut_penalty if config.cut_replies == "penalize" and _was_cut(turn) else 0.0


def _was_cut(turn: Turn) -> bool:
    return turn.stop_reason == "length"
