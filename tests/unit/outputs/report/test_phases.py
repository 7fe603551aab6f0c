"""The seconds of a run by phase."""

from typing import get_args

import pytest
from hypothesis import given, strategies as st

from socratic_distill.outputs.report.embedding import to_json
from socratic_distill.outputs.report.phases import MOST_BARS, PHASES, phases
from socratic_distill.training.step_times import Phase


def row(seconds=4.0, **shares):
    return {"time/step": seconds, "time/tutor": 3.0} | {
        f"time/critical/{name}": share for name, share in shares.items()
    }


def test_the_parts_of_a_bar_add_up_to_the_step():
    found = phases({0: row(tutor=0.75, update=0.25), 1: row(8.0, tutor=1.0)})
    assert (found["from"], found["to"]) == ([0, 1], [0, 1])
    assert found["waited"] == {"tutor": [3, 8], "update": [1, 0]}
    assert [(one["name"], one["waited"], one["under_way"]) for one in found["rows"]] == [
        ("tutor", 11, 6),
        ("update", 1, 0),
    ]


def test_many_steps_share_bars_that_hold_their_means():
    found = phases({step: row(float(step), update=1.0) for step in range(1, 2 * MOST_BARS + 1)})
    assert len(found["from"]) == MOST_BARS
    assert (found["from"][0], found["to"][0], found["waited"]["update"][0]) == (1, 2, 1.5)


def test_steps_without_times_have_no_bar():
    found = phases({0: {}, 1: {"time/step": 2.0}, 2: row(update=1.0), 3: row(0.0, update=1.0)})
    assert found["from"] == [2]
    assert phases({}) == {"from": [], "to": [], "waited": {}, "rows": []}


@given(st.dictionaries(
    st.sampled_from(["time/step", *(f"time/critical/{name}" for name in PHASES), "time/tutor"]),
    st.none() | st.booleans() | st.text() | st.floats() | st.integers() | st.just(10**400),
))  # fmt: skip
def test_whatever_a_row_holds_the_page_can_hold_the_result(values):
    assert to_json(phases({0: values, 1: row(tutor=1.0)}))


def test_the_phases_are_those_of_a_step():
    assert set(PHASES) == set(get_args(Phase)), "a phase without a name is not drawn"


def test_a_share_above_one_counts_as_one():
    assert phases({0: row(update=7.0)})["waited"]["update"] == [pytest.approx(4.0)]
