"""Divergences over named tokens, as weights of cross_entropy on `[N, K]` targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from socratic_distill.config.objectives import Divergence, ForwardKL, JensenShannon, MonteCarloKL, SampledReverseKL
from socratic_distill.distillation import divergences
from socratic_distill.distillation.datums import Floats, Ids, Mask, TokenSequence, shift_targets
from socratic_distill.distillation.scorer import Named
from socratic_distill.distillation.scoring import ScoredDialogue

# From log-probabilities of named tokens, the tutor's now, the teacher's and the tutor's at the draw, to dL/dlog q.
Slope = Callable[[Floats, Floats, Floats], Floats]


@dataclass(frozen=True, eq=False)
class Soft:
    """A divergence over named tokens of a sequence.

    Attributes:
        ids: the tokens at the place of each target, -1 for none, `[N - 1, K]`.
        teacher: the teacher's log-probabilities of them, nats, -inf for none, `[N - 1, K]`.
        drawn: the tutor's when they were drawn; like `teacher` where they were not.
        slope: which way is up.
        needs_tutor: whether `slope` looks at what the tutor says now.
        coef: factor.
    """

    ids: Ids
    teacher: Floats
    drawn: Floats
    slope: Slope
    needs_tutor: bool
    coef: float


def soften(one: Divergence, sequence: TokenSequence, scored: ScoredDialogue, coef: float) -> Soft | None:
    """A divergence over a sequence's named tokens; None for the one that looks at sampled tokens alone."""
    if isinstance(one, SampledReverseKL):
        return None
    if isinstance(one, MonteCarloKL):
        named = [Named(draws.ids, teacher) for draws, teacher in zip(scored.draws, scored.of_draws, strict=True)]
        ids, teacher = _lay_out(sequence, named)
        _, drawn = _lay_out(sequence, scored.draws)
        return Soft(ids, teacher, drawn, divergences.monte_carlo_slope, True, coef)
    if isinstance(one, ForwardKL):
        named = [Named(each.ids[:, : one.k], each.logprobs[:, : one.k]) for each in scored.top_of_teacher]
    else:
        named = [_union(*each, one.k) for each in zip(scored.top_of_tutor, scored.top_of_teacher, strict=True)]
    ids, teacher = _lay_out(sequence, named)
    slope, needs_tutor = _slope(one)
    return Soft(ids, teacher, teacher, slope, needs_tutor, coef)


def _slope(one: Divergence) -> tuple[Slope, bool]:
    if isinstance(one, ForwardKL) and one.tail != "bucket":
        targets = {"renormalize": divergences.renormalized_targets, "drop": divergences.dropped_targets}[one.tail]
        return lambda tutor, teacher, drawn: -targets(teacher), False
    if isinstance(one, JensenShannon):
        slope = partial(divergences.jensen_shannon_slope, beta=one.beta)
    else:
        slope = divergences.forward_kl_slope if isinstance(one, ForwardKL) else divergences.reverse_kl_slope
    return lambda tutor, teacher, drawn: slope(tutor, teacher), True


def weights(soft: Sequence[Soft], mask: Mask, now: Floats) -> Floats:
    """Weights of cross_entropy, -dL/dlog q, `[N - 1, 1 + K]`; 0 outside the mask and in empty slots.

    Args:
        soft: the divergences, side by side.
        mask: rows that are trained on.
        now: the tutor's log-probabilities of their tokens, nats, `[N - 1, K]`.
    """
    columns: list[Floats] = [np.zeros((len(mask), 1))]
    first = 0
    for one in soft:
        stop = first + one.ids.shape[1]
        named = one.ids[mask] >= 0
        tutor = np.where(named, now[mask, first:stop], -np.inf)
        slope = one.slope(tutor, one.teacher[mask], one.drawn[mask])
        whole = np.zeros(one.ids.shape)
        whole[mask] = np.where(named, -one.coef * slope, 0.0)
        columns.append(whole)
        first = stop
    return np.concatenate(columns, axis=1)


def _union(tutor: Named, teacher: Named, k: int) -> Named:
    """The first k of both at every place; a token of the teacher that is the tutor's too leaves an empty slot."""
    ours, theirs = tutor.ids[:, :k], teacher.ids[:, :k]
    repeated = (theirs[:, :, None] == ours[:, None, :]).any(axis=2)
    ids = np.concatenate([ours, np.where(repeated, -1, theirs)], axis=1)
    scores = np.where(repeated, -np.inf, teacher.logprobs[:, :k])
    return Named(ids, np.concatenate([tutor.logprobs[:, :k], scores], axis=1))


def _lay_out(sequence: TokenSequence, named: Sequence[Named]) -> tuple[Ids, Floats]:
    """Named tokens of the turns where the turns' own are targets: ids, -1 elsewhere, and logprobs, `[N - 1, K]`."""
    width = max(one.ids.shape[1] for one in named)
    ids = np.full((len(sequence.tokens), width), -1, np.int64)
    logprobs = np.full(ids.shape, -np.inf)
    for span in sequence.spans:
        one = named[span.turn]
        ids[span.start : span.stop, : one.ids.shape[1]] = one.ids
        logprobs[span.start : span.stop, : one.ids.shape[1]] = one.logprobs
    return shift_targets(sequence.tokens, ids.T)[2].T, shift_targets(sequence.tokens, logprobs.T)[2].T
