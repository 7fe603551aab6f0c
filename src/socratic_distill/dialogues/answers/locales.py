"""Numbers as other countries write them: `3,5`, `1.234,5`, `1 234,5`, `1'234.5`, `12,34,567`. Pure.

Digits and signs alone do not say which country wrote them: `3,5` is a list here and a decimal there. So a text keeps
its plain reading (`numbers`), and a reading of this module is a second one. It counts in one case only: it equals the
answer, and the plain rules break the same characters into several numbers.

- Answer 3.5: `3,5` gives it. Answer 3 or 5: it is the list that it was, and its last number is 5.
- Answer 12.15: `12,15` gives it; in the list `12,15,18` nothing does.
- Answer 1234: `1.234` does not give it. The plain rules read one number, 1.234, and a student who is wrong by a factor
  of a thousand writes the same characters. `1.234,0` and `1.234.000` can only be read in one way.
- In brackets, as in the point `(3,5)`, a comma separates.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal

from socratic_distill.dialogues.answers.numbers import SIGN, Number, number_at

_GAP = "[ '\u2019\u00a0\u2009\u202f]"
_BEFORE = rf"{SIGN} (?<![\w.,'\u2019]) (?<!\d[ \u00a0\u2009\u202f])"
_AFTER = r"(?! \d | [.,'\u2019]\d | [ \u00a0\u2009\u202f]\d )"
# Digits are limited as for fractions: no text yields a number of unlimited size.
_COMMA = re.compile(
    rf"""
    {_BEFORE}
    (?P<digits>
        \d{{1,18}} ,\d{{1,18}}                                                     # 3,5
      | [1-9]\d{{0,2}} (?:\.\d{{3}}){{1,6}} ,\d{{1,18}}                            # 1.234,5
      | [1-9]\d{{0,2}} (?:\.\d{{3}}){{2,6}}                                        # 1.234.567
      | [1-9]\d{{0,2}} (?P<gap>{_GAP})\d{{3}} (?:(?P=gap)\d{{3}}){{0,5}} ,\d{{1,18}}  # 1 234,5
    )
    {_AFTER}
    """,
    re.ASCII | re.VERBOSE,
)
_POINT = re.compile(
    rf"""
    {_BEFORE}
    (?P<digits>
        [1-9]\d{{0,2}} (?P<gap>{_GAP})\d{{3}} (?:(?P=gap)\d{{3}}){{0,5}} (?:\.\d{{1,18}})?  # 1'234.5
      | [1-9]\d? (?:,\d\d){{1,9}} ,\d{{3}} (?:\.\d{{1,18}})?                        # 12,34,567.5
    )
    {_AFTER}
    """,
    re.ASCII | re.VERBOSE,
)
_NO_DIGIT = re.compile(r"[^0-9]")
_BRACKETS = {"()", "[]", "{}", "(]", "[)"}


def other_readings(text: str, plain: Sequence[Number]) -> list[Number]:
    """The numbers of a text that the plain rules break into several, in order.

    Args:
        text: the text.
        plain: its numbers by the plain rules, in order.
    """
    if len(plain) < 2:  # most turns, and the search takes long
        return []
    starts = [number.start for number in plain]
    numbers = []
    for pattern, point in ((_COMMA, ","), (_POINT, ".")):
        for match in pattern.finditer(text):
            start, stop = match.span("digits")
            if text[start - 1 : start] + text[stop : stop + 1] in _BRACKETS:
                continue
            if bisect_left(starts, stop) - bisect_left(starts, match.start()) < 2:
                continue
            whole, _, part = (
                match["digits"].rpartition(point) if point in match["digits"] else (match["digits"], "", "")
            )
            digits = f"{_NO_DIGIT.sub('', whole)}.{part or 0}"
            numbers.append(number_at(text, match, start, Decimal(digits)))
    return sorted(numbers, key=lambda number: number.start)
