"""Means with bootstrap confidence intervals. Pure.

The percentile bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13), resampling whole
clusters (Cameron, Gelbach & Miller, "Bootstrap-Based Improvements for Inference with Clustered Errors", 2008): what
belongs to one seed goes together, since dialogues on the same problem are alike, and so are the tokens of a dialogue.
Seeds are drawn with replacement, as many as there are, and the mean is taken of all that belongs to those drawn;
2000 such means are sorted, and their 2.5 and 97.5 percent points are the interval.
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
# Drawn clusters of the resamples that are in memory at once, 8 MB.
_DRAWN_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Measure:
    """A mean with its interval.

    Attributes:
        value: the mean; None of nothing.
        low: lower end of the 95 % interval; None where fewer than two seeds have a part in the mean, since one seed
            says nothing about others.
        high: its upper end, likewise.
        count: number of things that the mean is over.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int


class Part(NamedTuple):
    """What one thing adds to a mean: a share's 0 or 1, or the sum over several things.

    Attributes:
        cluster: the seed that it belongs to.
        total: sum of the values.
        number: how many values.
    """

    cluster: str
    total: float
    number: int = 1


def means(parts: Mapping[str, Iterable[Part]]) -> dict[str, Measure]:
    """The mean of each measure's parts, totals over numbers, with its interval. The order of parts does not matter.

    All measures are taken of the same resamples. Where every value is the same, so is every mean, and the interval is
    that point alone: a share of 0 or 1 is not known for certain then, there was only no seed that differed.

    Args:
        parts: the parts of each measure, by its name.
    """
    sums = {name: _by_cluster(each) for name, each in parts.items()}
    clusters = sorted({cluster for each in sums.values() for cluster in each})
    totals, counts = (
        np.asarray([[each.get(cluster, (0.0, 0))[part] for each in sums.values()] for cluster in clusters], np.float64)
        for part in (0, 1)
    )  # [C, M]
    if not clusters:
        return dict.fromkeys(sums, Measure(None, None, None, 0))
    resampled = _resampled_means(totals, counts)  # [R, M]
    return {name: _measure(each, resampled[:, i]) for i, (name, each) in enumerate(sums.items())}


def _by_cluster(parts: Iterable[Part]) -> dict[str, tuple[float, int]]:
    """Total and count of each cluster that has any values."""
    gathered: dict[str, list[Part]] = {}
    for part in parts:
        if part.number:
            gathered.setdefault(part.cluster, []).append(part)
    # Exact sums, so that the order of parts leaves no trace.
    return {name: (math.fsum(p.total for p in each), sum(p.number for p in each)) for name, each in gathered.items()}


def _resampled_means(totals: Floats, counts: Floats) -> Floats:
    """Each measure's mean on each resample, `[R, M]`; NaN where no value of the measure was drawn.

    Args:
        totals: sums by cluster and measure, `[C, M]`.
        counts: numbers of values, likewise.
    """
    random = np.random.Generator(np.random.PCG64(_RANDOM_SEED))
    size, sums = len(totals), np.concatenate([totals, counts], axis=1)  # [C, 2M]
    rows, found = max(1, _DRAWN_AT_ONCE // size), []
    for start in range(0, RESAMPLES, rows):
        many = min(rows, RESAMPLES - start)
        drawn = random.integers(size, size=(many, size)) + size * np.arange(many)[:, None]
        times = np.bincount(drawn.ravel(), minlength=many * size).reshape(many, size)
        found.append(times.astype(np.float64) @ sums)
    total, count = np.split(np.concatenate(found), 2, axis=1)
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
    # Sums of the same numbers in another order are rounded otherwise.
    return Measure(value, min(float(low), value), max(float(high), value), count)
