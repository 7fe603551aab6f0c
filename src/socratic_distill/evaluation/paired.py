"""Two tutors on the same seeds: how each measure differs, with its interval; who wins; how many seeds it takes.

A difference is paired: the seeds are the sample, and each gives one number, what the second tutor has there minus what
the first has. Two intervals are used, since the percentile bootstrap contains the truth too seldom on few seeds.

- A share with one dialogue a seed differs by -1, 0 or 1. Its interval is the score interval of Tango ("Equivalence Test
  and Confidence Interval for the Difference in Proportions for the Paired-Sample Design", Statistics in Medicine 1998).
- Of every other measure each end is the farther one of two: that of Student's t, and that of the studentised bootstrap
  (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 12). The first is too narrow for skewed
  numbers, the second for numbers with long tails on both sides.

`tests/unit/evaluation/test_paired.py` measures how often they contain the truth, for 20, 60 and 200 seeds. Pure.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from socratic_distill.evaluation.definitions import definition_of
from socratic_distill.evaluation.intervals import LEVEL, Floats, Part, by_cluster, resampled_means

FEW = 20
"""With fewer seeds an interval is rough."""
POWER = 0.8
"""How probable it is that the needed number of seeds shows the difference."""
_TAIL = (1.0 - LEVEL) / 2
_Z = NormalDist().inv_cdf(1.0 - _TAIL)
_HALVINGS = 60  # of a bracket of width 2: beyond the last digit of a double
_SAME = 1e-12  # relative: smaller variances are rounding

BySeed = Mapping[str, tuple[float, int]]
"""Of one measure, by seed: the sum of its values, and how many there are."""


@dataclass(frozen=True)
class Difference:
    """How much a measure of a second tutor differs from that of a first, over the seeds that both have.

    Attributes:
        value: the second's mean minus the first's; None without a common seed.
        low: lower end of the 95 % interval; None with fewer than two seeds.
        high: its upper end; None in the same case.
        seeds: number of common seeds.
        won: seeds on which the second is better; of a measure without a better direction, higher.
        lost: seeds on which it is worse, or lower.
        needed: number of seeds like these with which an interval of a difference of this size leaves out 0, with a
            probability of 80 %; None if the means are equal, or there are fewer than two seeds.
    """

    value: float | None
    low: float | None
    high: float | None
    seeds: int
    won: int = 0
    lost: int = 0
    needed: int | None = None

    @property
    def win_rate(self) -> float | None:
        """Share of seeds that the second wins, a tie counting half; None without a common seed."""
        return (self.won + (self.seeds - self.won - self.lost) / 2) / self.seeds if self.seeds else None

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def is_rough(self) -> bool:
        """Whether there are too few seeds to trust the interval."""
        return self.seeds < FEW


def sums_by_seed(parts: Mapping[str, Iterable[Part]]) -> dict[str, dict[str, tuple[float, int]]]:
    """The sums of each measure by seed, as `paired_differences` takes them.

    Args:
        parts: as for `socratic_distill.evaluation.intervals.means`.
    """
    return {name: by_cluster(of_measure) for name, of_measure in parts.items()}


def paired_differences(first: Mapping[str, BySeed], second: Mapping[str, BySeed]) -> dict[str, Difference]:
    """How much each measure of a second tutor differs from a first's.

    Args:
        first: the first tutor's sums, by measure and seed; `Evaluation.by_seed`.
        second: the second tutor's.

    Returns:
        The measures that both have, in the order of the first's.
    """
    return {name: _difference(name, first[name], second[name]) for name in first if name in second}


def paired_ends(differences: Floats, is_share: bool) -> tuple[Floats, Floats]:
    """The ends of the 95 % intervals of means of paired differences, `[M]` each.

    Args:
        differences: a column for each mean, a row for each seed, `[C, M]`; at least two rows.
        is_share: whether they are differences of shares, which lie between -1 and 1.
    """
    low, high = _robust(differences)
    if not is_share:
        return low, high
    low, high = np.maximum(low, -1.0), np.minimum(high, 1.0)
    is_single = np.isin(differences, (-1.0, 0.0, 1.0)).all(axis=0)  # [M]
    ups, downs = ((sign * differences > 0.5).sum(axis=0) for sign in (1.0, -1.0))
    own_low, own_high = (_score_end(ups, downs, len(differences), side) for side in (-1.0, 1.0))
    return np.where(is_single, own_low, low), np.where(is_single, own_high, high)


def _difference(name: str, first: BySeed, second: BySeed) -> Difference:
    seeds = sorted(seed for seed in first if seed in second and first[seed][1] and second[seed][1])
    if not seeds:
        return Difference(None, None, None, 0)
    means, linear = zip(*(_linearised([of[seed] for seed in seeds]) for of in (first, second)), strict=True)
    value, by_seed = means[1] - means[0], linear[1] - linear[0]  # [C]
    definition = definition_of(name)
    sign = -1.0 if definition is not None and definition.direction == "down" else 1.0
    gains = [sign * (second[seed][0] / second[seed][1] - first[seed][0] / first[seed][1]) for seed in seeds]
    won, lost = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    if len(seeds) < 2:
        return Difference(value, None, None, len(seeds), won, lost)
    is_share = definition is not None and definition.kind == "share"
    low, high = (float(end[0]) for end in paired_ends(by_seed[:, None], is_share))
    needed = _needed(value, float(np.std(by_seed, ddof=1)))
    return Difference(value, min(low, value), max(high, value), len(seeds), won, lost, needed)


def _linearised(sums: list[tuple[float, int]]) -> tuple[float, Floats]:
    """A mean, and for each seed a number `[C]` of which it is the plain mean.

    With equally many values a seed, these are the seeds' own means. Otherwise they are the ratio's linear
    approximation, so that a seed with more values weighs more, as it does in the mean.
    """
    totals, counts = (np.asarray([part[i] for part in sums], np.float64) for i in (0, 1))  # [C]
    mean = math.fsum(totals) / counts.sum()
    if (counts == counts[0]).all():
        return mean, totals / counts
    return mean, mean + (totals - mean * counts) / counts.mean()


def _needed(value: float, spread: float) -> int | None:
    if not value:
        return None
    return max(2, math.ceil(((_Z + NormalDist().inv_cdf(POWER)) * spread / value) ** 2))


def _robust(differences: Floats) -> tuple[Floats, Floats]:
    """Of Student's t interval and the studentised bootstrap's, the farther of each two ends, `[M]`."""
    count = len(differences)
    mean, spread = differences.mean(axis=0), differences.std(axis=0)  # [M]
    half = _student(count - 1) * spread / math.sqrt(count - 1)
    # Shifted by the mean, so that the resampled variances lose no digits.
    shifted = differences - mean
    sums = np.concatenate([shifted, shifted**2], axis=1)  # [C, 2M]
    means, squares = np.split(resampled_means(sums, np.ones_like(sums)), 2, axis=1)  # [R, M]
    variances = squares - means**2
    # A resample of equal numbers says nothing of the spread.
    is_usable = variances > _SAME * np.maximum(spread**2, np.finfo(np.float64).tiny)
    scores = np.divide(means, np.sqrt(np.maximum(variances, 0.0)), out=np.full_like(means, np.nan), where=is_usable)
    scores[:, ~is_usable.any(axis=0)] = 0.0
    quantile = np.quantile if is_usable.all() else np.nanquantile  # the latter is slow
    below, above = quantile(scores, (1.0 - _TAIL, _TAIL), axis=0)  # [M]
    return np.minimum(mean - half, mean - below * spread), np.maximum(mean + half, mean - above * spread)


def _score_end(ups: Floats, downs: Floats, count: int, side: float) -> Floats:
    """An end of Tango's interval, `[M]`: the farthest difference that its score test does not reject.

    Args:
        ups: seeds on which only the second has it, `[M]`.
        downs: seeds on which only the first has it, `[M]`.
        count: number of seeds.
        side: -1 for the lower end, 1 for the upper one.
    """
    inside, outside = (ups - downs) / count, np.full(ups.shape, side)
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        # The probability of a "down" that is likeliest if this is the difference.
        b = (2 * count - ups + downs) * middle - ups - downs
        c = -downs * middle * (1 - middle)
        likeliest = (np.sqrt(np.maximum(b * b - 8 * count * c, 0.0)) - b) / (4 * count)
        variance = count * (2 * likeliest + middle * (1 - middle))
        is_inside = (ups - downs - count * middle) ** 2 <= _Z**2 * variance
        inside, outside = np.where(is_inside, middle, inside), np.where(is_inside, outside, middle)
    return (inside + outside) / 2


@cache
def _student(freedom: int) -> float:
    """The 97.5 percent quantile of Student's t distribution."""
    low, high = 0.0, 13.0  # 12.7 with one degree of freedom
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < LEVEL else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Probability that Student's t lies between -t and t (Abramowitz & Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    square, is_odd = math.cos(angle) ** 2, freedom % 2
    term, total = (math.cos(angle), 0.0) if is_odd else (1.0, 0.0)
    for k in range(freedom // 2):
        total += term
        term *= square * ((2 * k + 2) / (2 * k + 3) if is_odd else (2 * k + 1) / (2 * k + 2))
    return (angle + math.sin(angle) * total) * 2 / math.pi if is_odd else math.sin(angle) * total
