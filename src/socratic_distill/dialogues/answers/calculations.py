"""Numbers that are no answer alone: operands of a calculation, bounds, ends of a range, alternatives. Pure."""

import re
from collections.abc import Sequence

from socratic_distill.dialogues.answers.numbers import Number
from socratic_distill.dialogues.answers.units import same_quantity, units_of

_WINDOW = 32  # characters before a number
_LONGEST_GAP = 40  # characters between numbers that belong together
_NOUN = r"(?:\s?[^\W\d]+)?"  # what the first number counts
_OPERATOR = re.compile(
    rf"""{_NOUN} [\s)\]}}$%]{{0,4}}
    (?: [+\u00d7\u00b7\u22c5/\u00f7^] | (?<=[\d)])\*{{1,2}}(?=[\d(]) | (?<=\s)\*(?=\s) | \\(?:times|cdot|div)\b
      | \s[-\u2212\u2013]\s | (?<=[\s\d])[xX](?=[\s\d])
      | \b(?:plus|minus|times|divided\ by|multiplied\ by|added\ to|taken\ from)\b )
    [\s(\[{{$]{{0,4}}""",
    re.VERBOSE,
)
_LABEL = re.compile(r"\b(?:step|problem|question|exercise|example|equation|hint|attempt|method)s?\s#?\Z", re.IGNORECASE)
_SURE = re.compile(r"\s?%\s+(?:sure|certain|confident|positive)\b", re.IGNORECASE)
_SHARE_OF = re.compile(r"%?\s+of\s+(?:the\s+|these\s+|those\s+)?[$]?")
_OUT_OF = re.compile(
    r"(?:\s[^\W\d]+){0,3}\s(?:out\sof(?:\sthe)?|of\s(?:the|these|those|my|his|her|their))\s+", re.IGNORECASE
)
_OPERAND = re.compile(
    r"(?:(?<![A-Za-z])[xyzn]\s?[*/+\u00d7\u00b7\u2212-]\s?|\b(?:root|half|third|quarter|percent|double|triple|square|cube)\s+of\s+[$]?)\Z",
    re.IGNORECASE,
)
_BOUND = re.compile(
    r"""(?: \b(?:more|less|greater|fewer|bigger|smaller|larger|higher|lower)\s+than
      | (?<!left\ )\b(?:under|over|above|below) | \b(?:almost|nearly) | \bnot\s+quite
      | (?<![=\n-])(?<!\A)[<>]=? | [\u2264\u2265\u2260\u00b1] | !=
      | \\(?:leq?|geq?|lt|gt|neq?|pm) ) [\s$(\[]{0,3} \Z""",
    re.VERBOSE | re.IGNORECASE,
)
_TAG = re.compile(r"</?\w{1,10}\s?/?>\s?\Z")
_BETWEEN = re.compile(r"\bbetween\s+[$(]{0,2}\Z", re.IGNORECASE)
_TO = re.compile(rf"{_NOUN}\s+(?:up\s+)?(?:to|through)\s+[$]?")
_RANGE = re.compile(r"[-\u2212\u2013\u2014:]")  # `10-12`, `3:4`
_FROM_HERE = re.compile(
    r"(?:\A|[.!?:\n]|\b(?:is|it['\u2019]?s|be|say|guess|think|about|around|maybe)\b)[\s*$]{0,3}\Z", re.I
)
_OR = re.compile(
    rf"""{_NOUN} (?P<comma>,)? [\s$)*]{{0,4}} \bor\b
    (?: \s+(?:maybe|perhaps|possibly|even|it['\u2019]?s|is\ it|[A-Za-z]\s?=) )* [\s$(*]{{0,4}}""",
    re.VERBOSE | re.IGNORECASE,
)
_EITHER = re.compile(r"\beither\b[^.!?\n]*\Z", re.IGNORECASE)


def operands(text: str, numbers: Sequence[Number]) -> set[int]:
    """Positions among the numbers of those that are no result.

    They are operands of a calculation, the whole of `12 out of 20`, the percentage of `100% sure`, and the 3 of
    `step 3`. A minus subtracts if blanks are around it: `3-5` may be a range.
    """
    inside = {
        index
        for index, number in enumerate(numbers)
        if _precedes(_OPERAND, text, number.start)
        or _precedes(_LABEL, text, number.start)
        or (number.is_percent and _SURE.match(text, number.stop))
    }
    for index in range(len(numbers) - 1):
        first, second = numbers[index], numbers[index + 1]
        if second.start - first.stop > _LONGEST_GAP:
            continue
        is_share = first.is_percent or first.value.denominator > 1
        share_of = is_share and _SHARE_OF.fullmatch(text, first.stop, second.start)
        if share_of or _OPERATOR.fullmatch(text, first.stop, second.start):
            inside |= {index, index + 1}
        elif _OUT_OF.fullmatch(text, first.stop, second.start):
            inside.add(index + 1)
    return inside


def is_open(text: str, numbers: Sequence[Number], index: int) -> bool:
    """Whether a number is no value: a bound, the end of a range or a ratio, or one of two that are joined by "or".

    Args:
        text: the text.
        numbers: its numbers, in order.
        index: position of the number.
    """
    number = numbers[index]
    if is_bound(text, number.start):
        return True
    if index == 0 or number.start - numbers[index - 1].stop > _LONGEST_GAP:
        return False
    earlier = numbers[index - 1]
    gap = text[earlier.stop : number.start]
    if _RANGE.fullmatch(gap):
        return True
    if "and" in gap and _precedes(_BETWEEN, text, earlier.start):
        return True
    if _TO.fullmatch(gap) and _precedes(_FROM_HERE, text, earlier.start):
        return True
    match = _OR.fullmatch(gap)
    if match is None or (match["comma"] and not _precedes(_EITHER, text, earlier.start)):
        return False
    same = number.equals(earlier) or same_quantity(number, units_of(text, number), earlier, units_of(text, earlier))
    return not same and (index - 1) not in operands(text, numbers[max(0, index - 2) : index + 1])


def is_bound(text: str, start: int) -> bool:
    """Whether the words or signs before an index make what follows a bound: "more than", `<`, `±`.

    "At least" and "at most" do not: they give the answer to a question for the least or the most.
    """
    return _precedes(_BOUND, text, start) and not _precedes(_TAG, text, start)


def _precedes(pattern: re.Pattern[str], text: str, start: int) -> bool:
    return pattern.search(text, max(0, start - _WINDOW), start) is not None
