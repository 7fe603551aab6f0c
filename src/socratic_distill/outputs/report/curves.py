"""Curves of a run over its steps, with confidence bands, thin enough for a page. Pure but for reading dialogues."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from socratic_distill.evaluation.intervals import Part, means
from socratic_distill.files.rows import number
from socratic_distill.outputs.report.facts import FIGURES, Facts
from socratic_distill.outputs.report.reading import Evaluated, Row

# As many points as a chart of a page's width can show apart.
MOST_POINTS = 150
# Where a run has no dialogues to count, its metrics still tell these.
_TOLD_BY_METRICS = {
    "solved": "solved", "teacher_kl": "teacher_kl", "first_reply/asks": "first_reply/asks",
    "first_reply/tells": "first_reply/tells", "reply_tokens": "reply_tokens/mean",
}  # fmt: skip
_FROM_METRICS = (
    "teacher_kl/answer", "teacher_kl/other", "reply_tokens/max", "reply_cut", "reward", "staleness/mean",
    "staleness/max", "time/step", "memory/peak_mib", "cost/usd", "tokens/trained", "drift/mean",
)  # fmt: skip
# Every dialogue counts here, which not every figure has.
_SOLVED = FIGURES.index("solved")
_LARGEST = ("reply_tokens/max", "staleness/max", "memory/peak_mib")


@dataclass
class StepSums:
    """Totals and counts of `FIGURES` over the dialogues of each step, by seed: what a bootstrap of seeds needs."""

    by_step: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)

    def add(self, step: int, seed: str, facts: Facts) -> None:
        """Counts a dialogue."""
        seeds = self.by_step.setdefault(step, {})
        if seed not in seeds:
            seeds[seed] = (np.zeros(len(FIGURES)), np.zeros(len(FIGURES)))
        totals, counts = seeds[seed]
        totals += facts.totals
        counts += facts.counts

    def dialogues(self, step: int) -> int:
        """How many dialogues of a step were counted."""
        return int(sum(counts[_SOLVED] for _, counts in self.by_step.get(step, {}).values()))


def curves(metrics: Mapping[int, Row], sums: StepSums) -> dict[str, Any]:
    """The curves as the page draws them.

    Returns:
        `from` and `to`, first and last step of each point, `[N]`; `dialogues`, how many were played in them, `[N]`;
        `series`, by figure, the values `v` `[N]` and, where the dialogues tell, the ends `l` and `h` of their 95 %
        intervals. None where there is no value.
    """
    pools = pools_of(sorted(metrics.keys() | sums.by_step.keys()), MOST_POINTS)
    series = _from_dialogues(pools, sums)
    for name, key in _TOLD_BY_METRICS.items():
        if not any(value is not None for value in series[name]["v"]):
            series[name] = {"v": _means(pools, metrics, key)}
    for key in _FROM_METRICS:
        series[key] = {"v": _means(pools, metrics, key, largest=key in _LARGEST)}
    series["cost/total"] = {"v": _running_total(pools, metrics, "cost/usd")}
    return {
        "from": [pool[0] for pool in pools],
        "to": [pool[-1] for pool in pools],
        "dialogues": [sum(map(sums.dialogues, pool)) for pool in pools],
        "series": {name: own for name, own in series.items() if any(value is not None for value in own["v"])},
    }


def evaluation_points(evaluations: Sequence[Evaluated]) -> dict[str, Any]:
    """The evaluations of a run as points of its curves: `at`, the batches, and the measures by name."""
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.measures)
    return {
        "at": [evaluation.batch for evaluation in evaluations],
        "series": {
            name: {
                short: [rounded(_part(evaluation.measures.get(name), long)) for evaluation in evaluations]
                for short, long in (("v", "value"), ("l", "low"), ("h", "high"))
            }
            for name in names
        },
    }


def pools_of(steps: Sequence[int], most: int) -> list[Sequence[int]]:
    """The steps in at most so many groups of equal size, the last one apart, in order."""
    size = -(-len(steps) // most) or 1
    return [steps[start : start + size] for start in range(0, len(steps), size)]


def rounded(value: float | None) -> float | int | None:
    """A number with five digits, as short as it can be written."""
    if value is None or not np.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _part(measure: object, name: str) -> float | None:
    return number(measure.get(name)) if isinstance(measure, dict) else None


def _from_dialogues(pools: Sequence[Sequence[int]], sums: StepSums) -> dict[str, dict[str, list[Any]]]:
    figures: dict[str, dict[str, list[Any]]] = {name: {"v": [], "l": [], "h": []} for name in FIGURES}
    for pool in pools:
        clusters = [(seed, own) for step in pool for seed, own in sums.by_step.get(step, {}).items()]
        parts = {
            name: [Part(seed, totals[index], int(counts[index])) for seed, (totals, counts) in clusters]
            for index, name in enumerate(FIGURES)
        }
        for name, measure in means(parts).items():
            for short, value in (("v", measure.value), ("l", measure.low), ("h", measure.high)):
                figures[name][short].append(rounded(value))
    return figures


def _means(pools: Sequence[Sequence[int]], metrics: Mapping[int, Row], key: str, largest: bool = False) -> list[Any]:
    points = []
    for pool in pools:
        values = [value for step in pool if (value := number(metrics.get(step, {}).get(key))) is not None]
        points.append(rounded(float(max(values) if largest else np.mean(values))) if values else None)
    return points


def _running_total(pools: Sequence[Sequence[int]], metrics: Mapping[int, Row], key: str) -> list[Any]:
    """The sum up to each point; None from the first step on whose value is unknown."""
    total: float | None = 0.0
    points = []
    for pool in pools:
        for step in pool:
            value = number(metrics.get(step, {}).get(key))
            total = None if value is None or total is None else total + value
        points.append(rounded(total))
    return points
