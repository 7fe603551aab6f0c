r"""Numbers with the words and signs that change their value: `5 thousand`, `2 and a half`, `minus 5`, `2x`. Pure.

`numbers` reads digits. In a text these may be a part of another amount:

- words multiply them: `5 thousand` and `$5K` are 5000. What counts something does not: `3 hundreds`, `2 dozen`;
- words add to them: `2 and a half` and `2 and 3/4`;
- words negate them: `negative 5`, and `minus 5` where nothing is subtracted from; so does the minus of `= - 5`;
- they are no amount of their own in `2x`, `5²`, `2√3`, `√9`, `2π`;
- they number the lines of a list that counts from 1.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from socratic_distill.dialogues.answers.numbers import SUPERSCRIPTS, Number

_WINDOW = 24  # characters before a number
_SCALES = {
    "hundred": 10**2, "thousand": 10**3, "lakh": 10**5, "million": 10**6, "crore": 10**7,
    "billion": 10**9, "trillion": 10**12, "k": 10**3, "m": 10**6, "b": 10**9,
}  # fmt: skip
_SCALE = re.compile(r"\s?(hundred|thousand|lakh|million|crore|billion|trillion)\b", re.IGNORECASE)
_SHORT_SCALE = re.compile(r"([kmb])\b", re.IGNORECASE)  # after an amount of money only: 5 K is a temperature
_MONEY = re.compile(r"[$£€]\s?\Z")
_PARTS = {"half": Fraction(1, 2), "third": Fraction(1, 3), "quarter": Fraction(1, 4)}
_AND_PART = re.compile(rf"\s+and\s+(?:a|one)\s+({'|'.join(_PARTS)})\b", re.IGNORECASE)
_NEGATED = re.compile(
    r"""(?P<negative>\bnegative)\s+ \Z
    | (?: \A | [^\w\s)\]%]\s*
        | \b(?:is|it['\u2019]?s|be|was|to|get|got|equals?|answer|are|and|or|not|but|by|so|of|that['\u2019]?s)\s+ )
      (?P<minus>minus)\s+ \Z
    | [=\u2248]\s*(?P<sign>[-\u2212\u2013])\s+ \Z""",
    re.VERBOSE | re.IGNORECASE,
)
_ROOT = re.compile(r"(?:[\u221a\u221b]|\\sqrt\s?\{?|\bsqrt\s?\(?)\s?\Z")
_FACTOR = re.compile(
    f"[{SUPERSCRIPTS}]|[xyzn](?![A-Za-z]|\\s?\\d|\\s(?:as|more|the|bigger|larger|faster)\\b)|\\s?(?:[\u03c0\u221a\u221b]|\\\\pi\\b|\\\\sqrt)"
)
_LISTED = re.compile(r"^[ \t]*(\d{1,2})[.)][ \t]+(?=\S)", re.MULTILINE | re.ASCII)


def amounts_of(text: str, numbers: Sequence[Number]) -> list[Number]:
    """The amounts of a text, in order.

    Args:
        text: the text, with plain digits.
        numbers: its numbers as `find_numbers` reads them.
    """
    markers = _list_markers(text)
    amounts: list[Number] = []
    for number in numbers:
        if number.start in markers or _is_part(text, number):
            continue
        if amounts and _is_mixed(text, amounts[-1], number):
            amounts[-1] = replace(amounts[-1], value=amounts[-1].value + number.value, stop=number.stop, decimal=None)
        else:
            amounts.append(_signed(text, _scaled(text, number)))
    return amounts


def _list_markers(text: str) -> set[int]:
    """Where the numbers of a list's lines begin, which count 1, 2, …; a single one is no list."""
    starts: list[int] = []
    for match in _LISTED.finditer(text):
        if int(match[1]) == len(starts) + 1:
            starts.append(match.start(1))
    return set(starts) if len(starts) > 1 else set()


def _is_part(text: str, number: Number) -> bool:
    """Whether a number is a factor, a base or an operand of a root, so that it is no amount alone."""
    if _FACTOR.match(text, number.stop):
        return True
    return _ROOT.search(text, max(0, number.start - _WINDOW), number.start) is not None


def _is_mixed(text: str, whole: Number, part: Number) -> bool:
    """Whether two numbers are one, as in `2 and 3/4`."""
    if whole.decimal is None or whole.is_percent or part.decimal is not None or not 0 < part.value < 1:
        return False
    return whole.value > 0 and whole.value.denominator == 1 and text[whole.stop : part.start] == " and "


def _scaled(text: str, number: Number) -> Number:
    """A number with the words after it that multiply it or add to it."""
    if number.is_percent:
        return number
    if number.value.denominator == 1 and (match := _AND_PART.match(text, number.stop)):
        part = _PARTS[match[1].lower()] * (-1 if number.value < 0 else 1)
        number = replace(number, value=number.value + part, stop=match.end(), decimal=None)
    for _ in range(3):  # "5 hundred thousand"
        match = _SCALE.match(text, number.stop)
        if match is None and _MONEY.search(text, max(0, number.start - 2), number.start):
            match = _SHORT_SCALE.match(text, number.stop)
        if match is None:
            break
        factor = _SCALES[match[1].lower()]
        decimal = None if number.decimal is None else Decimal(number.decimal) * factor
        number = replace(number, value=number.value * factor, stop=match.end(), decimal=decimal)
    return number


def _signed(text: str, number: Number) -> Number:
    """A number with the word or the detached minus before it that negates it."""
    match = _NEGATED.search(text, max(0, number.start - _WINDOW), number.start) if number.value > 0 else None
    if match is None:
        return number
    decimal = None if number.decimal is None else -number.decimal
    return replace(number, value=-number.value, start=match.start(match.lastgroup or 0), decimal=decimal)
