"""Averages of a run's dialogues, and factors that correct predictions by the tokens that were counted. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from socratic_distill.config.config import SocraticConfig
from socratic_distill.cost.costs import PricedPhase, Use, evaluation_uses, step_uses
from socratic_distill.cost.workload import Key, Talk, Tokens, Workload
from socratic_distill.dialogues.dialogue import ModelRole
from socratic_distill.evaluation.stored import StoredEvaluation

_Phases = dict[tuple[ModelRole, PricedPhase], float]


@dataclass(frozen=True)
class Factors:
    """Ratios of counted to predicted tokens.

    Attributes:
        sent: ratio of prompt tokens, by role.
        cached: ratio of the odds that a prompt token was cached, by role. Odds are used so that a corrected
            share cannot exceed 1.
        others: ratio of the tokens of the other phases, by role and phase.
    """

    sent: Mapping[ModelRole, float]
    cached: Mapping[ModelRole, float]
    others: Mapping[tuple[ModelRole, PricedPhase], float]

    @classmethod
    def between(cls, counted: Sequence[Use], expected: Tokens) -> "Factors":
        """The ratios of counted to expected tokens; 1 if nothing was expected."""
        measured, predicted = _by_phase((use.role, use.phase, use.tokens) for use in counted), _totals(expected)
        sent, cached = dict[ModelRole, float](), dict[ModelRole, float]()
        for role in get_args(ModelRole):
            sent[role] = _ratio(_sent(measured, role), _sent(predicted, role))
            cached[role] = _ratio(_odds(measured, role), _odds(predicted, role))
        others = {
            key: _ratio(measured.get(key, 0.0), number) for key, number in predicted.items() if "prefill" not in key[1]
        }
        return cls(sent, cached, others)


@dataclass(frozen=True)
class Averages:
    """Averages of dialogues, and corrections of the predictions that follow from them.

    Attributes:
        talk: the averages of the dialogues.
        basis: source of the averages, as text.
        of_steps: corrections of training steps; None: no correction.
        of_evaluations: corrections of evaluations; None: no correction.
    """

    talk: Talk
    basis: str
    of_steps: Factors | None = None
    of_evaluations: Factors | None = None

    @classmethod
    def unknown(cls, config: SocraticConfig) -> "Averages":
        """The defaults for a run without any rows."""
        return cls(Talk.unknown(config), "defaults")

    @classmethod
    def of(
        cls, workload: Workload, rows: Sequence[Mapping[str, Any]], evaluated: Sequence[StoredEvaluation], name: str
    ) -> "Averages | None":
        """The averages of a run; None if it has no row with token counts."""
        rows = [row for row in rows if "sampled_tokens/tutor" in row]
        if not rows:
            return None
        talk = _talk(workload, rows)
        steps = [row["step"] for row in rows]
        first, stop = min(steps), max(steps) + 1
        expected = workload.steps(talk, first, stop)
        counted = [
            replace(use, tokens=use.tokens * (stop - first) / len(rows)) for row in rows for use in step_uses(row)
        ]
        of_steps = of_evaluations = Factors.between(counted, expected)
        if counted_evaluations := [evaluation for evaluation in evaluated if evaluation.tokens]:
            uses = [use for evaluation in counted_evaluations for use in evaluation_uses(evaluation.tokens)]
            of_evaluations = Factors.between(uses, workload.evaluations(talk, len(counted_evaluations)))
        return cls(talk, f"{len(rows)} steps of {name}", of_steps, of_evaluations)

    def correct(self, tokens: Tokens, factors: Factors | None) -> Tokens:
        """The tokens, scaled by the factors; unchanged if `factors` is None."""
        if factors is None:
            return tokens
        corrected: Tokens = {}
        for key, number in tokens.items():
            part, role, phase = key
            if phase == "cached_prefill":
                continue
            if phase != "prefill":
                corrected[key] = number * factors.others.get((role, phase), 1.0)
                continue
            cached = tokens.get(Key(part, role, "cached_prefill"), 0.0)
            sent, odds = (number + cached) * factors.sent.get(role, 1.0), cached * factors.cached.get(role, 1.0)
            share = odds / (number + odds) if odds else 0.0  # cached share of the prompt tokens
            corrected[key] = sent * (1 - share)
            corrected[Key(part, role, "cached_prefill")] = sent * share
        return corrected


def _talk(workload: Workload, rows: Sequence[Mapping[str, Any]]) -> Talk:
    recorded = sum(row["dialogues/recorded"] for row in rows)
    played = sum(row["dialogues"] for row in rows) - recorded
    unknown = Talk.unknown(workload.plan.config)
    if not played:
        return unknown
    turns = sum(row["turns/tutor"] for row in rows) - recorded * workload.recorded_turns
    replies = [(row["reply_tokens/mean"], row["dialogues"]) for row in rows if row["reply_tokens/mean"] is not None]
    said = sum(row["tokens/student"] for row in rows)
    return Talk(
        turns=turns / played / workload.most_turns([row["step"] for row in rows]),
        tutor=sum(mean * count for mean, count in replies) / sum(count for _, count in replies)
        if replies
        else unknown.tutor,
        student=said / (turns + played),
    )


def _by_phase(uses: Iterable[tuple[ModelRole, PricedPhase, float]]) -> _Phases:
    totals: _Phases = {}
    for role, phase, number in uses:
        totals[role, phase] = totals.get((role, phase), 0.0) + number
    return totals


def _totals(tokens: Tokens) -> _Phases:
    return _by_phase((key.role, key.phase, number) for key, number in tokens.items())


def _sent(tokens: _Phases, role: ModelRole) -> float:
    return tokens.get((role, "prefill"), 0.0) + tokens.get((role, "cached_prefill"), 0.0)


def _odds(tokens: _Phases, role: ModelRole) -> float:
    """Cached prompt tokens over uncached ones. If all were cached, one counts as uncached, to avoid a division by 0."""
    return tokens.get((role, "cached_prefill"), 0.0) / max(1.0, tokens.get((role, "prefill"), 0.0))


def _ratio(counted: float, expected: float) -> float:
    return counted / expected if expected else 1.0
