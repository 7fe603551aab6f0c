"""Means with bootstrap confidence intervals. Pure.

The percentile bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13) with resampling of
whole clusters (Cameron, Gelbach & Miller, "Bootstrap-Based Improvements for Inference with Clustered Errors", 2008). A
cluster is a seed, since dialogues on the same problem are similar, and so are the tokens of a dialogue. Each resample
draws as many seeds as there are, with replacement, and takes the mean of all values that belong to them. The 2.5 and
97.5 percent quantiles of 2000 such means are the interval.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

LEVEL = 0.95
RESAMPLES = 2000

_RANDOM_SEED = 1993
# Number of drawn clusters that are in memory at once, 8 MB.
_DRAWN_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Measure:
    """A mean with its interval.

    Attributes:
        value: the mean; None if there are no values.
        low: lower end of the 95 % interval; None if fewer than two seeds have values, since one seed says nothing about
            others.
        high: its upper end; None in the same case.
        count: number of values that the mean is over.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int


class Part(NamedTuple):
    """A contribution to a mean: one value, such as a share's 0 or 1, or the sum of several values.

    Attributes:
        cluster: id of the seed that it belongs to.
        total: sum of the values.
        number: number of values.
    """

    cluster: str
    total: float
    number: int = 1


def means(parts: Mapping[str, Iterable[Part]]) -> dict[str, Measure]:
    """The mean of each measure, sum of totals over sum of numbers, with its interval. The order of parts is irrelevant.

    All measures use the same resamples. If all values are the same, the interval is a single point. That does not make
    a share of 0 or 1 certain: no seed in the sample happened to differ.

    Args:
        parts: the parts of each measure, by its name.
    """
    sums = {name: by_cluster(of_measure) for name, of_measure in parts.items()}
    clusters = sorted({cluster for own in sums.values() for cluster in own})
    totals, counts = (
        np.asarray(
            [[own.get(cluster, (0.0, 0))[part] for own in sums.values()] for cluster in clusters],
            np.float64,
        )
        for part in (0, 1)
    )  # [C, M]
    if not clusters:
        return dict.fromkeys(sums, Measure(None, None, None, 0))
    resampled = resampled_means(totals, counts)  # [R, M]
    return {name: _measure(own, resampled[:, i]) for i, (name, own) in enumerate(sums.items())}


def by_cluster(parts: Iterable[Part]) -> dict[str, tuple[float, int]]:
    """Total and count of each cluster that has any values."""
    gathered: dict[str, list[Part]] = {}
    for part in parts:
        if part.number:
            gathered.setdefault(part.cluster, []).append(part)
    # Exact sums, so that the order of parts does not change the rounding.
    return {name: (math.fsum(p.total for p in group), sum(p.number for p in group)) for name, group in gathered.items()}


def resampled_means(totals: Floats, counts: Floats) -> Floats:
    """Each measure's mean on each resample, `[R, M]`; NaN if no value of the measure was drawn.

    Args:
        totals: sums by cluster and measure, `[C, M]`.
        counts: numbers of values, `[C, M]`.
    """
    random = np.random.Generator(np.random.PCG64(_RANDOM_SEED))
    size, sums = len(totals), np.concatenate([totals, counts], axis=1)  # [C, 2M]
    rows, chunks = max(1, _DRAWN_AT_ONCE // size), []
    for start in range(0, RESAMPLES, rows):
        many = min(rows, RESAMPLES - start)
        # The offset of each row makes its clusters distinct, so that one bincount counts the draws of all rows.
        drawn = random.integers(size, size=(many, size)) + size * np.arange(many)[:, None]  # [many, C]
        times = np.bincount(drawn.ravel(), minlength=many * size).reshape(many, size)  # [many, C]
        chunks.append(times.astype(np.float64) @ sums)  # [many, 2M]
    total, count = np.split(np.concatenate(chunks), 2, axis=1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _measure(sums: Mapping[str, tuple[float, int]], resampled: Floats) -> Measure:
    if not sums:
        return Measure(None, None, None, 0)
    count = sum(number for _, number in sums.values())
    value = math.fsum(total for total, _ in sums.values()) / count
    if len(sums) < 2:
        return Measure(value, None, None, count)
    tail = (1.0 - LEVEL) / 2
    low, high = np.quantile(resampled[~np.isnan(resampled)], (tail, 1.0 - tail))
    # Sums of the same numbers in another order may round differently, which could leave the value just outside.
    return Measure(value, min(float(low), value), max(float(high), value), count)
