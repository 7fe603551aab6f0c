import pytest

from socratic_distill.dialogues.answers.detection import detect


@pytest.mark.parametrize("answer", ["12", "-3.5", "12 eggs", "$5", "50%", "3/4", "2 1/2 cups", "x = 5", "1e3"])
def test_one_number_is_a_number(answer):
    assert detect(answer) == "number"


@pytest.mark.parametrize(
    "answer",
    [
        r"\frac{x}{2}", "$x$", "x^2", "y = 2x + 1", "\u221a2", "2x", "3x + 4y", "(x-1)(x+1)", "{1, 2}", "[0, 3)",
        "(1, 2)", "x > 3", "sqrt(2)", "\u03c0/2", r"\boxed{\pi}", "x = 1, y = 2",
    ],
)  # fmt: skip
def test_signs_of_algebra_are_an_expression(answer):
    assert detect(answer) == "expression"


@pytest.mark.parametrize(
    "answer",
    [
        "Paris",
        "",
        "twelve",
        "3 or 4",
        "12:30",
        "1914-1918",
        "H2O",
        "x",
        "B",
        "the cell wall",
        "5 million",
        "1, 2",
        "yes!",
    ],
)
def test_what_is_not_plain_must_be_stated(answer):
    assert detect(answer) is None


def test_choices_and_accepted_answers_decide():
    assert detect("12", choices=["12", "13"]) == "choice"
    assert detect("12", accepted=["twelve"]) == "text"
