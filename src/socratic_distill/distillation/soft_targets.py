"""Divergences over named tokens, as weights of cross_entropy on `[N, K]` targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from socratic_distill.config.objectives import Divergence, ForwardKL, JensenShannon, MonteCarloKL, ReverseKL
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


def soften(objective: Divergence, sequence: TokenSequence, scored: ScoredDialogue, coef: float) -> Soft | None:
    """A divergence over a sequence's named tokens; None for the one that looks at sampled tokens alone."""
    if objective.trains_sampled_tokens:
        return None
    slope = SLOPES[objective.kind](objective)
    if objective.draws:
        named = [Named(draws.ids, teacher) for draws, teacher in zip(scored.draws, scored.of_draws, strict=True)]
        ids, teacher = _lay_out(sequence, named)
        _, drawn = _lay_out(sequence, scored.draws)
        return Soft(ids, teacher, drawn, slope, objective.needs_forward, coef)
    top = objective.teacher_top
    if objective.tutor_top:
        named = [_union(*both, top) for both in zip(scored.top_of_tutor, scored.top_of_teacher, strict=True)]
    else:
        named = [Named(turn.ids[:, :top], turn.logprobs[:, :top]) for turn in scored.top_of_teacher]
    ids, teacher = _lay_out(sequence, named)
    return Soft(ids, teacher, teacher, slope, objective.needs_forward, coef)


def _forward_kl(objective: ForwardKL) -> Slope:
    if objective.tail == "bucket":
        return lambda tutor, teacher, drawn: divergences.forward_kl_slope(tutor, teacher)
    # KL(p || q) of fixed targets p has the slope -p at every q: the tutor's log-probabilities are not needed.
    targets = {"renormalize": divergences.renormalized_targets, "drop": divergences.dropped_targets}[objective.tail]
    return lambda tutor, teacher, drawn: -targets(teacher)


def _reverse_kl(objective: ReverseKL) -> Slope:
    return lambda tutor, teacher, drawn: divergences.reverse_kl_slope(tutor, teacher)


def _jensen_shannon(objective: JensenShannon) -> Slope:
    return lambda tutor, teacher, drawn: divergences.jensen_shannon_slope(tutor, teacher, objective.beta)


def _monte_carlo_kl(objective: MonteCarloKL) -> Slope:
    return divergences.monte_carlo_slope


# The slope of each divergence over named tokens, from its settings.
SLOPES: Mapping[str, Callable[[Any], Slope]] = {
    "forward_kl": _forward_kl,
    "reverse_kl": _reverse_kl,
    "jensen_shannon": _jensen_shannon,
    "monte_carlo_kl": _monte_carlo_kl,
}


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
