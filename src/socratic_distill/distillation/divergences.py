"""Slopes of the divergences between tutor and teacher over named tokens. Pure numpy.

At one position, K tokens are named. The tutor gives them the log-probabilities log q_j, the teacher log p_j. The rest
of each distribution is one bucket, q_r = 1 - sum q_j and p_r = 1 - sum p_j. To lower a loss L of the q_j, training runs
`forward` on the named tokens, then `forward_backward` of cross_entropy with the weights -dL/dlog q_j. This module gives
these slopes in closed form:

    dL/dlog q_j = q_j (dD/dq_j - dD/dq_r)

D is the divergence as a function of the q_j and q_r. The contexts, which the tutor or a recording produced, are held
fixed. All arrays are `[M, K]` for M positions; a slot that is -inf under both names no token.

To add a divergence, begin in `config/objectives.py`, which says what each kind needs.
"""

import numpy as np

from socratic_distill.distillation.datums import Floats

# Services give log-probabilities in fp32, so a sum of probabilities is known to about this. Smaller rests are raised
# to it: the quotient p_r / q_r of two rounding errors would be meaningless.
_SMALLEST_REST = 1e-6


def renormalized_targets(teacher: Floats) -> Floats:
    """Soft targets for forward KL: the teacher's probabilities of its likeliest tokens, scaled to a sum of 1.

    KL(p' || q) = sum_j p'_j (log p'_j - log q_j), p'_j = p_j / sum_i p_i; cross_entropy with weights p'
    has its gradient (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Agarwal et al., 2024).
    It is biased by the cut: at q = p the gradient is not 0, but pulls the tail's mass to the named tokens.
    """
    # Normalised in log space: the sum of very small probabilities would underflow to 0.
    return np.exp(teacher - np.logaddexp.reduce(teacher, axis=-1, keepdims=True))


def dropped_targets(teacher: Floats) -> Floats:
    """Soft targets for forward KL that ignore the tail: weights p_j, whose sum is below 1."""
    return np.exp(teacher)


def forward_kl_slope(tutor: Floats, teacher: Floats) -> Floats:
    """D = sum p log(p / q) with the bucket; dL/dlog q_j = q_j p_r / q_r - p_j. Zero at q = p for any cut."""
    q, p, q_rest, p_rest = _probabilities(tutor, teacher)
    return q * (p_rest / q_rest) - p


def reverse_kl_slope(tutor: Floats, teacher: Floats) -> Floats:
    """D = sum q log(q / p) with the bucket; dL/dlog q_j = q_j (log(q_j / p_j) - log(q_r / p_r)).

    Gu et al., "MiniLLM", 2024, estimate it from sampled tokens; here it is summed over the named ones.
    """
    q, _, q_rest, p_rest = _probabilities(tutor, teacher)
    return _times(q, _difference(tutor, teacher) - np.log(q_rest / p_rest))  # [M, K]


def jensen_shannon_slope(tutor: Floats, teacher: Floats, beta: float) -> Floats:
    """D = beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q, with the bucket.

    dD/dq = (1 - beta) log(q / m), so dL/dlog q_j = (1 - beta) q_j (log(q_j / m_j) - log(q_r / m_r)). The generalised
    Jensen-Shannon divergence of Agarwal et al., "On-Policy Distillation of Language Models" (GKD), 2024.
    """
    q, _, q_rest, p_rest = _probabilities(tutor, teacher)
    mixed = np.logaddexp(teacher + np.log(beta), tutor + np.log1p(-beta))  # log m, [M, K]
    rest = beta * p_rest + (1 - beta) * q_rest  # m_r, [M, 1]
    return (1 - beta) * _times(q, _difference(tutor, mixed) - np.log(q_rest / rest))


def monte_carlo_slope(tutor: Floats, teacher: Floats, drawn: Floats) -> Floats:
    """Slope of KL(q || p) over the whole vocabulary, estimated from K tokens drawn from the tutor at each position.

    The score-function estimate with a leave-one-out baseline (Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for
    Free!", 2019) is dL/dlog q(y_j) = r_j (c_j - mean_{i != j} c_i) / K. The cost is c_j = log q(y_j) - log p(y_j). The
    ratio r_j = q(y_j) / q_drawn(y_j) corrects for updates of the weights since the draws.

    Args:
        tutor: the tutor's current log-probabilities of the drawn tokens, nats, `[M, K]`.
        teacher: the teacher's log-probabilities, of the same shape.
        drawn: the tutor's log-probabilities when it drew the tokens, of the same shape.
    """
    count = tutor.shape[-1]
    cost = tutor - teacher
    others = (cost.sum(axis=-1, keepdims=True) - cost) / (count - 1)  # [M, K], each without its own cost
    return np.exp(tutor - drawn) * (cost - others) / count


def entropy(logprobs: Floats) -> Floats:
    """Entropy of a distribution, nats, `[T]`, from its likeliest tokens; the rest counts as one more token.

    Less than the true entropy by what is not known of the rest: by r log n at most, if r is the rest's probability and
    n the number of its tokens.

    Args:
        logprobs: log-probabilities of the likeliest tokens, nats, `[T, K]`.
    """
    p = np.exp(logprobs)
    rest = 1.0 - p.sum(axis=-1)  # [T]
    of_rest = np.where(rest > _SMALLEST_REST, -rest * np.log(np.maximum(rest, _SMALLEST_REST)), 0.0)
    return -_times(p, logprobs).sum(axis=-1) + of_rest


def _probabilities(tutor: Floats, teacher: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Q and p `[M, K]`, and the rests q_r and p_r `[M, 1]`, at least `_SMALLEST_REST`."""
    q, p = np.exp(tutor), np.exp(teacher)
    rests = [np.maximum(1.0 - named.sum(axis=-1, keepdims=True), _SMALLEST_REST) for named in (q, p)]
    return q, p, rests[0], rests[1]


def _difference(first: Floats, second: Floats) -> Floats:
    """First - second; 0 where both are -inf, since the slot names no token."""
    return np.subtract(first, second, out=np.zeros_like(first), where=np.isfinite(first))  # -inf - -inf is nan


def _times(weights: Floats, values: Floats) -> Floats:
    """Weights * values; 0 where the weight is 0, since a token that is impossible under q costs nothing."""
    return np.multiply(weights, values, out=np.zeros_like(weights), where=weights > 0)
