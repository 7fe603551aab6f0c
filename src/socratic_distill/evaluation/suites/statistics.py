"""Figures that are no means, with bootstrap intervals over clusters: kappa and averages of F1. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from socratic_distill.evaluation.intervals import LEVEL, Floats, Measure, resampled_means


class Pair(NamedTuple):
    """A label that is right and the one that was given; labels are numbers from 0.

    Attributes:
        cluster: pairs with the same one are alike.
        right: the right label.
        given: the label that was given.
    """

    cluster: str
    right: int
    given: int


def cohens_kappa(pairs: Sequence[Pair], labels: int) -> Measure:
    """Agreement beyond chance (Cohen, "A Coefficient of Agreement for Nominal Scales", 1960).

    Zero for whoever always gives the same label, also where that label is the only one.

    Args:
        pairs: the labels of both sides.
        labels: number of labels.
    """
    return _of_tables(pairs, labels, _kappa)


def f1_average(pairs: Sequence[Pair], labels: int, *, weighted: bool) -> Measure:
    """Mean of the labels' F1 scores, over the labels that either side gives; a score without a base counts as 0.

    Args:
        pairs: the labels of both sides.
        labels: number of labels.
        weighted: weigh each label by how often it is right, instead of equally.
    """
    return _of_tables(pairs, labels, _weighted_f1 if weighted else _macro_f1)


def _of_tables(pairs: Sequence[Pair], labels: int, statistic: Callable[[Floats], Floats]) -> Measure:
    """A statistic of the table of pairs, with a percentile bootstrap interval over the clusters.

    Args:
        pairs: the labels of both sides.
        labels: number of labels, L.
        statistic: takes tables `[R, L, L]`, right by given, in any unit; returns `[R]`.
    """
    if not pairs:
        return Measure(None, None, None, 0)
    places = {name: index for index, name in enumerate(sorted({pair.cluster for pair in pairs}))}
    tables = np.zeros((len(places), labels, labels))  # [C, L, L]
    for pair in pairs:
        tables[places[pair.cluster], pair.right, pair.given] += 1
    value = float(statistic(tables.sum(axis=0)[None])[0])
    if len(places) < 2:
        return Measure(value, None, None, len(pairs))
    flat = tables.reshape(len(places), -1)
    resampled = statistic(resampled_means(flat, np.ones_like(flat)).reshape(-1, labels, labels))  # [R]
    tail = (1 - LEVEL) / 2
    low, high = (float(end) for end in np.quantile(resampled, (tail, 1 - tail)))
    return Measure(value, min(low, value), max(high, value), len(pairs))


def _kappa(tables: Floats) -> Floats:
    total = tables.sum(axis=(1, 2))  # [R]
    agreed = np.trace(tables, axis1=1, axis2=2) / total
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / total**2
    # Where both sides give one label only, agreement says nothing: chance explains all of it.
    return np.divide(agreed - chance, 1 - chance, out=np.zeros_like(agreed), where=chance < 1 - 1e-12)


def _scores(tables: Floats) -> tuple[Floats, Floats]:
    """F1 of each label, and whether any side gives it, `[R, L]`."""
    hits = np.diagonal(tables, axis1=1, axis2=2)
    both = tables.sum(axis=1) + tables.sum(axis=2)
    return np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0), both > 0


def _macro_f1(tables: Floats) -> Floats:
    scores, is_given = _scores(tables)
    return scores.sum(axis=1) / is_given.sum(axis=1)


def _weighted_f1(tables: Floats) -> Floats:
    scores, _ = _scores(tables)
    support = tables.sum(axis=2)
    return (scores * support).sum(axis=1) / support.sum(axis=1)
