"""EducationQ's three figures of learning, from the student's solve rates before and after each dialogue. Pure.

Shi et al., "EducationQ: Evaluating LLMs' Teaching Capabilities Through Multi-Agent Dialogue Framework", ACL 2025. It
tests students on multiple choice before and after teaching. Its code was not at hand: these are the figures as its
authors describe them, on our solve rates, for seeds with any answer.

- ALG, the absolute learning gain: the mean of the rate after minus the rate before. It is `solve_rate/delta`, which is
  also PedagogicalRL's delta, but weighs every seed alike.
- PNIR, the positive-negative impact ratio: seeds on which the rate fell, over seeds on which it rose.
- CSS, the cross-subject stability: the standard deviation of the subjects' gains. A subject is a seed's first tag.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.evaluation.intervals import LEVEL, Floats, Measure, resampled_means

_BEFORE, _AFTER = "solve_rate/before", "solve_rate/after"


def learning_gain(evaluation: Evaluation) -> dict[str, Measure]:
    """ALG, PNIR and CSS of an evaluation, as `learning/alg`, `learning/pnir` and `learning/css`.

    PNIR is None if no seed's rate rose, CSS if the seeds have fewer than two first tags.

    Args:
        evaluation: one with solve rates: `eval_solve_samples` is above 0.

    Raises:
        ConfigError: it has no solve rates.
    """
    before, after = (_rates(evaluation, name) for name in (_BEFORE, _AFTER))
    seeds = sorted(before.keys() & after.keys())
    if not seeds:
        raise ConfigError("the evaluation has no solve rates; set eval_solve_samples to at least 1")
    tags = {scores.dialogue.seed.id: scores.dialogue.seed.tags for scores in evaluation.dialogues}
    gains = np.array([after[seed] - before[seed] for seed in seeds])  # [C]
    return gain_figures(gains, [next(iter(tags.get(seed, ())), "") for seed in seeds])


def gain_figures(gains: Floats, subjects: Sequence[str]) -> dict[str, Measure]:
    """ALG, PNIR and CSS, each with its bootstrap interval over the seeds.

    Args:
        gains: the rate after minus the rate before of each seed, `[C]`.
        subjects: the subject of each seed; "" for none.
    """
    names = sorted(set(subjects) - {""})
    belongs = np.array([[subject == name for name in names] for subject in subjects], float).reshape(len(gains), -1)
    sums = np.column_stack([gains, gains < 0, gains > 0, gains[:, None] * belongs, belongs])  # [C, 3 + 2S]
    drawn = resampled_means(sums, np.ones_like(sums)) if len(gains) > 1 else None  # [R, 3 + 2S]
    figures = {"alg": lambda table: table[:, 0], "pnir": _impact, "css": lambda table: _stability(table, len(names))}
    return {
        f"learning/{name}": _measure(
            figure(sums.mean(axis=0)[None]), None if drawn is None else figure(drawn), len(gains)
        )
        for name, figure in figures.items()
    }


def _rates(evaluation: Evaluation, name: str) -> Mapping[str, float]:
    return {seed: total / count for seed, (total, count) in evaluation.by_seed.get(name, {}).items()}


def _impact(table: Floats) -> Floats:
    return np.divide(table[:, 1], table[:, 2], out=np.full(len(table), np.nan), where=table[:, 2] > 0)


def _stability(table: Floats, subjects: int) -> Floats:
    if subjects < 2:
        return np.full(len(table), np.nan)
    totals, counts = table[:, 3 : 3 + subjects], table[:, 3 + subjects :]
    means = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    return means.std(axis=1)  # NaN if a resample lacks a subject


def _measure(value: Floats, drawn: Floats | None, count: int) -> Measure:
    if np.isnan(value[0]):
        return Measure(None, None, None, 0)
    known = np.empty(0) if drawn is None else drawn[~np.isnan(drawn)]
    if not len(known):
        return Measure(float(value[0]), None, None, count)
    tail = (1 - LEVEL) / 2
    low, high = (float(end) for end in np.quantile(known, (tail, 1 - tail)))
    return Measure(float(value[0]), min(low, float(value[0])), max(high, float(value[0])), count)
