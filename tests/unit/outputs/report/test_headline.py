"""The table before and after, and what sets configs apart."""

from typing import Any

import pytest
from tests.support.written_runs import write_run

from socratic_distill.evaluation.definitions import MEASURES
from socratic_distill.outputs.report.curves import StepSums, curves
from socratic_distill.outputs.report.headline import Column, columns_of, definitions, differences, table
from socratic_distill.outputs.report.reading import read_run


def cell_of(name, value, low=None, high=None, count=None):
    (row,) = table([Column(0, "x", {name: {"value": value, "low": low, "high": high, "count": count}})])
    return tuple(row["cells"][0].values())


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (("solved", 0.5, 0.25, 1.0, 64), ("50.0 %", "[25.0, 100.0 %]", "n = 64")),
        (("solve_rate/delta", -0.125, -0.25, 0.0), ("−12.5 %", "[−25.0, 0.0 %]", "")),
        (("teacher_kl", 0.0489, 0.0216, 0.0806, 1333), ("0.049", "[0.022, 0.081]", "n = 1,333")),
        (("reply_tokens", 17.31, 9.0, 18.559), ("17.3", "[9.0, 18.6]", "")),
        (("reply_tokens", 1234.5, None, 2000.0), ("1,234", "", "")),
        (("turns_to_solve", 1.5, 1.25, 2.0), ("1.50", "[1.25, 2.00]", "")),
        (("turns_to_solve", None, None, None, 0), ("–", "", "")),
        (("my/own", 2.0), ("2.00", "", "")),
    ],
)
def test_values_are_shown_as_their_units_ask(given, shown):
    assert cell_of(*given) == shown


def test_rows_have_a_fixed_order_and_missing_measures_are_dashes():
    cells = {"my/own": {"value": 1.0}, "asks": {"value": 0.5}, "mathdial/success@1": {"value": 0.5}}
    later: dict[str, Any] = {"teacher_kl": {"value": 0.5}, "odd": 3}
    rows = table([Column(0, "batch 0", cells), Column(0, "batch 8", later)])
    assert [row["name"] for row in rows] == ["teacher_kl", "asks", "mathdial/success@1", "my/own", "odd"]
    assert [row["main"] for row in rows] == [True, True, False, False, False]
    assert [cell["value"] for cell in rows[0]["cells"]] == ["–", "0.500"]
    assert rows[1]["direction"] == "up" and rows[3]["direction"] is None


def test_the_first_and_the_last_evaluation_are_the_columns(tmp_path):
    run = read_run(write_run(tmp_path, evaluations=[(0, ("1", "a")), (2, ("1", "a")), (4, ("1", "a"))]))
    assert [column.label for column in columns_of(run, 0, {})] == ["batch 0", "batch 4"]
    run.evaluations[:] = run.evaluations[:1]
    assert [column.label for column in columns_of(run, 0, {})] == ["batch 0"]


def test_without_evaluations_the_ends_of_the_curves_are_the_columns(tmp_path):
    run = read_run(write_run(tmp_path, steps=3))
    first, last = columns_of(run, 1, curves(run.metrics, StepSums()))
    assert (first.label, last.label, last.run) == ("step 0", "step 2", 1)
    assert first.cells == {"teacher_kl": {"value": 0.5}}
    assert columns_of(run, 0, curves({}, StepSums())) == []
    pooled = columns_of(run, 0, curves({step: {"teacher_kl": 1.0} for step in range(301)}, StepSums()))
    assert [column.label for column in pooled] == ["steps 0–2", "step 300"]


def test_configs_differ_in_fields_with_other_values_or_none():
    found = differences([{"a": 1, "b": [1], "c": None}, {"a": 1, "b": [2]}])
    assert found == [("b", ["[1]", "[2]"]), ("c", ["null", "–"])]
    assert differences([{"a": 1}]) == []


def test_measures_of_one_family_are_defined_once():
    found = definitions([*MEASURES, "my/own"])
    names = [one.name for one in found]
    assert names[:2] == ["mathdial/success@k", "mathdial/telling@k"] and "solved" in names
    assert len(names) == len(set(names)) == len(MEASURES) - 12
    assert "reply k " in found[0].description, "a k in the name is one in the text"
