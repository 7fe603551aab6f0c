import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from socratic_distill.dialogues.answers.numbers import (
    answer_spans,
    as_decimal,
    check_answer,
    contains_answer,
    final_answer,
    find_numbers,
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
    found = last_number(WRITTEN[written](number))
    assert found is not None and found.value == number and found.is_percent == (written == "percent")


@given(st.text())
def test_parse_numbers_takes_any_text(text):
    assert len(answer_spans(text, "7")) == parse_numbers(text).count(Fraction(7))


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
        ("no number, twelve, \u0663", []),
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
        ("1/2 of 40 = 20", "20"),
        ("half of it is \u00bd", "1/2"),
        ("He has $1,250 1/2 = 1250.5", "1250.5"),
        (r"So $x = \boxed{\frac{1}{4}}$ of it.", "1/4"),
        (r"\boxed{1\frac{1}{2}}", "3/2"),
        (r"\boxed{-\dfrac{3}{4}\text{ cm}}", "-3/4"),
        (r"\boxed{\frac{-3}{4}}", "-3/4"),
        (r"\fbox{\$1{,}250.50}", "1250.50"),
        (r"\boxed{50\%}", "50%"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{\text{(B) } 5}", "5"),
        (r"\boxed{25\text{ cm}^2}", "25"),
        (r"\boxed{45^\circ}", "45"),
        (r"\[ \boxed{\left(3\right)} \] and \boxed{3}.", "3"),
        (r"first \boxed{4}, then" "\n#### 5", "5"),
        (r"\boxed{3 \times 10^{5}}", "300000"),
        ("1.5e3", "1500"),
        ("#### 1,00,000", "100000"),
        ("That makes\n12,05,000.", "1205000"),
        ("#### 25%", "25%"),
        ("Area = 25 cm^2", "25"),
        ("$15/hour", "15"),
        ("5 m", "5"),
    ],
)
def test_final_answer_is_found(solution, expected):
    assert final_answer(solution) == expected


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        ("", "the last line of the solution is no answer"),
        ("It is 18\nDone.", "'Done.' holds 0"),
        ("18\n#### many", "'many' holds 0"),
        ("18\n####", "'' holds 0"),
        ("#### 3 of 4", "'3 of 4' holds 2; give one number"),
        ("#### 16/2", "'16/2' holds 2"),
        ("so x = 1 / 2.", "'1 / 2.' holds 2"),
        ("At 3:30 PM", "'At 3:30 PM' holds 2"),
        ("1/2 of 40 is 20", "holds 3"),
        ("y = 3, x = 5", "'y = 3, x = 5' holds 2"),
        ("x = 1 or x = 2", "holds 2"),
        ("0,5", "'0,5' holds 2"),
        ("1 000", "'1 000' holds 2"),
        ("12,34,567", "'12,34,567' holds 3"),
        (r"\boxed{3}, \boxed{4}", "several answers in boxes ('3', '4')"),
        (r"\boxed{(3, 4)}", "holds 2"),
        (r"\boxed{\sqrt{2}}", "is more than a number"),
        (r"\boxed{2\pi}", "is more than a number"),
        (r"\boxed{2x}", "is more than a number"),
        (r"\boxed{x/2}", "is more than a number"),
        (r"\boxed{x^2}", "'x^2' holds 0"),
        (r"\boxed{x \le 5}", "is more than a number"),
        (r"\boxed{\frac{1}{2}^2}", "is more than a number"),
        (r"\boxed{3", "is not closed"),
        ("It is 5 million", "is more than a number ('million')"),
        ("$5K", "is more than a number ('5K')"),
        ("5 and a half", "is more than a number"),
        ("> 3", "is more than a number ('>')"),
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


@pytest.mark.parametrize("answer", ["", "twelve", "16/2", "6:30", "3 or 4", "1,23"])
def test_check_answer_wants_exactly_one_number(answer):
    with pytest.raises(ValueError, match="exactly one number"):
        check_answer(answer)


def test_check_answer_lets_units_pass():
    for answer in ("12", "-12.5", "$1,200", "12 eggs", "25%", "3/4 cup", "2 1/2 cups", "\u00bd", r"\frac{3}{4}", "1e3"):
        check_answer(answer)


FRACTIONS = {
    "plain": lambda value: f"{value.numerator}/{value.denominator}",
    "in a sentence": lambda value: f"So it is {value.numerator}/{value.denominator} of them.",
    "typeset": lambda value: rf"\frac{{{value.numerator}}}{{{value.denominator}}}",
    "boxed": lambda value: rf"\boxed{{\dfrac{{{value.numerator}}}{{{value.denominator}}}}}",
    "mixed": lambda value: "-" * (value < 0) + f"{abs(value) // 1} {abs(value) % 1}",
    "mixed and typeset": lambda value: (
        "-" * (value < 0)
        + rf"{abs(value) // 1}\tfrac{{{(abs(value) % 1).numerator}}}{{{(abs(value) % 1).denominator}}}"
    ),
}
fractions = st.fractions(-(10**6), 10**6, max_denominator=10**4).filter(lambda value: value.denominator > 1)


@pytest.mark.parametrize("written", FRACTIONS)
@given(value=fractions)
def test_fractions_are_read_back_as_one_number(written, value):
    text = FRACTIONS[written](value)
    assert parse_numbers(text) == [value]
    assert Fraction(final_answer(text)) == value and same_answer(text, str(value))


@given(st.decimals("1", "9.999", places=3), st.integers(-20, 20))
def test_scientific_notation_is_read_back(mantissa, power):
    value = Fraction(mantissa) * Fraction(10) ** power
    for text in (f"{mantissa}e{power}", f"{mantissa} x 10^{power}", rf"{mantissa} \times 10^{{{power}}}"):
        assert parse_numbers(text) == [value]
        assert Fraction(final_answer(text)) == value


@given(st.integers(10**5, 10**12))
def test_indian_grouping_is_read_or_a_list_but_never_another_number(number):
    head, tail = divmod(number, 1000)
    groups = [f"{tail:03}"]
    while head:
        head, group = divmod(head, 100)
        groups.insert(0, f"{group:02}" if head else str(group))
    values = parse_numbers(",".join(groups))
    assert values == ([number] if any(group[0] == "0" for group in groups) else [int(group) for group in groups])


# What numbers, LaTeX and prose are made of.
scraps = st.sampled_from([*"0123459/.,%^_{}()=-+*$ \n", "\\frac", "\\boxed{", "\\text{", "1/2", "½", "10^", "e", "x",
    "\\", "####", "3/4", " 1,000", ",00", "\u2212", "²", "\\%", "\\$", "2nd", "\0"])  # fmt: skip


@given(st.lists(scraps, max_size=25).map("".join) | st.text())
def test_any_text_is_read_or_refused_and_what_is_read_is_one_number(text):
    numbers = find_numbers(text)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(numbers)), "numbers overlap"
    assert all(0 <= number.start < number.stop <= len(text) for number in numbers)
    as_decimal(text)
    try:
        answer = final_answer(text)
    except ValueError:
        return
    check_answer(answer)
    assert same_answer(answer, answer) and contains_answer(text, answer), "the answer does not stand in the solution"


@pytest.mark.parametrize("text", ["1,00" * 2000, "1" + ",000" * 2000 + ",00", "1/" * 2000, "9" * 5000, "1 " * 2000])
def test_long_runs_of_digits_are_read(text):
    assert find_numbers(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3/4 and 1 1/2, but 16/2 = 8", ["3/4", "3/2", "16", "2", "8"]),
        ("6/8 of it, 2/3rds, 1/5th", ["3/4", "2/3", "1/5"]),
        ("1 / 2, 1/0, 4/1, 5/14/2020, 1/2.5", ["1", "2", "1", "0", "4", "1", "5", "14", "2020", "1", "2.5"]),
        ("16 3/2 is 16 and 3/2", ["16", "3/2", "16", "3/2"]),
        ("\u00bd, 2\u00bd, \u215e, -\u00be", ["1/2", "5/2", "7/8", "-3/4"]),
        (r"\frac12 + \frac{16}{2}, 1\frac{3}{4}, -\frac{1}{3}", ["1/2", "16", "2", "7/4", "-1/3"]),
        ("10-1/2, = -1/2", ["10", "1/2", "-1/2"]),
        ("1.5e3, 2 x 10^3, 12 x 10^3, 10^2", ["1500", "2000", "12", "10", "3", "10", "2"]),
        ("25 cm^2, x_1 = 3, x^{12}, 5^2", ["25", "3", "5", "2"]),
        (r"1{,}000, 1\,000, 1,\!000, 1" "\u202f" "000", ["1000", "1000", "1000", "1000"]),
        ("1,00,000 12,05,000.5 12,34,567 10,20,300", ["100000", "1205000.5", "12", "34", "567", "10", "20", "300"]),
    ],
)
def test_fractions_powers_and_groups_follow_the_rules(text, expected):
    assert parse_numbers(text) == [Fraction(number) for number in expected]


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("It is 1/2.", "0.5"), ("It is 50%.", "0.5"), ("So 0.5", "1/2"), ("So 50 percent", "1/2"), ("2/4", "1/2"),
        ("50%", "50"), ("50", "50%"), ("0.5", "50%"), ("1/2", "50%"), (r"$\frac{1}{2}$", "0.50"), ("150%", "1.5"),
        ("\u00bd", "0.5"), ("2 1/2 cups", "2.5"), (r"2\frac12", "5/2"), ("1/3", r"\frac{1}{3}"), (r"50\%", "50%"),
    ],
)  # fmt: skip
def test_fractions_and_percentages_are_understood_both_ways(reply, answer):
    assert same_answer(reply, answer) and contains_answer(f"{reply} But 7?", answer)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("100% sure", "1"), ("200%", "2"), ("1", "100%"), ("50", "0.5"), ("0.5%", "50%"), ("5%", "0.5"), ("1/2", "2"),
        ("1/2", "1"), ("What is 16/2?", "8"), ("0.33", "1/3"), ("1 / 2", "0.5"), ("4/1", "0.25"),
    ],
)  # fmt: skip
def test_fractions_and_percentages_are_no_other_numbers(reply, answer):
    assert not same_answer(reply, answer) and not contains_answer(reply, answer)
