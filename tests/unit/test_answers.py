from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socratic_distill.answers import (
    answer_spans,
    check_answer,
    contains_answer,
    final_answer,
    last_number,
    parse_numbers,
    same_answer,
)

numbers = st.decimals(min_value=-(10**9), max_value=10**9, places=2) | st.integers(
    min_value=-(10**12), max_value=10**12
).map(Decimal)
WRITTEN = {
    "plain": lambda number: f"{number:f}",
    "grouped": lambda number: f"{number:,f}",
    "in a sentence": lambda number: f"So the 2nd one is {number:f}.",
    "dollars": lambda number: f"= ${number:,f}",
    "minus before dollars": lambda number: f"{'-' * (number < 0)}${abs(number):,f} in all",
    "percent": lambda number: f"{number:f}%",
    "typeset minus": lambda number: f"{number:f}".replace("-", "\u2212"),
    "markdown": lambda number: f"**{number:,f}**",
    "own line": lambda number: f"10 - 15\n{number:f}\n",
    "behind a colon": lambda number: f"Answer:{number:f}",
}


@pytest.mark.parametrize("written", WRITTEN)
@given(number=numbers)
def test_parse_numbers_reads_back_what_was_written(written, number):
    assert last_number(WRITTEN[written](number)) == number


@given(st.text())
def test_parse_numbers_takes_any_text(text):
    assert len(answer_spans(text, "7")) == parse_numbers(text).count(Decimal(7))


@given(st.lists(numbers, min_size=1, max_size=5))
def test_parse_numbers_keeps_a_list_apart(values):
    assert parse_numbers(" and ".join(f"{value:,f}" for value in values)) == values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,234.5", ["1234.5"]),
        ("12,15", ["12", "15"]),
        ("89,100,92", ["89", "100", "92"]),
        ("1,2345", ["1", "2345"]),
        ("4,000.", ["4000"]),
        ("10-5=5", ["10", "5", "5"]),
        ("10 -5", ["10", "5"]),
        ("10 \u2013 5", ["10", "5"]),
        ("pages 3\u20135", ["3", "5"]),
        ("(2+3)-4, 50%-4", ["2", "3", "4", "50", "4"]),
        ("$480 - $520 = $-40.\n -40", ["480", "520", "-40", "-40"]),
        ("-$5, -\u00a35, \u22125, \u20135, (-5), =-5", ["-5"] * 6),
        ("5 - -3", ["5", "-3"]),
        ("that is it--7, that is --7, 7---7", ["7"] * 4),
        ("x-2, Covid-19, step-3", ["2", "19", "3"]),
        ("7\n-3", ["7", "-3"]),
        ("30*.5=15, $.20, -.5", ["30", "0.5", "15", "0.20", "-0.5"]),
        ("your friends.3 or (focus).4", ["3", "4"]),
        ("16/2 = 8", ["16", "2", "8"]),
        ("7:11", ["7", "11"]),
        ("20$, 25%, 3x, 2kg, 5-pack", ["20", "25", "3", "2", "5"]),
        ("the 1st, 2nd, 3RD and 12th of 4 thousand", ["4"]),
        ("no number, twelve, \u0663, \u00bd", []),
        ("", []),
    ],
)
def test_parse_numbers_follows_the_rules(text, expected):
    assert parse_numbers(text) == [Decimal(number) for number in expected]


@pytest.mark.parametrize(
    "other", ["18", "18.00", "$18", "18 eggs", "18%", "= 18.", "6 * 3 = 18", " 18\n", "\\boxed{18}"]
)
def test_same_answer_looks_past_the_spelling(other):
    assert same_answer(other, "18") and same_answer("18", other)


@pytest.mark.parametrize("other", ["-18", "1.8", "180", "18 - 1", "1,8", "eighteen", "", "0.18"])
def test_same_answer_keeps_values_apart(other):
    assert not same_answer(other, "18") and not same_answer("18", other)


def test_same_answer_without_numbers_is_never_the_same():
    assert not same_answer("none", "none")


def test_same_answer_does_not_round():
    assert same_answer("0.10", ".1")
    assert not same_answer("0.3333", "0.33333")


def test_answer_spans_cover_the_number_alone():
    text = "So $1,800.00 (not -1800), 1800% and 21800."
    assert [text[start:stop] for start, stop in answer_spans(text, "1800")] == ["1,800.00", "1800"]
    assert [text[start:stop] for start, stop in answer_spans(text, "-$1,800")] == ["-1800"]


@pytest.mark.parametrize("text", ["Is it 8?", "16/2 = 8", "8.", "**8**", "8.0 of them", "(telling)8"])
def test_contains_answer_finds_it_anywhere(text):
    assert contains_answer(text, "8")


@pytest.mark.parametrize("text", ["What is 16/2?", "18", "0.8", "8,000", "the 8th step", "-8", "eight", ""])
def test_contains_answer_passes_other_numbers_over(text):
    assert not contains_answer(text, "8")


def test_contains_answer_needs_a_number_to_look_for():
    assert not contains_answer("8", "eight")


@pytest.mark.parametrize("text", ["", "8", "no number", "the 2nd"])
def test_an_unknown_answer_is_nowhere_and_never_the_same(text):
    assert answer_spans(text, "") == [] and not contains_answer(text, "")
    assert not same_answer(text, "") and not same_answer("", text)


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        ("9 * 2 = 18\n#### 18", "18"),
        ("500*.25= 125\n#### 2,125", "2125"),
        ("x\n#### $1,250.50 ", "1250.50"),
        ("x\n####-7", "-7"),
        ("#### 3\nThen\n #### 4\r\n", "4"),
        ("15-5=10 spoons.\n 10", "10"),
        ("2 steps = 2,000.\n 2000\n \n\n", "2000"),
        ("He pays $102/3 = $34.", "34"),
        ("The 2 rooms\nperimeter = 2(40+9) = 98 ft", "98"),
        ("half\n .5", "0.5"),
        ("8 pounds / 0.5 pounds/week = 16 weeks", "16"),
        ("1/2 of 40 is 20", "20"),
    ],
)
def test_final_answer_is_found(solution, expected):
    assert final_answer(solution) == expected


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        ("", "the last line of the solution holds no number: ''"),
        ("It is 18\nDone.", "the last line of the solution holds no number: 'Done.'"),
        ("18\n#### many", "'many' holds 0"),
        ("18\n####", "'' holds 0"),
        ("#### 3 of 4", "'3 of 4' holds 2; give a fraction"),
        ("#### 1/2", "'1/2' holds 2; give a fraction"),
        ("so x = 1 / 2.", "ends in a fraction: 'so x = 1 / 2.'"),
    ],
)
def test_final_answer_refuses_what_it_cannot_read(solution, reason):
    with pytest.raises(ValueError) as caught:
        final_answer(solution)
    assert reason in str(caught.value)


@given(numbers)
def test_final_answer_reads_back_both_markings(number):
    assert Decimal(final_answer(f"1 + 1 = 2\n#### {number:,f}")) == number
    assert Decimal(final_answer(f"1 + 1 = 2\n {number:f}\n")) == number


@pytest.mark.parametrize("answer", ["", "twelve", "3/4", "6:30", "3 or 4", "1,23"])
def test_check_answer_wants_exactly_one_number(answer):
    with pytest.raises(ValueError, match="exactly one number"):
        check_answer(answer)


def test_check_answer_lets_units_pass():
    for answer in ("12", "-12.5", "$1,200", "12 eggs", "25%"):
        check_answer(answer)
