"""Numbers in English words: `forty-two`, `a hundred and five`, `two and a half`, `three quarters`. Pure.

Small ones are words of every sentence (`the two numbers`, `one of them`, `take half of it`). So up to ten, and as
fractions, they count only where they are said to be the answer: after words such as "it's" or "I get", or as a
sentence of their own, and nothing but one noun follows. Greater ones count everywhere, as digits do.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from socratic_distill.dialogues.answers.numbers import PERCENT, Number

_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {
    **{word: value for value, word in enumerate((*_ONES, *_TEENS))},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10,
}  # fmt: skip
_PLURALS = {"halves": 2, **{f"{word}s": value for word, value in _PARTS.items() if word != "half"}}
_ONE = "|".join(_ONES)
_TO_99 = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-](?:{_ONE}))?|{'|'.join(reversed(_TEENS))}|{_ONE})\b"
_TO_999 = rf"(?:(?:{_TO_99}|an?)[\s-]hundred\b(?:\s(?:and\s)?{_TO_99})?|{_TO_99})"
_WHOLE = (
    rf"(?:(?:{_TO_999}|an?)[\s-](?:{'|'.join(_SCALES)})\b(?:,?\s(?:and\s)?(?={_TO_999}))?){{1,4}}(?:{_TO_999})?"
    rf"|{_TO_999}"
)
_PHRASE = re.compile(
    rf"""(?<![\w-]) (?:(?P<sign>minus|negative)\s)?
    (?: (?P<top>an?|one|{_TO_99})[\s-](?P<bottom>{"|".join((*_PARTS, *_PLURALS))})\b
      | (?P<half>half)\b
      | (?P<whole>{_WHOLE})
        (?: \spoint(?P<decimals>(?:\s(?:{_ONE})\b){{1,9}}) | \sand\s(?:an?|one)\s(?P<part>{"|".join(_PARTS)})\b )? )
    (?!-[^\W\d])""",
    re.VERBOSE | re.IGNORECASE,
)
_WORD = re.compile(r"[a-z]+")
_WINDOW = 48  # characters before a number that say what it is
_SAID = re.compile(
    rf"""(?: [=\u2248:\u2192\u21d2] | [=-]> | \b(?:gives?|makes?|equals?|leaves?)
      | (?:\b(?:{_ONE}|ten)|\d)\s(?:is|are)
      | \b(?:answer|result|total|sum|it|that|this|x|y|which|i|you|we)
        (?: ['\u2019]s | \s(?:is|are|was|get|got|say|said|guess|think|(?:must|should|would|has\sto)\sbe) ) )
    (?: \s(?:about|around|maybe|probably|exactly|just|only|it['\u2019]?s|it\sis|that|the\sanswer\sis) ){{0,2}}
    [\s*_"\u201c(]{{0,4}} \Z""",
    re.VERBOSE | re.IGNORECASE,
)
_HEAD = re.compile(
    r"(?:\A|[.!?\n])\s*(?:(?:so|no(?=[,.!])|yes|oh|ok|okay|maybe|hmm+|well|um|then|about)[,.!\s]{1,3}){0,3}[\s*_\"\u201c(]{0,4}\Z",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[\s*_\"\u201d)]{0,3}(?:[.,;!?\n]|\Z)")
_NOUN = re.compile(
    r"\s(?!(?:of|or|and|as|to|by|is|more|less|times|way|thing|the|an?)\b)[^\W\d]+(?:\s?[.,;!?\n]|\s*\Z)", re.I
)
_MOST_SMALL = 10


def find_word_numbers(text: str) -> list[Number]:
    """The numbers of a text that are written in English words, in order."""
    return list(_found(text))


def _found(text: str) -> Iterator[Number]:
    for match in _PHRASE.finditer(text):
        value = _value(match)
        if value is None:
            continue
        is_whole = value.denominator == 1 and not match["decimals"]
        if (not is_whole or abs(value) <= _MOST_SMALL) and not _is_answer(text, match, is_whole and value != 1):
            continue
        start = match.start()
        if (match["sign"] or "").lower() == "minus" and not _stands_first(text, start):
            value, start = -value, match.end("sign") + 1  # a subtraction
        is_percent = PERCENT.match(text, match.end()) is not None
        yield Number(value, start, match.end(), is_percent, Decimal(int(value)) if value.denominator == 1 else None)


def _stands_first(text: str, start: int) -> bool:
    return bool(
        _SAID.search(text, max(0, start - _WINDOW), start) or _HEAD.search(text, max(0, start - _WINDOW), start)
    )


def _is_answer(text: str, match: re.Match[str], may_count: bool) -> bool:
    """Whether a phrase is said to be the answer; with a noun after it only if it may count something."""
    percent = PERCENT.match(text, match.end())
    stop = percent.end() if percent else match.end()
    if not _stands_first(text, match.start()):
        return False
    return bool(_ENDS.match(text, stop) or (may_count and _NOUN.match(text, stop)))


def _value(match: re.Match[str]) -> Fraction | None:
    """The value of a phrase; None if it is no number, such as `twenty fifth`."""
    sign = -1 if match["sign"] else 1
    if match["half"]:
        return Fraction(sign, 2)
    if match["bottom"]:
        top, bottom = _whole(match["top"]), match["bottom"].lower()
        if (top == 1) != (bottom in _PARTS) or not 0 < top < (_PARTS | _PLURALS)[bottom]:
            return None
        return Fraction(sign * top, (_PARTS | _PLURALS)[bottom])
    value = Fraction(_whole(match["whole"]))
    if match["decimals"]:
        digits = "".join(str(_VALUES[word]) for word in _WORD.findall(match["decimals"].lower()))
        value += Fraction(int(digits), 10 ** len(digits))
    if match["part"]:
        value += Fraction(1, _PARTS[match["part"].lower()])
    return sign * value


def _whole(words: str) -> int:
    total = current = 0
    for word in _WORD.findall(words.lower()):
        if word in _SCALES:
            total, current = total + max(current, 1) * _SCALES[word], 0
        elif word == "hundred":
            current = max(current, 1) * 100
        elif word in ("a", "an"):
            current += 1
        elif word != "and":
            current += _VALUES[word]
    return total + current
