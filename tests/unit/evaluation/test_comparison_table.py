"""The table of tutors: which measures it shows, and that it fits a terminal without cutting a name."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from socratic_distill.evaluation.definitions import MEASURES
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.table import comparison_table, describe_measure, measure_rows

ALWAYS = [name for name in MEASURES if not name.startswith(("leaks/", "solve_rate/"))]


def tutor(value=0.5, low=0.25, high=0.75, names=ALWAYS):
    return {name: Measure(value, low, high, 8) for name in names}


def lines(width, **options):
    console = Console(file=io.StringIO(), width=width or 1000)
    console.print(comparison_table(width=width, **options))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # pyright: ignore[reportAttributeAccessIssue]


def test_ten_measures_are_shown_unless_all_are_asked_for():
    assert len(measure_rows({"base": tutor()})) == 10
    every = [name.split(" ")[0] for name, _ in measure_rows({"base": tutor()}, every=True)]
    assert {"reply_tokens", "repetition", "mathdial/success@1-7", "mathdial/telling@1-7"} <= set(every)
    assert len(every) == len(set(every)) and "mathdial/success@3" not in every


def test_what_the_config_asked_for_is_among_the_main_measures():
    names = [name for name, _ in measure_rows({"base": tutor(names=list(MEASURES))})]
    assert len(names) == 15 and "leaks/judge ↓" in names and "solve_rate/delta ↑" in names


def test_named_measures_are_a_row_each_even_if_no_tutor_has_them():
    rows = measure_rows({"base": tutor(names=["solved"])}, ["mathdial/success@2", "solved"], every=True)
    assert rows == [("mathdial/success@2 ↑", ["–"]), ("solved ↑", ["50% [25%, 75%]"])]


def test_all_k_of_a_measure_are_one_cell():
    measures = {f"mathdial/success@{k}": Measure(k / 10, 0, 1, 8) for k in range(1, 7)}
    (row,) = [row for row in measure_rows({"base": measures}, every=True) if "1-7" in row[0]]
    assert row == ("mathdial/success@1-7 ↑", ["10 20 30 40 50 60 –%"])


@pytest.mark.parametrize("tutors", [1, 2, 3])
@pytest.mark.parametrize("every", [False, True])
def test_up_to_three_tutors_fit_eighty_columns_with_whole_names(tutors, every):
    measured = {name: tutor(1.234, -0.5, 12.5) for name in ["base", "teacher", "final"][:tutors]}
    shown = lines(80, tutors=measured, every=every)
    assert max(map(cell_len, shown)) <= 80 and not any("…" in line for line in shown)
    names = [name for name, _ in measure_rows(measured, every=every)]
    assert all(any(line.strip().startswith(name) for line in shown) for name in names)


def test_without_a_width_every_measure_is_one_line_however_long():
    measured = {f"a-tutor-with-a-long-name-{place}": tutor(1.0, 0.5, 1.5) for place in range(6)}
    shown = lines(None, tutors=measured)
    assert sum("[0.500, 1.500]" in line for line in shown) == 2, "turns_to_solve and teacher_kl"
    assert all(line.count("a-tutor-with-a-long-name") in (0, 6) for line in shown)


def test_a_cell_that_is_too_wide_has_its_interval_on_a_second_line():
    shown = lines(50, tutors={"base": tutor(), "final": tutor()}, names=["teacher_kl"])
    assert [line.split() for line in shown if "0.5" in line or "[" in line][:2] == [
        ["teacher_kl", "↓", "0.500", "0.500"],
        ["[0.250,", "0.750]", "[0.250,", "0.750]"],
    ]


def test_brackets_and_colons_in_a_tutors_name_are_no_markup():
    assert any("[red]x:smile:" in line for line in lines(None, tutors={"[red]x:smile:": tutor()}))


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "0.123"), (-0.0001, "0.000"), (12.345, "12.35"), (123.45, "123.5"), (None, "–")]
)
def test_means_have_three_or_four_figures(value, text):
    assert describe_measure("reply_tokens", Measure(value, None, None, 1)) == f"reply_tokens {text}"


def test_value_and_interval_have_the_same_number_of_decimals():
    (row,) = measure_rows({"base": tutor(8.75, 8.5, 11.0)}, ["reply_tokens"])
    assert row == ("reply_tokens", ["8.75 [8.50, 11.00]"])
