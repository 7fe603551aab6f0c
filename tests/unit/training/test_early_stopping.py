"""Early stopping: when it stops, and that it decides the same from a run's history as from its hooks."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, strategies as st

from socratic_distill import ConfigError, EarlyStopping, Measure, RunHistory, Stop
from socratic_distill.evaluation.stored import StoredEvaluation


@dataclass
class Measured:
    """An evaluation of which only the measures are asked for."""

    measures: dict[str, Measure]


def measured(value: float | None) -> Any:
    return Measured({"teacher_kl": Measure(value, None, None, 4)})


def steps(values: list[Any]) -> list[dict[str, Any]]:
    return [{"step": step, "teacher_kl": value} for step, value in enumerate(values)]


def stopped_after(stopping: EarlyStopping, values: list[Any]) -> int | None:
    """The number of steps after which it stops, all told by hooks."""
    assert stopping.on_begin(RunHistory(0, [], [])) is None
    for row in steps(values):
        if stopping.on_step(row["step"], row):
            return row["step"] + 1
    return None


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([3, 2, 1], {}, None),
        ([1, 2, 3], {}, 3),
        ([1, 1, 1], {}, 3),
        ([3, 4, 2, 3, 3], {}, 5),
        ([1, 2, 3], {"goal": "higher"}, None),
        ([3, 2, 1], {"goal": "higher"}, 3),
        ([3, 2.9, 2.8, 2.7], {"min_change": 0.25}, 3),
        ([3, 2.9, 2.8, 2.6], {"min_change": 0.05}, None),
        ([1, None, 2, math.nan, math.inf, 2], {}, 6),
        ([None, None, None], {}, None),
    ],
)
def test_it_stops_after_so_many_values_without_an_improvement(values, options, expected):
    stopping = EarlyStopping("teacher_kl", 2, on="step", **({"goal": "lower"} | options))
    assert stopped_after(stopping, values) == expected


def test_the_reason_names_the_measure_and_its_best_value():
    stopping = EarlyStopping("teacher_kl", 2, 0.5, goal="lower", on="step")
    stop = stopping.on_begin(RunHistory(3, steps([1.0, 0.9, 0.8]), []))
    assert stop == Stop(
        "teacher_kl did not get lower by more than 0.5 in the last 2 steps; its best value is 1, at step 0"
    )


values = st.lists(st.one_of(st.none(), st.floats(), st.integers(0, 3)), max_size=12)


@given(values, st.integers(1, 4), st.sampled_from([0, 0.5]), st.sampled_from(["lower", "higher"]), st.integers(0, 12))
def test_a_resumed_run_stops_where_one_never_interrupted_does(series, patience, change, goal, cut):
    make = lambda: EarlyStopping("teacher_kl", patience, change, goal=goal, on="step")  # noqa: E731
    expected = stopped_after(make(), series)
    rows = steps(series)
    if expected is not None:
        cut = min(cut, expected)
    resumed = make()
    stop = resumed.on_begin(RunHistory(cut, rows[:cut], []))
    batch = min(cut, len(rows))
    while stop is None and batch < len(rows):
        stop = resumed.on_step(batch, rows[batch])
        batch += 1
    assert (None if stop is None else batch) == expected


def test_evaluations_reported_twice_or_late_count_once_and_in_order():
    stopping = EarlyStopping("teacher_kl", 2, goal="lower")
    history = [StoredEvaluation(0, "base", measured(3.0).measures), StoredEvaluation(8, "b8", measured(2.0).measures)]
    assert stopping.on_begin(RunHistory(8, [], history)) is None
    assert stopping.on_evaluation(8, measured(2.0)) is None, "it was in the history too"
    assert stopping.on_evaluation(4, measured(1.0)) is None, "it was made up for"
    assert stopping.on_evaluation(12, measured(1.5)) == Stop(
        "teacher_kl did not get lower in the last 2 evaluations; its best value is 1, before batch 4"
    )


def test_it_forgets_everything_at_the_next_beginning():
    stopping = EarlyStopping("teacher_kl", 2, goal="lower", on="step")
    assert stopped_after(stopping, [1, 2, 3]) == 3
    assert stopped_after(stopping, [1, 2]) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": 0}, "patience=0"),
        ({"patience": True}, "patience=True"),
        ({"patience": 2.0}, "patience=2.0"),
        ({"min_change": -1}, "min_change=-1"),
        ({"min_change": math.nan}, "min_change=nan"),
        ({"min_change": "1"}, "min_change='1'"),
        ({"goal": "down"}, "goal='down'"),
        ({"on": "batch"}, "on='batch'"),
        ({"measure": "teacher-kl"}, "measure='teacher-kl'"),
        ({"measure": "time/step", "on": "step"}, "not the same when a run resumes"),
        ({"measure": "memory/peak_mib", "on": "step"}, "not the same when a run resumes"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        EarlyStopping(**({"measure": "teacher_kl", "patience": 2, "goal": "lower"} | arguments))


def test_a_value_that_steps_or_evaluations_lack_is_an_error():
    with pytest.raises(ConfigError, match="no key 'teacher-kl'"):
        EarlyStopping("teacher-kl", 1, goal="lower", on="step").on_step(0, {"teacher_kl": 1.0})
    with pytest.raises(ConfigError, match="no measure 'solve_rate/after'"):
        EarlyStopping("solve_rate/after", 1, goal="higher").on_evaluation(0, measured(1.0))
