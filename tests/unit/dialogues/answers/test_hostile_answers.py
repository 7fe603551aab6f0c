"""Rules on text that nobody means well: they never raise, their spans lie in the text, and their time grows with it."""

import itertools
import time

import pytest
from hypothesis import given, settings, strategies as st

from socratic_distill.dialogues.answers.detection import detect
from socratic_distill.dialogues.answers.formulas import find_formulas, parts_of
from socratic_distill.dialogues.answers.kinds import rule_of, solves
from socratic_distill.dialogues.seed import Seed

CHEAP = {
    "number": Seed("s", "?", "3.5"),
    "amount": Seed("s", "?", "5 km", compares_units=True),
    "choice": Seed("s", "?", "B", answer_kind="choice", choices=("Cell wall", "mitochondria", "Cell", "x")),
    "signs": Seed("s", "?", "B", answer_kind="choice", choices=("-5", "x + 1", "x^2", "5")),
    "text": Seed("s", "?", "photo", answer_kind="text", accepted_answers=("wall of the cell", "a a b", "\u5149\u5408")),
}
SEEDS = CHEAP | {
    "expression": Seed("s", "?", "x = 3", answer_kind="expression"),
    "set": Seed("s", "?", "{1, 2}", answer_kind="expression"),
}
# What answers, LaTeX and prose are made of.
scraps = st.sampled_from([
    *"0123459/.,%^_{}()[]=-+*$!?'\u2019 \n\tabcxABIP:;|<>&~", "\\frac", "\\boxed{", "\\text{", "\\[", "\\]", "\\(",
    "\\)",
    "1/2", "\u00bd", "10^", "\\", "$$", "3/4", " 1,000", "1.234,5", " km", "km/h", "$5", "\u20ac", "\u2212",
    "\u00b2", "\\%",
    "\\$", "x=", "x = 3", "{1, 2}", "sqrt(", "\u221a", "\u03c0", "(b)", "B. ", "Answer: ", "option ", "not ",
    "isn't ", "or ",
    " the ", "cell", "wall", "photo", "mitochondria", "e\u0301", "\u5149\u5408", "\ufb01", "\u0130", "\ud800", "\0",
    "\1", "**", "because ", ", not ", "minus ", " and a half", " thousand", " h 30 min", "\u0661", "answer is ",
    "the second one",
    "\n1. ", "\n2. ", "wait ", "twelve", "twenty-", "a hundred and ", "two thirds", "|", "]", "U.S.A", "\u00ad", "H2O",
    "\\begin{aligned}", "\\end{aligned}", "\\left\\{", "; ", " out of ", "I don't think ",
])  # fmt: skip
hostile = st.lists(scraps, max_size=25).map("".join) | st.text()


def is_in_order(spans: list[tuple[int, int]], text: str) -> bool:
    inside = all(0 <= start < stop <= len(text) for start, stop in spans)
    return inside and all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize("name", SEEDS)
@settings(deadline=None)
@given(text=hostile)
def test_a_rule_reads_any_text(name, text):
    seed = SEEDS[name]
    rule = rule_of(seed)
    spans = rule.spans(text, seed)
    assert is_in_order(spans, text), spans
    gives, reveals = rule.matches(text, seed), rule.reveals(text, seed)
    assert bool(spans) or not (gives or reveals), "the answer is given, and stands nowhere"
    assert gives or not solves(text, seed)
    assert not solves(f"{text}?", seed)


@pytest.mark.parametrize("kind", ["number", "expression", "choice", "text"])
@settings(deadline=None)
@given(answer=hostile, other=hostile, reply=hostile)
def test_an_answer_is_refused_or_compared(kind, answer, other, reply):
    choices = (answer, other) if kind == "choice" else ()
    accepted = (other,) if kind == "text" else ()
    seed = Seed("s", "?", answer, answer_kind=kind, choices=choices, accepted_answers=accepted)
    rule = rule_of(seed)
    try:
        rule.check(seed)
    except ValueError as error:
        assert len(str(error)) < 500 or len(answer) > 100
        return
    assert rule.matches(answer, seed) or kind in ("choice", "text"), "an answer does not give itself"
    assert is_in_order(rule.spans(reply, seed), reply)
    rule.matches(reply, seed)
    rule.reveals(reply, seed)


@settings(deadline=None)
@given(hostile)
def test_any_answer_has_a_kind_or_none(answer):
    assert detect(answer) in ("number", "expression", None)


@settings(deadline=None)
@given(hostile)
def test_formulas_lie_in_the_text_in_order(text):
    formulas = find_formulas(text)
    assert is_in_order([(one.start, one.stop) for one in formulas], text)
    for formula in formulas:
        for part in parts_of(text, formula):
            assert formula.start <= part.start < part.stop <= formula.stop


REPEATED = [
    "9", "-1", "1,", "1,000", "- 1 ", "1,00", "3,5 ", "1.234,", "1 234 ", "1'", "\u00bd", "m2 ", "$5 ", "5 km ",
    "5 x", "a",
    "a ", "the ", "B ", "(b) ", "B or ", "A. Cell\n", "not B ", "cell ", "photo ", "not photo ", "\u00e9", "e\u0301",
    "\u5149", "\\frac{1}{2}", "$x$ ", "$", "((((", "(", ")", "[0,", "x=", "x = 1 ", "\\boxed{", "\\boxed{1} ", "{", "}",
    "because ", "12 because ", "not 12 ", "12, not ", "12 or ", "between 5 and ", "5 + ", "5 - ", "5 of ", 
    "1. a\n2. b\n",
    "1. 5\n", "1 h 30 min ", "minus 5 ", "5 and a half ", "5 thousand ", "\u0661", "The answer is 5. ", "5. ",
    "I thought ", "photo or ", "photo. No, ", "photo, but ", "the second one ",
    "the last one or ", "I don't think that it is 5 ",
    "one ", "twenty-", "a hundred and ", "it's two ", "U.S.", "|x|", "|", "x) (", "]0, 1[ ", "\\begin{aligned}x&=1\\\\",
    "\\[", "\\(x\\) ", "**", "!", "5!", "&", "\\\\", "^", "x^2 ", "'s ", "-", "\u221a", " ", "\n", "1/", "\\int ", "x,",
]  # fmt: skip


def seconds(name: str, text: str) -> float:
    """The time that this thread computed to read a text: as an answer's rule does, or to find its formulas."""
    before = time.thread_time()
    if name == "formulas":
        for formula in find_formulas(text):
            parts_of(text, formula)
    else:
        rule_of(CHEAP[name]).matches(text, CHEAP[name])
        rule_of(CHEAP[name]).spans(text, CHEAP[name])
    return time.thread_time() - before


@pytest.mark.thinned
@pytest.mark.parametrize("repeated", REPEATED)
@pytest.mark.parametrize("name", [*CHEAP, "formulas"])
def test_time_grows_with_the_length_and_not_faster(name, repeated):
    def ratio() -> float:
        short, long = (repeated * size)[:size], (repeated * 8 * size)[: 8 * size]
        # A clock's tick and the fixed costs of a call are more than some texts take.
        return (seconds(name, long) + 0.01) / (seconds(name, short) + 0.01)

    size = 3_000
    assert any(ratio() < 24 for _ in range(3)), "eight times the text takes more than three times as long as linear"
