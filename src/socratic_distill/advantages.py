"""The advantage of every token that the tutor sampled. Pure numpy.

Sampled-token reverse KL (Thinking Machines, "On-Policy Distillation", 2025; Agarwal et al., "On-Policy
Distillation of Language Models", 2024): with a token's signal

    a_t = coef * clip(log p_teacher(t) - log p_tutor(t))

its advantage is A_t = a_t + discount * A_{t+1} over the tutor's later tokens of the dialogue, so that a step up along A
is a step down along KL(tutor || teacher), on the tutor's own dialogues. Tokens that are not trained on have neither
signal nor advantage. A dialogue's reward adds to every token what it has over its group (`rewards.group_advantages`).
"""

from collections.abc import Sequence

import numpy as np

from socratic_distill.sequences import Floats, Mask
from socratic_distill.settings import SampledReverseKL


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
