"""EducationQ's figures of learning on gains that are counted by hand."""

import numpy as np
import pytest

from socratic_distill import ConfigError, Evaluation
from socratic_distill.evaluation.suites.learning import gain_figures, learning_gain

GAINS = np.array([0.5, 0.25, -0.25, 0.0, 1.0, 0.0])
SUBJECTS = ["maths", "maths", "maths", "law", "law", ""]


def test_figures_are_those_counted_by_hand():
    found = gain_figures(GAINS, SUBJECTS)
    assert found["learning/alg"].value == pytest.approx(1.5 / 6)
    assert found["learning/pnir"].value == pytest.approx(1 / 3), "one seed fell, three rose"
    assert found["learning/css"].value == pytest.approx(abs(0.5 / 3 - 0.5) / 2), "the mean gains of two subjects"
    for measure in found.values():
        assert (
            measure.low is not None and measure.high is not None and measure.low <= (measure.value or 0) <= measure.high
        )


def test_without_a_rise_or_a_second_subject_there_is_no_ratio():
    found = gain_figures(np.array([-0.5, 0.0]), ["maths", "maths"])
    assert found["learning/pnir"].value is None and found["learning/css"].value is None
    assert found["learning/alg"].value == -0.25


def test_one_seed_has_no_interval():
    found = gain_figures(np.array([0.5]), ["maths"])["learning/alg"]
    assert (found.value, found.low, found.high) == (0.5, None, None)


def evaluation(by_seed):
    return Evaluation("final", "weights", {}, (), (), lambda tokens: [], by_seed=by_seed)


def test_rates_of_a_seeds_dialogues_are_averaged():
    by_seed = {"solve_rate/before": {"a": (1.0, 2), "b": (0.0, 1)}, "solve_rate/after": {"a": (2.0, 2), "c": (1.0, 1)}}
    assert learning_gain(evaluation(by_seed))["learning/alg"].value == 0.5
    with pytest.raises(ConfigError, match="set eval_solve_samples"):
        learning_gain(evaluation({}))
