"""What runs had reached and used at several of their steps, and what that comes to. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from socratic_distill.config.catalogue import catalogue
from socratic_distill.cost.costs import Tariff, step_cost

# Stands in for the tiny model, which no service hosts, in all three roles.
PRICED_AS = "Qwen/Qwen3.5-4B"
_COUNTED = ("tokens", "prompt_tokens", "sampled_tokens")
# Two-sided 95 % quantiles of Student's t, by the number of runs.
_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


@dataclass(frozen=True)
class Point:
    """A run at one of its steps.

    Attributes:
        step: number of steps before it.
        tokens: sums over these steps of the metrics that count tokens, by their names.
        measures: of the tutor on the held-out problems; None where there is nothing to measure.
    """

    step: int
    tokens: Mapping[str, float]
    measures: Mapping[str, float | None]

    @property
    def sampled(self) -> float:
        """Tokens that tutor and student sampled."""
        return self._sum("sampled_tokens/tutor", "sampled_tokens/student")

    @property
    def scored(self) -> float:
        """Tokens that the teacher read."""
        return self._sum("prompt_tokens/teacher")

    @property
    def trained(self) -> float:
        """Tokens of training passes, and of forward passes before them."""
        return self._sum("tokens/trained", "tokens/forward")

    @property
    def used(self) -> float:
        """All tokens that any model read, sampled or was trained on."""
        return self.sampled + self.scored + self.trained + self._sum("prompt_tokens/tutor", "prompt_tokens/student")

    @property
    def usd(self) -> float:
        """What they cost at the list prices of `PRICED_AS`, without a cache."""
        known = catalogue().price(PRICED_AS)
        assert known is not None, f"the price list lacks {PRICED_AS}"
        cost = step_cost(self.tokens, Tariff({"tutor": known.price, "student": known.price, "teacher": known.price}))
        assert cost is not None
        return cost

    def _sum(self, *names: str) -> float:
        return sum(self.tokens.get(name, 0.0) for name in names)


# A run, from before its first step to its end.
Run = Sequence[Point]


def add_up(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The sums of the metrics that count tokens."""
    sums: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            if name.partition("/")[0] in _COUNTED:
                sums[name] = sums.get(name, 0.0) + (value or 0.0)
    return sums


@dataclass(frozen=True)
class Spread:
    """A mean over runs, and half of its 95 % t-interval; None of a single run, which says nothing about others."""

    value: float
    half: float | None


def spread(values: Sequence[float]) -> Spread:
    """The mean of independent runs with its t-interval."""
    if len(values) < 2:
        return Spread(mean(values), None)
    return Spread(mean(values), _T[len(values)] * stdev(values) / math.sqrt(len(values)))


def at_end(runs: Sequence[Run], measure: str) -> list[float]:
    """A measure after each run that has it."""
    values = [run[-1].measures[measure] for run in runs]
    return [value for value in values if value is not None]


def difference(runs: Sequence[Run], others: Sequence[Run], measure: str) -> Spread:
    """How much larger a measure is after runs than after others with the same seeds, as pairs."""
    return spread([a - b for a, b in zip(at_end(runs, measure), at_end(others, measure), strict=True)])


def curve(runs: Sequence[Run], measure: str, cost: str) -> list[tuple[float, float]]:
    """The means over runs of a cost and of a measure, at each point of the runs."""
    points = []
    for at in zip(*runs, strict=True):
        values = [value for point in at if (value := point.measures[measure]) is not None]
        points.append((mean(getattr(point, cost) for point in at), mean(values)))
    return points


def cost_to_reach(points: Sequence[tuple[float, float]], target: float) -> float | None:
    """The cost at which a curve first is at most `target`, on straight lines between its points; None if it never is.

    Args:
        points: cost and value, by rising cost.
        target: the value.
    """
    before: tuple[float, float] | None = None
    for cost, value in points:
        if value <= target:
            if before is None:
                return cost
            return before[0] + (cost - before[0]) * (before[1] - target) / (before[1] - value)
        before = (cost, value)
    return None


def share_to_reach(runs: Sequence[Run], others: Sequence[Run], cost: str) -> float | None:
    """Which share of others' whole cost runs took to reach the mean `teacher_kl` that the others ended at."""
    *_, (whole, target) = curve(others, "teacher_kl", cost)
    found = cost_to_reach(curve(runs, "teacher_kl", cost), target)
    return None if found is None else found / whole
