"""The sentence on top of a report: what it counts, how sure it is, and what it says where there is little."""

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st
from tests.support.written_runs import ASKS, TELLS, row_of, write_evaluation, write_run

from socratic_distill.outputs.report.building import build
from socratic_distill.outputs.report.headline import Column
from socratic_distill.outputs.report.reading import Evaluated, RunFiles
from socratic_distill.outputs.report.verdict import Share, difference, share_of, verdict_of

ANYTHING = st.none() | st.text() | st.floats() | st.integers()


def cell(value, count=64):
    """A share all of whose dialogues are alike: its bootstrap interval is a point."""
    return {"value": value, "low": value, "high": value, "count": count}


def cells(tells, untold, count=64):
    return {"leaks": cell(tells, count), "solved/untold": cell(untold, count)}


def verdict(tmp_path, *measured, complete=True, evaluated=True, batches=(0, 8), origin=None):
    run = RunFiles(tmp_path, "run", origin=origin)
    if evaluated:
        run.evaluations = [Evaluated(tmp_path, 0, "x", {})]
    columns = [
        Column(0, f"batch {batch}" if evaluated else f"step {batch}", each)
        for batch, each in zip(batches, measured, strict=False)
    ]
    return verdict_of(run, columns, complete)


def test_the_sentence_gives_both_shares_before_and_after(tmp_path):
    found = verdict(tmp_path, cells(0.8, 0.08), cells(0.0, 0.78))
    assert found.sentence == (
        "This tutor tells the answer in 0 % of dialogues (80 % before training); the student solves 78 % without being "
        "told (8 % before)."
    )
    assert found.caution == ""
    assert found.basis.startswith("Counted in dialogues on held-out problems: 64 at batch 0 and 64 at batch 8.")
    assert "tells 69–88 % → 0–6 %" in found.basis, "Wilson's interval is wider than the point of the bootstrap"


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        ({"complete": False}, "So far, this tutor tells the answer in 0 % of dialogues (80 % before training)"),
        ({"batches": (4, 8)}, "This tutor tells the answer in 0 % of dialogues (80 % at batch 4)"),
        ({"origin": {"given": "x"}}, "This tutor tells the answer in 0 % of dialogues (80 % before this run)"),
        ({"evaluated": False}, "This tutor tells the answer in 0 % of dialogues (80 % in step 0)"),
    ],
)
def test_the_sentence_says_what_it_compares_with(tmp_path, given, begins):
    assert verdict(tmp_path, cells(0.8, 0.08), cells(0.0, 0.78), **given).sentence.startswith(begins)


def test_without_evaluations_the_problems_are_said_to_differ(tmp_path):
    basis = verdict(tmp_path, cells(0.8, 0.08, 32), cells(0.0, 0.78, 16), evaluated=False).basis
    assert "There is no evaluation." in basis and "on different problems: 32 at step 0 and 16 at step 8" in basis


def test_one_measurement_is_not_compared(tmp_path):
    found = verdict(tmp_path, cells(0.8, 0.08))
    assert found.sentence == (
        "Before training, this tutor tells the answer in 80 % of dialogues; the student solves 8 % without being told. "
        "There is nothing yet to compare this with."
    )


def test_a_measure_that_is_missing_is_left_out(tmp_path):
    found = verdict(tmp_path, {"solved/untold": cell(0.5)}, {"solved/untold": cell(1.0)})
    assert found.sentence == "The student solves 100 % of dialogues without being told (50 % before training)."
    assert verdict(tmp_path, {}, {"asks": cell(1.0)}).sentence.startswith("There is no dialogue yet")
    assert verdict(tmp_path).sentence.startswith("There is no dialogue yet")


@pytest.mark.parametrize(("counts", "few"), [((3, 64), True), ((64, 9), True), ((10, 10), False)])
def test_few_dialogues_are_too_few_to_judge(tmp_path, counts, few):
    found = verdict(tmp_path, cells(1.0, 0.0, counts[0]), cells(0.0, 1.0, counts[1]))
    assert found.caution.startswith("Too few dialogues to judge") is few


def test_both_differences_can_be_noise(tmp_path):
    found = verdict(tmp_path, cells(0.5, 0.5), cells(0.45, 0.55))
    assert found.caution.startswith("Within noise: the differences are not clear in telling (")


def test_only_the_unclear_difference_is_called_noise(tmp_path):
    found = verdict(tmp_path, cells(0.8, 0.40), cells(0.0, 0.45))
    assert found.caution == "Within noise: the difference is not clear in solving untold (−12 to +21 points)."


def test_one_problem_says_nothing_of_others(tmp_path):
    alone = {"leaks": {"value": 1.0, "low": None, "high": None, "count": 40}}
    found = verdict(tmp_path, alone, alone)
    assert found.caution == "All dialogues are on one problem: nothing is known of others for telling."
    assert "intervals" not in found.basis


@pytest.mark.parametrize(("value", "text"), [(0.002, "0.2 %"), (0.0001, "0.1 %"), (0.9999, "99.9 %"), (0.994, "99 %")])
def test_a_share_that_is_not_all_or_none_does_not_read_as_such(tmp_path, value, text):
    found = verdict(tmp_path, {"leaks": cell(value, 1000)}, {"leaks": cell(0.5, 1000)})
    assert f"({text} before training)" in found.sentence


def test_the_difference_is_as_in_newcombe(tmp_path):
    # Table II of the paper, case (a): 56/70 and 48/80, interval 0.0524 to 0.3339.
    fifty_six, forty_eight = share_of(cell(56 / 70, 70)), share_of(cell(48 / 80, 80))
    assert fifty_six is not None and forty_eight is not None
    assert difference(forty_eight, fifty_six) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference(Share(0.5, None, None, 4), fifty_six) is None


@given(st.dictionaries(st.sampled_from(["value", "low", "high", "count"]), ANYTHING))
def test_whatever_a_file_holds_a_share_lies_in_its_interval(given: Any):
    found = share_of(given)
    if found is not None:
        assert 0 <= found.value <= 1 and found.count >= 1
        assert found.low is None or (found.high is not None and 0 <= found.low <= found.value <= found.high <= 1)
        assert math.isfinite(found.value)


def test_the_page_has_one_verdict_for_each_run(tmp_path):
    held_out = [row_of(TELLS, seed=f"s{i}", step=-1) for i in range(3)]
    first = write_run(tmp_path / "first", steps=4)
    for batch, measures in ((0, cells(0.8, 0.08)), (4, cells(0.0, 0.78))):
        write_evaluation(first, batch, held_out, measures=measures)
    second = write_run(tmp_path / "second", steps=2, rows=[row_of(TELLS), row_of(ASKS, step=1, seed="t")])
    page = build([first, second], 10**6).decode().replace("\xa0%", " %")
    assert "So far, this tutor tells the answer in 0 % of dialogues (80 % before training)" in page
    assert "So far, this tutor tells the answer in 0 % of dialogues (100 % in step 0)" in page
    assert page.count('class="verdict"') == 2
