"""Curves: pooled, with bands, and thin enough."""

import pytest
from tests.support.written_runs import ASKS, TELLS, row_of

from socratic_distill.outputs.report.curves import MOST_POINTS, StepSums, curves, evaluation_points, rounded
from socratic_distill.outputs.report.facts import facts_of
from socratic_distill.outputs.report.reading import Evaluated


def sums_of(rows):
    sums = StepSums()
    for row in rows:
        sums.add(row["step"], row["seed"], facts_of(row))
    return sums


def test_a_step_is_the_mean_over_its_dialogues_with_a_band_over_its_seeds():
    rows = [row_of(texts, seed=f"s{i}") for i, texts in enumerate([TELLS, TELLS, ASKS, ASKS])]
    telling = curves({}, sums_of(rows))["series"]["mathdial/telling@1"]
    assert telling["v"] == [0.5] and 0 <= telling["l"][0] < 0.5 < telling["h"][0] <= 1


def test_one_seed_alone_has_no_band():
    solved = curves({}, sums_of([row_of(), row_of(number=1)]))["series"]["solved"]
    assert solved == {"v": [1], "l": [None], "h": [None]}


def test_long_runs_are_pooled_without_losing_a_step():
    steps = 2 * MOST_POINTS + 1
    metrics = {step: {"time/step": float(step), "staleness/max": step} for step in range(steps)}
    found = curves(metrics, StepSums())
    assert len(found["from"]) <= MOST_POINTS and found["from"][0] == 0 and found["to"][-1] == steps - 1
    assert [first - 1 for first in found["from"][1:]] == found["to"][:-1]
    assert found["series"]["time/step"]["v"][:2] == [1, 4] and found["series"]["staleness/max"]["v"][:2] == [2, 5]


def test_pooled_steps_weigh_by_their_dialogues():
    rows = [row_of(TELLS, step=0, seed="a"), *(row_of(ASKS, step=1, seed=f"b{i}") for i in range(3))]
    metrics = {step: {} for step in range(2 * MOST_POINTS)}
    assert curves(metrics, sums_of(rows))["series"]["mathdial/telling@1"]["v"][0] == 0.25


def test_figures_of_metrics_stand_in_where_there_are_no_dialogues():
    metrics = {0: {"teacher_kl": 0.25, "solved": None}, 1: {"teacher_kl": 0.5, "solved": 1.0}}
    series = curves(metrics, StepSums())["series"]
    assert series["teacher_kl"] == {"v": [0.25, 0.5]} and series["solved"] == {"v": [None, 1]}
    assert "mathdial/success@1" not in series and "cost/total" not in series


def test_the_cost_so_far_ends_where_a_price_is_unknown():
    series = curves(
        {0: {"cost/usd": 0.5}, 1: {"cost/usd": 0.25}, 2: {"cost/usd": None}, 3: {"cost/usd": 1.0}}, StepSums()
    )
    assert series["series"]["cost/total"]["v"] == [0.5, 0.75, None, None]


def test_evaluations_are_points_with_the_measures_that_each_has(tmp_path):
    first = Evaluated(tmp_path, 0, "", {"solved": {"value": 0.5, "low": 0.25, "high": 1}, "leaks": 3})
    last = Evaluated(tmp_path, 8, "", {"asks": {"value": float("nan")}})
    assert evaluation_points([first, last]) == {
        "at": [0, 8],
        "series": {
            "solved": {"v": [0.5, None], "l": [0.25, None], "h": [1, None]},
            "leaks": {"v": [None, None], "l": [None, None], "h": [None, None]},
            "asks": {"v": [None, None], "l": [None, None], "h": [None, None]},
        },
    }


@pytest.mark.parametrize(("value", "short"), [(1 / 3, 0.33333), (2.0, 2), (None, None), (float("inf"), None)])
def test_numbers_are_written_short(value, short):
    assert rounded(value) == short
