"""Formulas against math-verify itself, and the limits within which it is asked."""

import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from socratic_distill import MathExtraMissing, SocraticError
from socratic_distill.dialogues.answers import symbolic
from socratic_distill.dialogues.answers.algebra import find_algebra, to_latex
from socratic_distill.dialogues.answers.expressions import ExpressionRule
from socratic_distill.dialogues.answers.kinds import rule_of
from socratic_distill.dialogues.answers.symbolic import MOST_CALLS, compared, is_readable, is_small
from socratic_distill.dialogues.seed import Seed


def seed_of(answer: str) -> Seed:
    return Seed("s", "?", answer, answer_kind="expression")


# Answers and replies that math-verify finds in a text by itself.
PAIRS = [
    ("$1/2$", "$0.5$"), ("$1/2$", "0.5"), ("$1/2$", "1/2"), ("$0.5$", "50%"), ("$50\\%$", "$50$"), ("$3$", "$x = 3$"),
    ("$x = 3$", "$3$"), ("$x = 3$", "$y = 3$"), ("$x = 3$", "$x = 4$"), ("$2x + 1$", "$x = 2x + 1$"), ("$1234$",
    "1,234"),
    ("$1234$", "$1,234$"), ("$3.5$", "3,5"), ("$3.5$", "$3,5$"), ("$(x-1)(x+1)$", "$x^2-1$"), ("$x^2-1$", "$x^2+1$"),
    ("$[0, 3)$", "$[0,3)$"), ("$[0, 3)$", "$[0,3]$"), ("$(1, 2)$", "$(1,2)$"), ("$(1, 2)$", "$(2,1)$"),
    ("$(1, 2)$", "$1, 2$"), (r"$\{1, 2\}$", r"$\{2, 1\}$"), (r"$\{1, 2\}$", "$1$ and $2$"), (r"$\{1, 2\}$",
    "$x=1$ or $x=2$"),
    ("$x > 3$", "$3 < x$"), ("$x > 3$", r"$x \ge 3$"), ("$x > 3$", r"$(3, \infty)$"), (r"$\sqrt{2}$", "$2^{1/2}$"),
    (r"$\sqrt{2}$", "1.414214"), (r"$\frac13$", "$0.333333$"), (r"$\frac13$", "$0.33$"), (r"$\pi$", "$3.14159265$"),
    ("$x = 2y + 1$", "$y = (x-1)/2$"), ("$x = 2y + 1$", "$2y - x = -1$"), ("$2^{10}$", "$1024$"), ("$5!$", "$120$"),
    (r"$\boxed{7}$", "7"), ("$7$", r"\boxed{7}"), ("$7$", r"\boxed{8}"), ("$12$", r"$12\text{ cm}$"), ("$12$",
    "$12 cm$"),
    (r"$\begin{pmatrix}1\\2\end{pmatrix}$", r"$\begin{pmatrix}1\\2\end{pmatrix}$"), ("$30^\\circ$", "$30$"),
    (r"$\begin{pmatrix}1\\2\end{pmatrix}$", r"$\begin{pmatrix}2\\1\end{pmatrix}$"), ("$|x|$", "$|x|$"), ("$a+b$",
    "$b+a$"),
    (r"$(-\infty, 3) \cup (4, 5]$", r"$(4,5]\cup(-\infty,3)$"), (r"$\sin^2 x + \cos^2 x$", "$1$"), ("$e^{x}$", "$e^x$"),
    (r"$\log_{2}{8}$", "$3$"), ("$1/2 x$", "$x/2$"), ("$1/2x$", r"$\frac{1}{2x}$"), (r"$1\frac23$", "$5/3$"), ("$x$",
    "$y$"),
    ("$3:4$", "$3/4$"), ("$f(x) = 2x$", "$2x$"), ("$x_1 = 3$", "$x_1 = 3$"), (r"$\emptyset$", r"$\{\}$"), ("$-5$",
    "-5"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reply"), PAIRS)
def test_the_rule_says_what_math_verify_says(answer, reply):
    import math_verify

    wanted, given = (math_verify.parse(text, parsing_timeout=30) for text in (answer, reply))
    assert wanted, "math-verify does not read the answer"
    expected = math_verify.verify(wanted, given, timeout_seconds=30)
    rule_of(seed_of(answer)).check(seed_of(answer))
    assert rule_of(seed_of(answer)).matches(f"It is {reply}", seed_of(answer)) is expected
    assert rule_of(seed_of(answer)).reveals(reply, seed_of(answer)) or not expected


@pytest.mark.parametrize(
    ("prose", "latex"),
    [
        ("So x = 2y + 1.", ["x=2y+1"]),
        ("I get (x-1)(x+1)", ["(x-1)(x+1)"]),
        ("{1, 2} is it", [r"\{1,2\}"]),
        ("[0, 3)", ["[0,3)"]),
        ("Is it x > 3?", ["x>3"]),
        ("sqrt(2), \u221a2 and \u221a(x+1)", [r"\sqrt{2}", r"\sqrt{2}", r"\sqrt{x+1}"]),
        ("\u03c0/2 or pi/2", [r"\pi /2", r"\pi /2"]),
        ("1/2 x, but 1/2x", [r"\frac{1}{2}x", "1/2x"]),
        ("x^-1 + x^10", ["x^{-1}+x^{10}"]),
        ("x**2 or **x = 3**", ["x^{2}", "x=3"]),
        ("2xy + 3ab", ["2xy+3ab"]),
        ("2 1/2 cups", [r"2\frac{1}{2}"]),
        ("x\u00b2 + \u00bd", [r"x^{2}+\frac{1}{2}"]),
        ("A = \u03c0r\u00b2", [r"A=\pi r^{2}"]),
        ("x <= 3 and x \u2264 3", [r"x\le 3", r"x\le 3"]),
        ("It's 5! But 5!/3!", ["5", "5!/3!"]),
        ("f(x) = 2x", ["f(x)=2x"]),
        ("1,234 and 3,5", ["1234", "3.5"]),
        ("50% of 3", [r"50\%", "3"]),
        ("the answer is -5, step-3", ["-5", "3"]),
        ("a 3, I am a b", ["3", "b"]),
        ("I have a = 5", ["a=5"]),
        ("(see page 3) ((x", ["3", "x"]),
        (r"So \frac{1}{2} + 3 is", [r"\frac{1}{2} + 3"]),
        ("(-\u221e, 3) \u222a (4, 5]", [r"(-\infty ,3)\cup (4,5]"]),
        ("e^(2x) sin x 2 sqrt 3", [r"e^{2x}\sin x", r"2\sqrt{3}"]),
        ("don't, well-known, It costs", []),
    ],
)
def test_algebra_is_found_in_prose_and_written_in_latex(prose, latex):
    assert [to_latex(prose[start:stop]) for start, stop in find_algebra(prose)] == latex


HUGE = [
    "9**9**9**9", "9^{9^{9^{9}}}", "((9^9)^9)^9^9", "10^{100000}", "(x+1)^{1000000}", "x^{5000}-1", "99999!",
    "((9!)!)!",
    r"\binom{100000}{50000}", r"\exp(\exp(\exp(\exp(9))))", "e^{e^{e^{e^9}}}", r"\pi^{\pi^{\pi^{\pi^{\pi}}}}",
    r"\sum_{i=1}^{99999} i^i", r"\prod_{i=1}^{99999} i", r"\int_0^1 x dx", r"\lim_{x \to 0} x",
    "(" * 100 + "x" + ")" * 100,
    r"\frac{1}{" * 60 + "x" + "}" * 60, "x" + "+x" * 200, r"\sqrt{" * 40 + "2" + "}" * 40, "(99999)_{99998}",
]  # fmt: skip


@pytest.mark.parametrize("formula", HUGE)
def test_what_could_grow_without_limit_is_not_evaluated(formula):
    assert not is_small(formula) and not is_readable((formula,))
    seed = seed_of("3")
    for reply in (formula, f"${formula}$", f"\\boxed{{{formula}}}", f"x = {formula} = 4"):
        assert not rule_of(seed).matches(reply, seed)


@pytest.mark.parametrize(
    "formula",
    ["10^{1000}", "x^{100}", "(x+1)^{20}", r"6.02\times 10^{23}x", "20!", r"\binom{10}{3}",
    r"e^{-\frac{(x-\mu)^2}{2\sigma^2}}",
     r"\sqrt{2+\sqrt{3+\sqrt{5}}}", "2^{2^{5}}", r"\frac{1}{1+\frac{1}{1+\frac{1}{x}}}", "x^{x^{x}}", "e^{e^x}"],
)  # fmt: skip
def test_what_answers_are_made_of_is_read(formula):
    assert is_small(formula) and is_readable((formula,))


# Short and flat, but a lot of work.
SLOW = [
    (r"\sin(\cos(\tan(\sin(\cos(x)))))+\sqrt{x+\sqrt{x+\sqrt{x}}}", "x+1"), (r"\sin " * 30 + "x", "x"),
    ("x^{7}+3x+1=0", "x^{6}+2=0"), ("(x+y)^{99}", "(x+y)^{98}"), ("a^b_c" * 40, "x"), ("|" * 100, "x"),
    ("-" * 200 + "1", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "answer"), SLOW)
def test_work_is_counted_and_limited(formula, answer):
    verdict = compared((answer,), (formula,))
    assert not verdict.equal and verdict.calls <= 3 * MOST_CALLS + 3_000


def test_a_limit_that_is_reached_means_not_equal(monkeypatch):
    monkeypatch.setattr(symbolic, "MOST_CALLS", 2_000)
    assert not compared.__wrapped__(("x^2-4",), ("(x-2)(x+2)",)).equal
    assert sys.getprofile() is None
    monkeypatch.undo()
    symbolic._parsed.cache_clear()
    assert compared.__wrapped__(("x^2-4",), ("(x-2)(x+2)",)).equal


def test_a_text_of_many_formulas_is_read_up_to_a_limit(monkeypatch):
    asked = []
    monkeypatch.setattr("socratic_distill.dialogues.answers.expressions.MOST_CALLS_IN_TEXT", 50)
    monkeypatch.setattr(
        "socratic_distill.dialogues.answers.expressions.compared",
        lambda answer, formula: asked.append(formula) or symbolic.Verdict(False, 10),
    )
    seed = seed_of("y + 1")
    assert not ExpressionRule().reveals(" ".join(f"$x + {number}$" for number in range(1000)), seed)
    assert len(asked) == 6


def test_a_profiler_of_the_user_is_put_back():
    seen = []

    def profiler(frame, event, argument):
        seen.append(event)

    sys.setprofile(profiler)
    try:
        compared.__wrapped__(("x^2-9",), ("(x-3)(x+3)",))
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)


def test_the_rule_works_in_any_thread_and_in_several_at_once():
    seed = seed_of("x^2 - 1")
    replies = [f"It is (x-1)(x+1) + {number} - {number}" for number in range(8)] + ["9^{9^{9}}", "x"] * 4
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(rule_of(seed).matches("(x - 1)(1 + x)", seed)))
    thread.start()
    thread.join()
    assert results == [True]
    with ThreadPoolExecutor(4) as pool:
        matched = list(pool.map(lambda reply: rule_of(seed).matches(reply, seed), replies))
    assert matched == [True] * 8 + [False] * 8


def test_nothing_is_logged_and_other_warnings_of_math_verify_stay(caplog):
    compared.__wrapped__(("x^2-16",), ("(x-4)(x+4)",))
    with caplog.at_level(logging.WARNING):
        logging.getLogger("math_verify.parser").warning("Timeout is disabled as it is None")
        logging.getLogger("math_verify.parser").warning("another one")
    assert [record.message for record in caplog.records] == ["another one"]


def test_without_math_verify_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    for function in (symbolic._library, symbolic._parsed, symbolic.compared):
        function.cache_clear()
    seed = seed_of("x + 2")
    try:
        for ask in (rule_of(seed).check, lambda seed: rule_of(seed).matches("x + 3", seed)):
            with pytest.raises(
                MathExtraMissing, match=r'of the kind "expression" need math-verify.*pip install .*math'
            ) as caught:
                ask(seed)
            assert isinstance(caught.value, SocraticError) and isinstance(caught.value, ImportError)
    finally:
        symbolic._library.cache_clear()
