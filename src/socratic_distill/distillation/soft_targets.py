"""Turns divergences over named tokens into weights of cross_entropy on `[N, K]` targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from socratic_distill.config.objectives import Divergence, ForwardKL, JensenShannon, MonteCarloKL, ReverseKL
from socratic_distill.distillation import divergences
from socratic_distill.distillation.custom_losses import custom_slope
from socratic_distill.distillation.datums import Floats, Ids, Mask, TokenSequence, shift_targets, spread
from socratic_distill.distillation.scorer import Named
from socratic_distill.distillation.scoring import ScoredDialogue

# Takes log-probabilities of named tokens, `[M, K]` each: the tutor's current ones, the teacher's, and the tutor's when
# they were drawn. Gives dL/dlog q, `[M, K]`.
Slope = Callable[[Floats, Floats, Floats], Floats]


@dataclass(frozen=True, eq=False)
class Soft:
    """A divergence over the named tokens of a sequence.

    Attributes:
        ids: the named tokens at the position of each target, -1 for an empty slot, `[N - 1, K]`.
        teacher: the teacher's log-probabilities of them, nats, -inf for an empty slot, `[N - 1, K]`.
        drawn: the tutor's log-probabilities when they were drawn, `[N - 1, K]`; the same as `teacher` if they were not.
        slope: the gradient dL/dlog q of the divergence.
        needs_tutor: whether `slope` uses the tutor's current log-probabilities.
        coef: factor of the slope.
        rows: weights of the positions, `[N - 1]`; None: each has weight 1.
    """

    ids: Ids
    teacher: Floats
    drawn: Floats
    slope: Slope
    needs_tutor: bool
    coef: float
    rows: Floats | None = None

    def until(self, stop: int) -> "Soft":
        """The same of the first `stop` positions."""
        rows = None if self.rows is None else self.rows[:stop]
        return replace(self, ids=self.ids[:stop], teacher=self.teacher[:stop], drawn=self.drawn[:stop], rows=rows)


def soften(objective: Divergence, sequence: TokenSequence, scored: ScoredDialogue, coef: float) -> Soft | None:
    """A divergence over a sequence's named tokens; None if it has none, or if each of its positions has weight 0."""
    if objective.trains_sampled_tokens:
        return None
    rows = _rows(objective, sequence, scored)
    if rows is not None and not rows.any():
        return None
    slope = SLOPES[objective.kind](objective)
    if objective.draws:
        named = [Named(draws.ids, teacher) for draws, teacher in zip(scored.draws, scored.of_draws, strict=True)]
        ids, teacher = _lay_out(sequence, named)
        _, drawn = _lay_out(sequence, scored.draws)
        return Soft(ids, teacher, drawn, slope, objective.needs_forward, coef, rows)
    top = objective.teacher_top
    if objective.tutor_top:
        # The top k of both: a token that only one of them finds likely can make most of the divergence.
        named = [_union(*both, top) for both in zip(scored.top_of_tutor, scored.top_of_teacher, strict=True)]
    else:
        named = [Named(turn.ids[:, :top], turn.logprobs[:, :top]) for turn in scored.top_of_teacher]
    ids, teacher = _lay_out(sequence, named)
    return Soft(ids, teacher, teacher, slope, objective.needs_forward, coef, rows)


def _rows(objective: Divergence, sequence: TokenSequence, scored: ScoredDialogue) -> Floats | None:
    """The weights of a sequence's positions; None if the dialogue has none."""
    if scored.weights is None:
        return None
    at_token = spread(sequence, scored.weights.of(objective.direction))
    return shift_targets(sequence.tokens, at_token[None])[2][0]


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
    "custom": custom_slope,
}


def weights(soft: Sequence[Soft], mask: Mask, now: Floats) -> Floats:
    """Weights of cross_entropy, -dL/dlog q, `[N - 1, 1 + K]`; 0 outside the mask and in empty slots.

    Args:
        soft: the divergences; K counts the columns of all of them.
        mask: True for rows that are trained on, `[N - 1]`.
        now: the tutor's current log-probabilities of their tokens, nats, `[N - 1, K]`.
    """
    columns: list[Floats] = [np.zeros((len(mask), 1))]  # the sequence's own token
    first = 0
    for divergence in soft:
        stop = first + divergence.ids.shape[1]
        named = divergence.ids[mask] >= 0  # [M, k], M trained rows
        # Empty slots were scored as token 0 (`_softened`); -inf takes that score out again.
        tutor = np.where(named, now[mask, first:stop], -np.inf)
        slope = divergence.slope(tutor, divergence.teacher[mask], divergence.drawn[mask])  # [M, k]
        whole = np.zeros(divergence.ids.shape)
        whole[mask] = np.where(named, -divergence.coef * slope, 0.0)
        if divergence.rows is not None:
            whole *= divergence.rows[:, None]
        columns.append(whole)
        first = stop
    return np.concatenate(columns, axis=1)


def _union(tutor: Named, teacher: Named, k: int) -> Named:
    """The first k of both at every position; a teacher's token that is among the tutor's becomes an empty slot."""
    ours, theirs = tutor.ids[:, :k], teacher.ids[:, :k]
    # Counted twice, a token would take its probability from the rest of the distribution twice.
    repeated = (theirs[:, :, None] == ours[:, None, :]).any(axis=2)  # [T, k]
    ids = np.concatenate([ours, np.where(repeated, -1, theirs)], axis=1)  # [T, 2k]
    scores = np.where(repeated, -np.inf, teacher.logprobs[:, :k])
    return Named(ids, np.concatenate([tutor.logprobs[:, :k], scores], axis=1))


def _lay_out(sequence: TokenSequence, named: Sequence[Named]) -> tuple[Ids, Floats]:
    """Ids and logprobs of the named tokens in the rows of the targets, `[N - 1, K]`; -1 and -inf elsewhere."""
    width = max(turn.ids.shape[1] for turn in named)
    ids = np.full((len(sequence.tokens), width), -1, np.int64)
    logprobs = np.full(ids.shape, -np.inf)
    for span in sequence.spans:
        turn = named[span.turn]
        ids[span.start : span.stop, : turn.ids.shape[1]] = turn.ids
        logprobs[span.start : span.stop, : turn.ids.shape[1]] = turn.logprobs
    # Transposed, since shift_targets shifts the last axis.
    return shift_targets(sequence.tokens, ids.T)[2].T, shift_targets(sequence.tokens, logprobs.T)[2].T
