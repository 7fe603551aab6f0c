r"""Parses formulas and compares them, by math-verify, within limits of size and work.

math-verify bounds its time with signals, which exist in the main thread alone, so its own limits are off here. Ours
depend on the text and not on the clock, so that a formula is read alike on every machine and in every thread:

- Before parsing: at most 300 characters, 8 brackets within each other, and a bound on the size of every integer that
  evaluation could meet (`is_small`), since no limit can interrupt the arithmetic of one huge integer. So `9**9**9` is
  not read. Neither are `\int`, `\sum`, `\prod` and `\lim`: they tell what to compute, and are no answer.
- While parsing and comparing: a number of function calls, counted by a profile function of the calling thread. A
  comparison that needs more of them finds the formulas different; it takes about a second. A profiler of the user sees
  nothing of these calls.

Results are kept, because a run's turns are read often. One formula is read at a time, whatever the thread.
"""

import inspect
import logging
import math
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar

from socratic_distill.errors import MathExtraMissing
from socratic_distill.files.extras import how_to_install

T = TypeVar("T")

LONGEST = 300  # characters of a formula
MOST_CALLS = 3_000_000  # function calls of one comparison
_DEEPEST = 8
_MOST_BITS = 1 << 14
# With variables, a power is a polynomial: the work on it grows with the square of its degree, and no call is counted.
_MOST_BITS_WITH_VARIABLES = 256
_MOST_BITS_IN_EXPONENT = 20.0
_MOST_BITS_IN_FACTORIAL = 10.0
_MOST_POWERS = 4  # powers within each other's exponents
_INSTRUCTION = re.compile(r"\\(?:i*int|oint|sum|prod|lim|limsup|liminf)(?![A-Za-z])")
_COUNTING = re.compile(r"binom|choose|\)_|(?:^|[^A-Za-z])[CP](?:$|[^A-Za-z])")
_FOUR_DIGITS = re.compile(r"\d{4}")
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)|(?P<name>\\[A-Za-z]+|[A-Za-z])|(?P<open>[({\[])|(?P<close>[)}\]])"
    r"|(?P<power>\^|\*\*)|(?P<factorial>!(?!=))"
)
_GROWING = frozenset(("exp", "sinh", "cosh", "tanh", "coth", "sech", "csch", "Gamma", "gamma"))
_CONSTANT_BITS = 2.0  # more than e and pi have
# Read once without a limit of calls: the libraries prepare themselves at their first formulas.
_FIRST = (("x^2-1", "(x-1)(x+1)"), ("x=2y+1", "y=\\frac{x-1}{2}"), ("[0,\\sqrt{3})", "\\{1, 2\\}"), ("x>3", "\\sin x"))
# What math-verify does not read, as what it reads.
_WRITTEN = (
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset "),
    (re.compile(r"(?:\\left\s?)?\\langle(?![A-Za-z])"), "("),
    (re.compile(r"(?:\\right\s?)?\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"\\(?:mathbf|boldsymbol|bm)\s?\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\degree(?![A-Za-z])"), r"^{\\circ}"),
    (re.compile(r"(?<=\d)\\[,!;: ](?=\d{3})"), ""),
)
_REPEATING = re.compile(r"(\d{0,9})\.(\d{0,9})\\(?:overline|bar|dot)\s?(?:\{(\d{1,9})\}|(\d))")
_INTEGER = re.compile(r"-?\d{1,15}")
_lock = threading.Lock()


class _TooMuchWork(BaseException):
    """The limit of calls is reached. No `Exception`, since the libraries catch these."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether two formulas are equal, and the function calls that it took to tell."""

    equal: bool
    calls: int


@lru_cache(maxsize=1 << 14)
def compared(answer: tuple[str, ...], formula: tuple[str, ...]) -> Verdict:
    """Whether a formula equals an answer by math-verify, in which the two sides are not alike.

    Args:
        answer: LaTeX of the answer; several are a set.
        formula: LaTeX of what is compared with it; several are a set.

    Raises:
        MathExtraMissing: math-verify is not installed.
    """
    if len(answer) == len(formula) == 1 and _INTEGER.fullmatch(answer[0]) and _INTEGER.fullmatch(formula[0]):
        return Verdict(int(answer[0]) == int(formula[0]), 0)
    library = _library()
    wanted, first = _parsed(answer)
    given, second = _parsed(formula)
    if not wanted or not given:
        return Verdict(False, first + second)
    result, calls = _limited(lambda: bool(library.verify(wanted, given, timeout_seconds=None)), False)
    return Verdict(result, first + second + calls)


def is_readable(formula: tuple[str, ...]) -> bool:
    """Whether math-verify reads a formula within the limits.

    Raises:
        MathExtraMissing: math-verify is not installed.
    """
    return bool(_parsed(formula)[0])


@lru_cache(maxsize=1 << 14)
def _parsed(formulas: tuple[str, ...]) -> tuple[list[Any], int]:
    """What math-verify makes of formulas, and the calls that it took; an empty list if it cannot read them."""
    library = _library()
    if not formulas or not all(is_small(formula) for formula in formulas):
        return [], 0
    return _limited(lambda: _parse(library, tuple(map(_rewritten, formulas))), [])


def _rewritten(formula: str) -> str:
    for pattern, written in _WRITTEN:
        formula = pattern.sub(written, formula)
    return _REPEATING.sub(_as_fraction, formula)


def _as_fraction(match: re.Match[str]) -> str:
    """A repeating decimal as a fraction."""
    whole, part, period = match[1], match[2], match[3] or match[4]
    bottom = (10 ** len(period) - 1) * 10 ** len(part)
    return rf"\frac{{{int(whole + part + period) - int(whole + part or 0)}}}{{{bottom}}}"


def _parse(library: Any, formulas: tuple[str, ...]) -> list[Any]:
    text = " and ".join(f"${formula}$" for formula in formulas)
    config = [library.LatexExtractionConfig()]
    parsed = library.parse(text, extraction_config=config, fallback_mode="no_fallback", parsing_timeout=None)
    if not parsed and len(formulas) == 1 and "\\pm" in text:  # inside a fraction or a root it is not read
        return _parse(library, (formulas[0].replace("\\pm", "+"), formulas[0].replace("\\pm", "-")))
    return parsed


@cache
def _library() -> Any:
    try:
        import math_verify
    except ImportError as error:
        raise MathExtraMissing(
            f'answers of the kind "expression" need math-verify, which cannot be imported: {error}. '
            f"{how_to_install('math')}"
        ) from error
    for module in ("parser", "grader"):  # each warns that its limits of time are off
        logging.getLogger(f"math_verify.{module}").addFilter(
            lambda record: not str(record.msg).startswith("Timeout is disabled")
        )
    with _lock:
        for first, second in _FIRST:
            math_verify.verify(_parse(math_verify, (first,)), _parse(math_verify, (second,)), timeout_seconds=None)
    return math_verify


def _limited(work: Callable[[], T], otherwise: T) -> tuple[T, int]:
    """The result of some work, and the function calls that it took; `otherwise` if it needs too many, or fails."""
    calls = 0

    def watch(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += 1
        # Python drops what is raised while it closes a generator or deletes an object, and the profile function too.
        if calls > MOST_CALLS and event == "call":
            code = frame.f_code
            if not code.co_flags & inspect.CO_GENERATOR and code.co_name != "__del__":
                raise _TooMuchWork

    with _lock:
        outer = sys.getprofile()
        try:
            sys.setprofile(watch)
            result = work()
        except (_TooMuchWork, Exception):
            result = otherwise
        finally:
            sys.setprofile(outer)
    return result, calls


def is_small(formula: str) -> bool:
    """Whether a formula is short and flat enough to be parsed, and no integer in it can become too large."""
    if len(formula) > LONGEST or _INSTRUCTION.search(formula):
        return False
    if _COUNTING.search(formula) and _FOUR_DIGITS.search(formula):
        return False
    tokens = [(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(formula)]
    depth = deepest = 0
    for kind, _ in tokens:
        depth += (kind == "open") - (kind == "close")
        deepest = max(deepest, depth)
    has_variables = any(kind == "name" and len(text) == 1 and text not in "eE" for kind, text in tokens)
    most = _MOST_BITS_WITH_VARIABLES if has_variables else _MOST_BITS
    return deepest <= _DEEPEST and _Sizes(tokens).of_sequence() <= most


class _Sizes:
    """Reads a formula's tokens, and bounds in bits what its parts can become; infinite if they are too large.

    A sequence of operands is bounded by the product of all, whatever operators stand between them. Variables have no
    size, since nothing is put in their place.
    """

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._index = 0
        self._powers = 0  # powers that the current token is an exponent of

    def of_sequence(self, in_group: bool = False) -> float:
        """Of all operands up to the end of the group, or of the formula."""
        total = 0.0
        while self._next() is not None:
            if self._next() == "close":
                self._index += 1
                if in_group:
                    break
            else:
                total += self._of_power()
        return total

    def _next(self) -> str | None:
        return self._tokens[self._index][0] if self._index < len(self._tokens) else None

    def _of_power(self) -> float:
        """Of one operand with its powers and factorials."""
        size = self._of_operand()
        while (kind := self._next()) in ("power", "factorial"):
            self._index += 1
            if kind == "power":
                size = max(size, 1.0) * self._exponent()
            else:
                size = 2.0**size * max(size, 1.0) if size <= _MOST_BITS_IN_FACTORIAL else math.inf
        return size

    def _exponent(self) -> float:
        """The largest value that the operand after a power sign can have."""
        if self._next() is None or self._powers == _MOST_POWERS:
            return math.inf
        self._powers += 1
        size = self._of_power()
        self._powers -= 1
        return 2.0**size if size <= _MOST_BITS_IN_EXPONENT else math.inf

    def _of_operand(self) -> float:
        kind, text = self._tokens[self._index]
        self._index += 1
        if kind == "number":
            return math.log2(max(float(text), 2.0))
        if kind == "open":
            return self.of_sequence(in_group=True)
        if text.lstrip("\\") in _GROWING:
            return _CONSTANT_BITS * self._exponent()
        return _CONSTANT_BITS if text.lstrip("\\") in ("e", "E", "pi") else 0.0
