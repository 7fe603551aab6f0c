"""How a run's dialogues went on average, and by how much such averages miss what was counted. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from socratic_distill.config.config import SocraticConfig
from socratic_distill.cost.costs import Phase, Use, evaluation_uses, step_uses
from socratic_distill.cost.workload import Key, Talk, Tokens, Workload
from socratic_distill.dialogues.dialogue import ModelRole
from socratic_distill.evaluation.stored import StoredEvaluation

_Phases = dict[tuple[ModelRole, Phase], float]


@dataclass(frozen=True)
class Factors:
    """What was counted over what the averages would have had counted.

    Attributes:
        sent: of prompt tokens, by role.
        cached: of the odds that one of them was cached, by role; odds, so that no more than all can be.
        others: of tokens of the other phases.
    """

    sent: Mapping[ModelRole, float]
    cached: Mapping[ModelRole, float]
    others: Mapping[tuple[ModelRole, Phase], float]

    @classmethod
    def between(cls, counted: Sequence[Use], expected: Tokens) -> "Factors":
        """The factors from what was expected to what was counted; 1 where nothing was expected."""
        found, asked = _by_phase((one.role, one.phase, one.tokens) for one in counted), _totals(expected)
        sent, cached = dict[ModelRole, float](), dict[ModelRole, float]()
        for role in get_args(ModelRole):
            sent[role] = _ratio(_sent(found, role), _sent(asked, role))
            cached[role] = _ratio(_odds(found, role), _odds(asked, role))
        others = {key: _ratio(found.get(key, 0.0), number) for key, number in asked.items() if "prefill" not in key[1]}
        return cls(sent, cached, others)


@dataclass(frozen=True)
class Averages:
    """How dialogues go, and by how much that misses.

    Attributes:
        talk: how dialogues go.
        basis: where that is from.
        of_steps: corrections of training steps; None for none.
        of_evaluations: corrections of evaluations.
    """

    talk: Talk
    basis: str
    of_steps: Factors | None = None
    of_evaluations: Factors | None = None

    @classmethod
    def unknown(cls, config: SocraticConfig) -> "Averages":
        """Defaults."""
        return cls(Talk.unknown(config), "defaults")

    @classmethod
    def of(
        cls, workload: Workload, rows: Sequence[Mapping[str, Any]], evaluated: Sequence[StoredEvaluation], name: str
    ) -> "Averages | None":
        """Those of a run; None where it has no row that tells."""
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
        if told := [one for one in evaluated if one.tokens]:
            uses = [use for one in told for use in evaluation_uses(one.tokens)]
            of_evaluations = Factors.between(uses, workload.evaluations(talk, len(told)))
        return cls(talk, f"{len(rows)} steps of {name}", of_steps, of_evaluations)

    def correct(self, tokens: Tokens, factors: Factors | None) -> Tokens:
        """Tokens as the factors have them."""
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
            share = odds / (number + odds) if odds else 0.0
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


def _by_phase(uses: Iterable[tuple[ModelRole, Phase, float]]) -> _Phases:
    found: _Phases = {}
    for role, phase, number in uses:
        found[role, phase] = found.get((role, phase), 0.0) + number
    return found


def _totals(tokens: Tokens) -> _Phases:
    return _by_phase((key.role, key.phase, number) for key, number in tokens.items())


def _sent(tokens: _Phases, role: ModelRole) -> float:
    return tokens.get((role, "prefill"), 0.0) + tokens.get((role, "cached_prefill"), 0.0)


def _odds(tokens: _Phases, role: ModelRole) -> float:
    """Cached prompt tokens over the others; a token counts as not cached where all were."""
    return tokens.get((role, "cached_prefill"), 0.0) / max(1.0, tokens.get((role, "prefill"), 0.0))


def _ratio(counted: float, expected: float) -> float:
    return counted / expected if expected else 1.0
