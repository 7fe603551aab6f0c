"""How far the tutor is from the teacher over named tokens at each position, and which way is down. Pure numpy.

At one position the tutor has log-probabilities log q_j and the teacher log p_j of K named tokens; what is left of
either is one bucket, q_r = 1 - sum q_j and p_r = 1 - sum p_j. A loss L of the q_j is lowered by `forward` on the named
tokens, then `forward_backward` of cross_entropy with the weights -dL/dlog q_j, which this module gives in closed form:

    dL/dlog q_j = q_j (dD/dq_j - dD/dq_r)

where D is the divergence as a function of the q_j and q_r. The contexts are those that the tutor, or a recording, got
into; they are held fixed. All arrays are `[M, K]`, M positions; a slot of -inf under both names no token.
"""

import numpy as np

from socratic_distill.distillation.datums import Floats

# Sums of probabilities that services give in fp32 are known to about this; smaller remainders are taken as equal.
_SMALLEST_REST = 1e-6


def renormalized_targets(teacher: Floats) -> Floats:
    """Soft targets for forward KL: the teacher's probabilities of its likeliest tokens, scaled to a sum of 1.

    KL(p' || q) = sum_j p'_j (log p'_j - log q_j), p'_j = p_j / sum_i p_i; cross_entropy with weights p'
    has its gradient (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Agarwal et al., 2024).
    Off by the mass that was cut: at q = p the gradient is not 0, but pulls the tail's mass to the named tokens.
    """
    return np.exp(teacher - np.logaddexp.reduce(teacher, axis=-1, keepdims=True))


def dropped_targets(teacher: Floats) -> Floats:
    """Soft targets for forward KL with what is beyond them left out: weights p_j, which sum to less than 1."""
    return np.exp(teacher)


def forward_kl_slope(tutor: Floats, teacher: Floats) -> Floats:
    """D = sum p log(p / q) with the bucket; dL/dlog q_j = q_j p_r / q_r - p_j. Zero at q = p, whatever was cut."""
    q, p, q_rest, p_rest = _probabilities(tutor, teacher)
    return q * (p_rest / q_rest) - p


def reverse_kl_slope(tutor: Floats, teacher: Floats) -> Floats:
    """D = sum q log(q / p) with the bucket; dL/dlog q_j = q_j (log(q_j / p_j) - log(q_r / p_r)).

    Gu et al., "MiniLLM", 2024, take it in expectation over sampled tokens; here it is summed over named ones.
    """
    q, _, q_rest, p_rest = _probabilities(tutor, teacher)
    return _times(q, _difference(tutor, teacher) - np.log(q_rest / p_rest))


def jensen_shannon_slope(tutor: Floats, teacher: Floats, beta: float) -> Floats:
    """D = beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q, with the bucket.

    dD/dq = (1 - beta) log(q / m), so dL/dlog q_j = (1 - beta) q_j (log(q_j / m_j) - log(q_r / m_r)). The generalised
    Jensen-Shannon divergence of Agarwal et al., "On-Policy Distillation of Language Models" (GKD), 2024.
    """
    q, _, q_rest, p_rest = _probabilities(tutor, teacher)
    mixed = np.logaddexp(teacher + np.log(beta), tutor + np.log1p(-beta))
    rest = beta * p_rest + (1 - beta) * q_rest
    return (1 - beta) * _times(q, _difference(tutor, mixed) - np.log(q_rest / rest))


def monte_carlo_slope(tutor: Floats, teacher: Floats, drawn: Floats) -> Floats:
    """KL(q || p) over the whole vocabulary, from K tokens drawn from the tutor at each position.

    The score-function estimate with a leave-one-out baseline (Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for
    Free!", 2019): dL/dlog q(y_j) = r_j (c_j - mean_{i != j} c_i) / K with the cost c_j = log q(y_j) - log p(y_j), and
    r_j = q(y_j) / q_drawn(y_j) for weights that have moved since the draws.

    Args:
        tutor: log-probabilities of the drawn tokens now, nats, `[M, K]`.
        teacher: the teacher's, likewise.
        drawn: the tutor's when it drew them, likewise.
    """
    count = tutor.shape[-1]
    cost = tutor - teacher
    others = (cost.sum(axis=-1, keepdims=True) - cost) / (count - 1)
    return np.exp(tutor - drawn) * (cost - others) / count


def _probabilities(tutor: Floats, teacher: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Q and p `[M, K]`, and what is left of them `[M, 1]`, at least `_SMALLEST_REST`."""
    q, p = np.exp(tutor), np.exp(teacher)
    rests = [np.maximum(1.0 - one.sum(axis=-1, keepdims=True), _SMALLEST_REST) for one in (q, p)]
    return q, p, rests[0], rests[1]


def _difference(one: Floats, other: Floats) -> Floats:
    """One - other, 0 where both name no token."""
    return np.subtract(one, other, out=np.zeros_like(one), where=np.isfinite(one))


def _times(weights: Floats, values: Floats) -> Floats:
    """Weights * values, 0 where the weight is: what is impossible under q costs nothing."""
    return np.multiply(weights, values, out=np.zeros_like(weights), where=weights > 0)
