r"""The rule of answers that are formulas: numbers, algebra, equations, inequalities, sets, intervals, tuples, matrices.

Whether two formulas are equal is for math-verify to say, on what `formulas` and `algebra` find in a text. So `0.5` is
`\frac{1}{2}`, `x = 2y + 1` is `y = (x - 1)/2`, and an equation such as `x = 3` is given by `3` too.

A reply's final formula is the content of its last `\boxed{}`; else its last LaTeX formula or algebra. Where that is
algebra, the last equation of its sentence comes first, unless the sentence goes on to name an answer. Formulas that are
joined by commas, "and" or "or" are also read together, as a set.

The comparisons of one text have a limit of work (`MOST_CALLS_IN_TEXT`), which is enough for some eighty different
formulas; those after it reveal nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from socratic_distill.dialogues.answers.algebra import FUNCTIONS, to_latex
from socratic_distill.dialogues.answers.calculations import is_bound
from socratic_distill.dialogues.answers.claims import Claims
from socratic_distill.dialogues.answers.formulas import Formula, find_formulas, last_part, parts_of
from socratic_distill.dialogues.answers.symbolic import LONGEST, Verdict, compared, is_readable, is_small
from socratic_distill.dialogues.seed import Seed
from socratic_distill.text import shortened

# Function calls of the comparisons of one text, a few seconds; formulas after them count as different.
MOST_CALLS_IN_TEXT = 12_000_000
_JOINT = re.compile(r"[\s$]*(?:\\[\])])?\s*(?:,?\s*\b(?P<word>and|or)\b|[,;])\s*(?:\\[\[(])?[\s$]*")
_END = re.compile(r"[\s$.!?)*]*\Z")
_LONGEST_JOINT = 40  # characters
_MOST_JOINED = 6
_SENTENCE = re.compile(r"[.!?](?=\s)|\n")
_VALUE = re.compile(r"[A-Za-z]\s?=\s?([^=]+)")
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|lt|gt|in)(?![A-Za-z])")
_SAYS_ANSWER = re.compile(r"\b(?:answer|result|solution)\b", re.IGNORECASE)
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|operatorname|begin|end)\s?\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{4,}|\b(?![xyzabcnkmrt]{3}\b)[A-Za-z]{3}\b")
_NAMES = FUNCTIONS | {"inf", "infinity"}
_WORD_JOINT = re.compile(r"\s*,?\s*\b(?:and|or)\b\s*")
_ANY_JOINT = re.compile(r"\s*(?:,?\s*\b(?:and|or)\b|[,;])\s*")
_BRACKET = re.compile(r"[(\[{]")
# Intervals as they are written in many countries: `]a, b]`, `[a, b[`, `]a; b[`, `[0,5; 1,5]`.
_END_POINT = (
    r"\s*[-+\u2212]?\s*(?:\d[\d./]*|\u221a\d+|[\u221e\u03c0]|\\(?:infty|pi|frac\{\d+\}\{\d+\}|sqrt\{\d+\})|[a-z])\s*"
)
_INTERVAL = re.compile(
    rf"(?P<left>[(\[]|(?:(?<![\w)\]])|(?<=\\left))\])"
    rf"(?P<inside>{_END_POINT},{_END_POINT}|{_END_POINT}(?:,\d+\s*)?;{_END_POINT}(?:,\d+\s*)?)"
    r"(?P<right>(?:\\right)?[\[\])])"
)
_ADVICE = r"write one formula, such as \frac{1}{2}, x^2 + 1, x = 3, [0, 3) or {1, 2}"


@dataclass(frozen=True, slots=True)
class _Reading:
    """Formulas that are read together: their span, and the LaTeX of each."""

    start: int
    stop: int
    latex: tuple[str, ...]


class ExpressionRule:
    """The final formula of a reply; any formula of a turn and its parts."""

    def matches(self, reply: str, seed: Seed) -> bool:
        """Whether the reply's final formula equals the answer."""
        return _given(reply, seed.expected_answer) is not None

    def reveals(self, turn: str, seed: Seed) -> bool:
        """Whether any formula, a side of an equation, a part of a list or joined formulas equal the answer."""
        return bool(_equal_parts(turn, seed.expected_answer, first_only=True))

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """The formulas and parts that equal the answer, without their dollar signs."""
        return _equal_parts(text, seed.expected_answer)

    def check(self, seed: Seed) -> None:
        """Returns if math-verify reads the answer.

        Raises:
            ValueError: it does not; the message says what to write.
            MathExtraMissing: math-verify is not installed.
        """
        answer = seed.expected_answer
        shown = repr(shortened(answer))
        formulas = _answer(answer)
        if any(_WORD.search(_without_names(formula)) for formula in formulas):
            raise ValueError(f"the answer {shown} holds words; {_ADVICE}, or give it the answer_kind text")
        if not all(is_small(formula) for formula in formulas):
            raise ValueError(
                f"the answer {shown} is too long, too nested, or holds too large powers; {_ADVICE}, in at most "
                f"{LONGEST} characters"
            )
        if not formulas or not is_readable(formulas) or not compared(formulas, formulas).equal:
            raise ValueError(f"the answer {shown} cannot be read as a formula; {_ADVICE}")


def _without_names(formula: str) -> str:
    rest = _TEXT.sub(" ", formula)
    return " ".join(word for word in re.split(r"[^A-Za-z]+", rest) if word not in _NAMES)


@lru_cache(maxsize=1024)
def _answer(answer: str) -> tuple[str, ...]:
    """An answer's formulas in LaTeX: what its dollar signs or its box enclose, or all of it."""
    if len(answer) > 2 * LONGEST:
        return (answer,)
    answer = _plain_intervals(answer)
    typeset = [formula for formula in find_formulas(answer) if formula.kind != "algebra"]
    boxed = [formula for formula in typeset if formula.kind == "boxed"]
    if typeset:
        return tuple(formula.latex(answer) for formula in boxed[-1:] or typeset)
    plain = answer.strip().rstrip(".").rstrip()
    if "\\" in plain or _WORD_JOINT.search(plain) is None:
        latex = to_latex(plain)
        return (latex,) if latex else ()
    joint = _WORD_JOINT if _BRACKET.search(plain) else _ANY_JOINT
    return _values(tuple(to_latex(part) for part in joint.split(plain) if part))


def _plain_intervals(text: str) -> str:
    """A text of the same length in which intervals have round brackets at open ends, and a comma between their ends."""
    return _INTERVAL.sub(_plain_interval, text)


def _plain_interval(match: re.Match[str]) -> str:
    inside = match["inside"]
    if ";" in inside:
        inside = inside.replace(",", ".").replace(";", ",")
    return match["left"].replace("]", "(") + inside + match["right"].replace("[", ")")


def _verbatim(text: str, answer: str) -> tuple[int, int] | None:
    """The span of a text that is the answer, character by character; None if it is not."""
    if not answer.strip() or text.strip() != answer.strip():
        return None
    start = len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def _given(reply: str, answer: str) -> tuple[int, int] | None:
    """The span of a reply's final formula, if it equals the answer."""
    if (whole := _verbatim(reply, answer)) is not None:
        return whole
    wanted = _answer(answer)
    for reading in _final(_plain_intervals(reply)):
        if _compared(wanted, reading.latex).equal:
            return reading.start, reading.stop
    return None


def _final(reply: str) -> list[_Reading]:
    """The readings of a reply's final formula: with the formulas that are joined to it, and alone."""
    formulas = find_formulas(reply)
    boxed = [index for index, formula in enumerate(formulas) if formula.kind == "boxed"]
    last = boxed[-1] if boxed else _claimed(reply, formulas)
    return [] if last is None else _joined(reply, formulas, last)


def _claimed(reply: str, formulas: Sequence[Formula]) -> int | None:
    """Position of the formula that a reply gives as its answer; None if it gives none."""
    claims = Claims(reply, [(formula.start, formula.stop) for formula in formulas])
    last = claims.final()
    if last is None or is_bound(reply, formulas[last].start):
        return None
    return _last_algebra(reply, formulas, last, claims) if formulas[last].kind == "algebra" else last


def _last_algebra(reply: str, formulas: Sequence[Formula], last: int, claims: Claims) -> int:
    """Position of the algebra that a reply ends with, where the last that it claims is at `last`."""
    ends = [match.end() for match in _SENTENCE.finditer(reply, 0, formulas[last].start)]
    begin = ends[-1] if ends else 0
    for index in range(last, -1, -1):
        formula = formulas[index]
        if formula.start < begin:
            break
        if "=" in reply[max(begin, formula.start - 3) : formula.stop] and not claims.denies(
            formula.start, formula.stop
        ):
            named = index < last and _SAYS_ANSWER.search(reply, formula.stop, formulas[last].start)
            return last if named or _is_list(reply, formulas[index : last + 1]) else index
    return last


def _is_list(reply: str, formulas: Sequence[Formula]) -> bool:
    """Whether formulas are joined by "and" or "or", as in `x = 1, 2 or 3`, or by commas and nothing follows."""
    gaps = [_gap(reply, first, second) for first, second in pairwise(formulas)]
    if not gaps or any(gap is None for gap in gaps):
        return False
    words = [gap["word"] for gap in gaps if gap is not None]
    return bool(words[-1]) or _END.match(reply, formulas[-1].stop) is not None


def _joined(text: str, formulas: Sequence[Formula], last: int) -> list[_Reading]:
    """The formula at a number together with those that are joined before it, and alone.

    After "or" it is not read alone: a reply that names two does not say which one is its answer.
    """
    first, alone = last, True
    while first > 0 and last - first + 1 < _MOST_JOINED and formulas[first - 1].kind == formulas[last].kind:
        gap = _gap(text, formulas[first - 1], formulas[first])
        if gap is None:
            break
        alone = alone and gap["word"] != "or"
        first -= 1
    members = formulas[first : last + 1]
    latex = tuple(formula.latex(text) for formula in members)
    readings = [_Reading(members[0].start, members[-1].stop, _values(latex))] if len(members) > 1 else []
    if alone:
        readings.append(_Reading(members[-1].start, members[-1].stop, latex[-1:]))
        if (part := last_part(text, members[-1])) is not None:
            readings.append(_Reading(part.start, part.stop, (part.latex(text),)))
    return readings


def _values(latex: tuple[str, ...]) -> tuple[str, ...]:
    """Joined formulas, where the variable of the first is that of all: `x = 1 or 2` are the values 1 and 2."""
    match = _VALUE.fullmatch(latex[0])
    if match is None or any(_RELATION.search(formula) for formula in latex[1:]):
        return latex
    return match[1], *latex[1:]


def _gap(text: str, first: Formula, second: Formula) -> re.Match[str] | None:
    """What joins two formulas; None if nothing does."""
    if second.start - first.stop > _LONGEST_JOINT:
        return None
    return _JOINT.fullmatch(text, first.stop, second.start)


def _equal_parts(text: str, answer: str, first_only: bool = False) -> list[tuple[int, int]]:
    """The spans of formulas, of their parts and of joined formulas that equal an answer, in order, not overlapping."""
    if (whole := _verbatim(text, answer)) is not None:
        return [whole]
    text = _plain_intervals(text)
    wanted, calls = _answer(answer), 0
    spans: list[tuple[int, int]] = []
    for reading in _candidates(text, find_formulas(text)):
        if any(reading.start < stop and start < reading.stop for start, stop in spans[-_MOST_JOINED:]):
            continue
        if calls > MOST_CALLS_IN_TEXT:
            break
        verdict = _compared(wanted, reading.latex)
        calls += verdict.calls
        if verdict.equal:
            spans.append((reading.start, reading.stop))
            if first_only:
                break
    return spans


def _candidates(text: str, formulas: Sequence[Formula]) -> Iterator[_Reading]:
    """What may equal an answer: each formula, then its parts; and the formulas that are joined, after the last."""
    for index, formula in enumerate(formulas):
        for part in parts_of(text, formula):
            yield _Reading(part.start, part.stop, (part.latex(text),))
        if index + 1 == len(formulas) or _gap(text, formula, formulas[index + 1]) is None:
            together = _joined(text, formulas, index)[0:1]
            yield from (reading for reading in together if len(reading.latex) > 1)


def _compared(answer: tuple[str, ...], formula: tuple[str, ...]) -> Verdict:
    return compared(answer, formula) if answer and all(formula) else Verdict(False, 0)
