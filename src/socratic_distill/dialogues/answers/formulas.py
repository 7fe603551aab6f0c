r"""Finds the formulas of a text, in LaTeX and in prose, and their parts. Pure.

Formulas are the contents of `\boxed{}`, of `$…$`, `$$…$$`, `\(…\)` and `\[…\]`, and the algebra of the text between
them. Displays such as `\begin{aligned}` and matrices need no marks. A dollar sign opens a formula if another one on its
line closes it: both touch the formula, or neither does, and no digit follows the closing one. So `$5 and $7` is no
formula.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from socratic_distill.dialogues.answers.algebra import find_algebra, to_latex
from socratic_distill.dialogues.answers.boxes import boxes_of
from socratic_distill.dialogues.answers.symbolic import LONGEST

# Most turns of other subjects hold nothing of these, and this test is much faster.
_MAY_HOLD = re.compile(r"[0-9\\$=^<>]|(?<![A-Za-z'])[A-Za-z](?![A-Za-z'])|\b(?:pi|inf|infinity)\b")
_DISPLAY = r"(?:align|aligned|gather|gathered|split|equation)\*?"
_MATRIX = re.compile(r"\\begin\{[a-zA-Z]*(?:matrix|cases|array)\}")
_MARK = re.compile(
    rf"\\(?:begin|end)\{{(?:{_DISPLAY}|[a-zA-Z]*(?:matrix|cases|array))\}}"
    r"|\\\\(?![()\[\]])|\\[()\[\]]|\\\$|\$\$|\$|\n"
)
_CLOSING = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}
_BREAK = re.compile(
    rf"""\\(?:implies|impliedby|iff|therefore|because|quad|qquad|[Rr]ightarrow|[Ll]ongrightarrow|to|Leftrightarrow|\\)(?![A-Za-z])
    | \\(?:begin|end)\{{{_DISPLAY}\}}
    | \\(?:text|mathrm|mbox)\s?\{{\s*,?\s*(?:and|or|so|hence|therefore|thus)\s*\}}
    | [;,]""",
    re.VERBOSE,
)
_TOP = re.compile(r"\\[{}\[\]()]|[{}\[\]()]|\\left|\\right")
_EQUALS = re.compile(r"(?<![\\<>!:])=(?![=>])|\\approx(?![A-Za-z])|\u2248")
_ENDS = " \t\n.,;:?&~"
_WORDS_ONLY = re.compile(r"\s*\\(?:text|mathrm|textbf)\{[^{}]*\}\s*")


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula of a text, or a part of one.

    Attributes:
        start: index of its first character.
        stop: index after its last character.
        kind: where it was found.
    """

    start: int
    stop: int
    kind: Literal["boxed", "latex", "algebra"]

    def latex(self, text: str) -> str:
        """The formula in LaTeX, without signs of layout.

        Args:
            text: the text that it was found in.
        """
        source = text[self.start : self.stop]
        if self.kind == "algebra" or not source.isascii():
            source = to_latex(source)
        if not _MATRIX.search(source):
            source = source.replace("&", " ")
        return " ".join(source.replace("\\$", " ").replace("$", " ").split())


def find_formulas(text: str) -> list[Formula]:
    """The whole formulas of a text, in order, not overlapping; longer ones than can be read are left out."""
    if text.isascii() and not _MAY_HOLD.search(text):
        return []
    formulas: list[Formula] = []
    position = 0
    for formula in [*_typeset(text), None]:
        stop = formula.start if formula else len(text)
        formulas += [Formula(*span, kind="algebra") for span in find_algebra(text, position, stop)]
        if formula:
            formulas += [formula] if formula.stop - formula.start <= LONGEST else _rows(text, formula)
            position = formula.stop
    return [formula for formula in formulas if formula.stop - formula.start <= LONGEST]


def _rows(text: str, formula: Formula) -> list[Formula]:
    """What stands between the breaks of a formula, such as the rows of a display."""
    breaks, _ = _at_top(text, formula)
    edges = [(formula.start, formula.start), *breaks, (formula.stop, formula.stop)]
    spans = [_tight(text, start, stop) for (_, start), (stop, _) in pairwise(edges)]
    return [Formula(start, stop, formula.kind) for start, stop in spans if start < stop]


def _typeset(text: str) -> list[Formula]:
    """The contents of boxes and of formulas between marks, in order; boxes win."""
    boxes = [
        Formula(*_tight(text, box.start, box.stop), kind="boxed")
        for box in boxes_of(text, longest=LONGEST)
        if box.stop is not None
    ]
    starts = [box.start for box in boxes]
    formulas = list(boxes)
    for start, stop in _between_marks(text):
        index = bisect_left(starts, start)
        if not (index < len(boxes) and boxes[index].start < stop):
            formulas.append(Formula(*_tight(text, start, stop), kind="latex"))
    return sorted((formula for formula in formulas if formula.start < formula.stop), key=lambda formula: formula.start)


def _between_marks(text: str) -> Iterator[tuple[int, int]]:
    """What stands between an opening and a closing mark; displays and matrices include both."""
    opened: tuple[str, int] | None = None
    for match in _MARK.finditer(text):
        mark = match[0]
        if opened is not None and opened[0].startswith("\\begin"):
            if mark == opened[0].replace("begin", "end"):
                yield opened[1], match.end()
                opened = None
        elif opened is not None and mark == _CLOSING[opened[0]] and _closes(text, opened, match.start()):
            yield opened[1], match.start()
            opened = None
        elif mark.startswith("\\begin"):
            opened = opened or (mark, match.start())
        elif mark == "\n":
            opened = None if opened is not None and opened[0] in ("$", "\\(") else opened
        elif mark in _CLOSING and (opened is None or opened[0] == "$"):
            opened = (mark, match.end())


def _closes(text: str, opened: tuple[str, int], start: int) -> bool:
    """Whether a mark at an index closes the one that is open."""
    mark, first = opened
    if mark != "$":
        return True
    inner = text[first:start] if start - first <= LONGEST else ""
    spaced = inner[:1].isspace(), inner[-1:].isspace()
    return bool(inner.strip()) and spaced[0] == spaced[1] and not text[start + 1 : start + 2].isdigit()


def _tight(text: str, start: int, stop: int) -> tuple[int, int]:
    """A span without blanks and stops at its ends."""
    while start < stop and text[start] in " \t\n&~":
        start += 1
    while start < stop and text[stop - 1] in _ENDS and text[max(start, stop - 2)] != "\\":
        stop -= 1
    return start, stop


def parts_of(text: str, formula: Formula) -> list[Formula]:
    """A formula, its parts between commas and arrows, and the sides of its equations; the larger ones first.

    Args:
        text: the text that it was found in.
        formula: the whole formula.
    """
    breaks, equals = _at_top(text, formula)
    spans = [(formula.start, formula.stop)]
    edges = [(formula.start, formula.start), *breaks, (formula.stop, formula.stop)]
    for (_, start), (stop, _) in pairwise(edges):
        spans.append(_tight(text, start, stop))
        within = [(start, start), *(sign for sign in equals if start <= sign[0] < stop), (stop, stop)]
        if len(within) > 2:
            spans += [_tight(text, a, b) for (_, a), (b, _) in pairwise(within)]
    return [Formula(start, stop, formula.kind) for start, stop in dict.fromkeys(spans) if start < stop]


def last_part(text: str, formula: Formula) -> Formula | None:
    """What a formula ends with: the part after its last arrow, or its last equation of several; None if it is one part.

    Args:
        text: the text that it was found in.
        formula: the whole formula.
    """
    breaks, equals = _at_top(text, formula)
    edge = formula.stop
    while breaks and not text[breaks[-1][1] : edge].strip(_ENDS):  # the end of a display, an empty row
        edge, _ = breaks.pop()
    if not breaks:
        return None
    start, stop = _tight(text, breaks[-1][1], edge)
    if text[slice(*breaks[-1])] in (",", ";") and not any(start <= sign < stop for sign, _ in equals):
        return None
    return Formula(start, stop, formula.kind) if start < stop else None


def _at_top(text: str, formula: Formula) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The breaks and the equals signs of a formula that stand in no bracket."""
    source = text[formula.start : formula.stop]
    depth, levels = 0, []
    for match in _TOP.finditer(source):
        sign = match[0][-1]
        depth = max(0, depth + (sign in "{[(") - (sign in "}])"))
        levels.append((match.end(), depth))
    ends = [end for end, _ in levels]

    def is_top(index: int) -> bool:
        last = bisect_left(ends, index + 1) - 1
        return last < 0 or levels[last][1] == 0

    breaks = [match for match in _BREAK.finditer(source) if is_top(match.start())] if not _MATRIX.search(source) else []
    equals = [match for match in _EQUALS.finditer(source) if is_top(match.start())]
    shift = formula.start
    return (
        [(match.start() + shift, match.end() + shift) for match in breaks],
        [(match.start() + shift, match.end() + shift) for match in equals],
    )
