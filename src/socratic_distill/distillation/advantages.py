"""The advantage of every token that the tutor sampled. Pure numpy.

Sampled-token reverse KL (Thinking Machines, "On-Policy Distillation", 2025; Agarwal et al., "On-Policy
Distillation of Language Models", 2024): with a token's signal

    a_t = coef * clip(log p_teacher(t) - log p_tutor(t))

its advantage is A_t = a_t + discount * A_{t+1} over the tutor's later tokens of the dialogue, so that a step up along A
is a step down along KL(tutor || teacher), on the tutor's own dialogues. Tokens that are not trained on have neither
signal nor advantage. A dialogue's reward adds to every token what it has over its group (`rewards.group_advantages`).
"""

import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.objectives import SampledReverseKL
from socratic_distill.dialogues.dialogue import Turn
from socratic_distill.distillation.datums import Floats, Mask


def group_advantages(values: Sequence[float | None]) -> list[float]:
    """What each dialogue of a group has over the group's mean, in the units of the rewards.

    A dialogue that failed, None, has no part in the mean and gets 0. Fewer than two values compare with nothing: 0.

    >>> group_advantages([1.0, None, 0.0, 0.5]), group_advantages([1.0, None])
    ([0.5, 0.0, -0.5, 0.0], [0.0, 0.0])
    """
    there = [number for number in values if number is not None]
    if len(there) < 2:
        return [0.0] * len(values)
    # Exact, so that a group of equal values gets exactly 0.
    mean = statistics.mean(there)
    return [0.0 if number is None else number - mean for number in values]


def signals(
    tutor: Sequence[Floats], teacher: Sequence[Floats], masks: Sequence[Mask], coef: float, clip: float | None
) -> Floats:
    """The signal of all of a dialogue's tutor tokens, nats times `coef`, `[sum of T]`.

    Args:
        tutor: the tutor's log-probabilities, nats, `[T]` a turn.
        teacher: the teacher's, likewise.
        masks: the tokens that are trained on, likewise.
        coef: factor.
        clip: bound on a token's difference, nats; None for none.
    """
    flat = [np.where(mask, p - q, 0.0) for q, p, mask in zip(tutor, teacher, masks, strict=True)]
    difference = np.concatenate(flat)
    return coef * (difference if clip is None else np.clip(difference, -clip, clip))


def discounted(signal: Floats, discount: float) -> Floats:
    """Each token's signal and those behind it, `discount` less for each token in between."""
    if discount == 0.0:
        return signal
    advantages = signal.copy()
    for i in range(len(advantages) - 2, -1, -1):
        advantages[i] += discount * advantages[i + 1]
    return advantages


def reverse_kl_advantages(
    settings: SampledReverseKL, signal: Sequence[Floats], trained: Sequence[Mask], discount: float
) -> list[Floats]:
    """The advantages of a group's dialogues, from the signals of their tokens.

    The baseline is the mean advantage of the tokens of the group's other dialogues: a token's own part in it would be
    correlated with the token, and bias the gradient.

    Args:
        settings: baseline and length normalisation.
        signal: of each dialogue, `[sum of T]`.
        trained: the tokens that are trained on, likewise.
        discount: of later tokens.
    """
    found = [np.where(mask, discounted(one, discount), 0.0) for one, mask in zip(signal, trained, strict=True)]
    if settings.baseline == "group":
        sums, counts = [one.sum() for one in found], [int(mask.sum()) for mask in trained]
        others = [(sum(sums) - total) / max(sum(counts) - count, 1) for total, count in zip(sums, counts, strict=True)]
        found = [np.where(mask, one - b, 0.0) for one, b, mask in zip(found, others, trained, strict=True)]
    if settings.normalize_length:
        found = [one / max(int(mask.sum()), 1) for one, mask in zip(found, trained, strict=True)]
    return found


def trained(turn: Turn, config: SocraticConfig) -> npt.NDArray[np.bool_]:
    """Which tokens of a tutor turn are trained on, `[T]`.

    All are, the end-of-turn token too, but for

    - the `<think>` part, where `train_thinking` is False;
    - the first `skip_first_tokens` of those that this leaves: of the reply where the `<think>` part is left out, of the
      whole turn otherwise. A turn that is no longer has no trained token;
    - every token, where the reply was cut and `cut_replies` is "mask".
    """
    assert turn.role == "tutor", f"only the tutor is trained, this is a turn of the {turn.role}"
    mask = np.ones(len(turn.tokens), dtype=np.bool_)
    first = config.skip_first_tokens + (0 if config.train_thinking else turn.thought)
    mask[:first] = False
    if config.cut_replies == "mask" and _was_cut(turn):
        mask[:] = False
    return mask


def penalty(turn: Turn, config: SocraticConfig) -> float:
    """What to subtract from the advantage of each token of a tutor turn: `cut_penalty` where it was cut, else 0."""
    return config.cut_penalty if config.cut_replies == "penalize" and _was_cut(turn) else 0.0


def _was_cut(turn: Turn) -> bool:
    return turn.stop_reason == "length"
