"""Joins the scores of several teachers into one. Pure numpy."""

from collections.abc import Sequence

import numpy as np

from socratic_distill.config.teachers import Average
from socratic_distill.dialogues.cast import Member
from socratic_distill.distillation.datums import Floats


def joined(
    scores: Sequence[Sequence[Floats]], members: Sequence[Member], how: Average | None, clip: float | None = None
) -> tuple[Floats, ...]:
    """Joins the scores of several teachers into one, turn by turn.

    Args:
        scores: for each member, one array a turn.
        members: the teachers, in the same order.
        how: how several scores are averaged; not used with one teacher.
        clip: as in `average`.
    """
    if len(members) == 1:
        return tuple(scores[0])
    assert how is not None, "several teachers of one seed without a way to average"
    weights = [member.weight for member in members]
    return tuple(average(turns, weights, how, clip) for turns in zip(*scores, strict=True))


def average(scores: Sequence[Floats], weights: Sequence[float], how: Average, clip: float | None = None) -> Floats:
    """One score for each token from the scores of several teachers.

    With weights `w_i`, normalised to add up to 1, and teachers `p_i`:

    - `log_mean`: `sum_i w_i log p_i`. The tutor's divergence from it is the weighted mean of its divergences from the
      teachers. It is not a distribution: over the vocabulary its probabilities add up to at most 1, with negative
      weights to at least 1. With a bound c it is `log p_1 + sum_i w_i clip(log p_i - log p_1, -c, c)`, which is the
      same where no difference is beyond the bound. So the result is at most c sum_{i > 1} |w_i| from the first teacher.
    - `mixture`: `log sum_i w_i p_i`, computed in log space, so that nothing underflows. This compares the tutor with a
      teacher who follows teacher `i` with probability `w_i` at each token.

    Args:
        scores: log-probabilities of the same tokens under each teacher, nats, arrays of one shape, such as `[T]`.
        weights: one weight for each teacher; their sum is above 0, and in a `mixture` each of them.
        how: which of the two averages.
        clip: the bound of `log_mean`, nats; None: no bound.

    Returns:
        The averaged log-probabilities, nats, of that shape. A single teacher's are returned unchanged.
    """
    assert scores and len(scores) == len(weights), f"{len(scores)} scores, {len(weights)} weights"
    if len(scores) == 1:
        return scores[0]
    # Divided by the largest first, since a sum of very large weights would overflow.
    shares = np.asarray(weights, dtype=np.float64) / max(map(abs, weights))
    shares = (shares / shares.sum()).reshape(-1, *[1] * scores[0].ndim)  # [teachers, 1, …]
    stacked = np.stack(scores)  # [teachers, T] or [teachers, T, K]
    if how == "log_mean" and clip is not None:
        # Where both are -inf they do not differ.
        away = np.subtract(stacked, stacked[0], out=np.zeros_like(stacked), where=stacked != stacked[0])
        return stacked[0] + (shares * np.clip(away, -clip, clip)).sum(axis=0)
    if how == "log_mean":
        return (shares * stacked).sum(axis=0)
    return np.logaddexp.reduce(stacked + np.log(shares), axis=0)
