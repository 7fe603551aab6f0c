r"""Finds numbers in text, the final answer of a worked solution, and whether two answers are the same. Pure.

These count as numbers:

- digits with a decimal part and thousands separators: `1,234,567.5`, `.5`, `1{,}000`. A comma is a separator only if
  every group has three digits, so `12,15` and `89,100,92` are lists. Indian grouping (`1,00,000`) is read if a group
  begins with 0, since no number of a list does; `12,34,567` is a list;
- a fraction that is not whole: `3/4`, `2 1/2`, `½`, `\frac{3}{4}`, `1\frac12`. A fraction with a whole value is read as
  two numbers, because worked solutions write `16/2 = 8`, and a tutor who asks for `16/2` has not said 8. So is a
  fraction with blanks around its slash;
- scientific notation with one digit before the point or comma: `1.5e3`, `1,5 × 10^3`, `1.5 \times 10^{3}`;
- currency signs are ignored: `$18` and `18` are the same;
- a percentage equals its number and, if its hundredth is not whole, that hundredth too: `50%` equals `50` and `0.5`,
  but `100%` does not equal `1`, so that "100% sure" does not say 1;
- a minus (`-`, U+2212 or the en dash) that touches the number belongs to it, unless an operand or a word comes before
  it on the line: `-5`, `-$5`, `$-5` and `x = -5` are negative, `10-5`, `10 -5` and `10 - 5` are 10 and 5.

These do not count: ordinals (`2nd`), which name a step or a grade and not an amount; exponents and indices
of letters (`cm^2`, `x_1`) and of metres (`m2`); names with digits (`H2O`, `Q12`). Words (`twelve`) are not read here,
but by `number_words`. Nor is a decimal comma: `3,5` is a list; `locales` knows the other reading.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from socratic_distill.dialogues.answers.boxes import boxes_of
from socratic_distill.dialogues.answers.digits import plain_digits
from socratic_distill.text import shortened

_MINUS = "-\u2212\u2013"
SIGN = rf"(?P<sign> \\?[$£€] [{_MINUS}] | [{_MINUS}]? (?:\\?[$£€])? )"
_COMMA = r"(?: , | \{,\} | \\[,!;:\ ] | ,\\! | [\u00a0\u2009\u202f] )"
_NUMBER = re.compile(
    rf"""
    {SIGN}
    (?P<digits>
        (?<!\d,) \d{{1,3}} (?:{_COMMA}\d{{3}}){{1,20}} (?!,?\d) (?:\.\d+)?         # 1,234,567.5
      | (?<!\d,) \d{{1,2}} (?=(?:,\d\d){{0,9}},0) (?:,\d\d){{1,9}} ,\d{{3}} (?!,?\d) (?:\.\d+)?  # 1,00,000
      | \d+ (?:\.\d+)?                                                           # 1234567.5
      | (?<![\w)\]]) \.\d+                                                       # .5, but not the stop in "friends.3"
    )
    """,
    re.ASCII | re.VERBOSE,
)
VULGAR = "\u00bc-\u00be\u2150-\u215e"
# The number of digits is limited, so that no text yields a number of unlimited size.
_FRACTION = re.compile(
    rf"""
    {SIGN} (?<![\w./]) (?<!\d,)
    (?:(?P<whole>\d{{1,18}}) (?: (?:[ \u00a0]|\\[,;:\ ])? \s? (?=\\|[{VULGAR}]) | [ \u00a0] ))?
    (?:
        \\[dtc]?frac \s* (?:\{{\s*(?P<top>[{_MINUS}]?\d{{1,18}})\s*\}}|(?P<top_digit>\d))
                     \s* (?:\{{\s*(?P<bottom>[{_MINUS}]?\d{{1,18}})\s*\}}|(?P<bottom_digit>\d))
      | (?P<vulgar>[{VULGAR}])
      | (?P<over>\d{{1,18}}) [/\u2044] (?P<under>\d{{1,18}}) (?! \d | [.,]\d | \s?[/\u2044] )
    )
    """,
    re.ASCII | re.VERBOSE,
)
SUPERSCRIPTS = "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_SCIENTIFIC = re.compile(
    rf"""
    {SIGN} (?<![\w.]) (?<!\d,)
    (?P<digits>\d(?:[.,]\d+)?)
    (?:
        (?<!,\d) [eE] (?P<power>[+-]?\d{{1,3}}) (?![\w-])
      | \s? (?:[x*\u00d7\u00b7]|\\times|\\cdot) \s? 10
        (?: \s? (?:\^|\*\*) \s? (?P<brace>\{{)? \s? (?P<exponent>[{_MINUS}]?\d{{1,3}}) (?!\d) (?(brace)\s?\}})
          | (?P<raised>[{SUPERSCRIPTS}]{{1,4}}) )
    )
    """,
    re.ASCII | re.VERBOSE,
)
# Characters. The time to read digits grows with the square of their number, so longer numbers are not read.
_LONGEST = 10_000
_NO_DIGIT = re.compile(r"[^\d.]", re.ASCII)
_PLAIN_MINUS = str.maketrans(dict.fromkeys(_MINUS, "-"))
_DIGIT = re.compile(rf"[0-9{VULGAR}]")
_ORDINAL_ENDING = re.compile(r"(?:st|nd|rd|th)s?\b", re.IGNORECASE)
PERCENT = re.compile(r"\s?(?:\\?%|per ?cent\b|pct\b)", re.IGNORECASE)
# Exponents of letters and LaTeX groups only: "10^2" is a calculation with two numbers.
# And of metres written with a plain digit, as in "25 m2".
_METRES = r"(?:(?<=(?<![A-Za-z])m)|(?<=(?<![A-Za-z])[cdkm]m))[23]\b"
_RAISED = re.compile(rf"(?<=[A-Za-z}}])(?:[\^_]|\*\*)(?:\{{\s*)?[-+]?\d+(?:\s*\}})?|{_METRES}", re.ASCII)
# Names that hold digits: `H2O`, `Q12`, `x2`; but not the codes of currencies, `USD12` and `R12`.
_NAME = re.compile(r"(?<![\w\\])(?!R\d|[A-Z]{3}\d)(?:[A-Za-z]\d|(?:[A-Z][a-z]?\d*){2,})[A-Za-z0-9]*", re.ASCII)
_HARMLESS = re.compile(rf"{_RAISED.pattern}|\^\{{?\s*\\circ\s*\}}?", re.ASCII)
_MARKED_ANSWER = re.compile(r"^[ \t]*####(?P<answer>.*)$", re.MULTILINE)
_LIST = re.compile(r"[,;]\s|\b(?:and|or)\b")
# Signs and words that change a number's value, so that the number alone would be another answer.
_MORE = re.compile(
    r"""
    \\(?!(?:text|mathrm|mathbf|textbf|mbox|boxed|fbox|left|right|circ|degree|quad|displaystyle|approx)(?![A-Za-z]))
      [A-Za-z]+                                                    # \sqrt, \pi, \times
  | [\u221a\u03c0\u221e\u00b1<>\u2264\u2265\u2260\u00d7\u00f7^]    # √ π ∞ ± comparisons × ÷ ^
  | (?i:\b(?:sqrt|pi|log|ln|hundreds?|thousands?|millions?|billions?|trillions?|dozens?)\b)
  | (?i:\band\ (?:a|one)\ (?:half|third|quarter)\b)
  | \0\s?[KMB]\b
  | \0[\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]            # 5²
  | \0\s*[*/+\u2212\u2013-]?\s*[xyznki]\b                          # 2x, 3 n, 5 - y
  | \b[xyznki]\s*[*/+\u2212\u2013-]\s*\0                           # x/2, y - 5
    """,
    re.VERBOSE,
)
_ADVICE = "give one number, such as 42, -3.5, 3/4, 2 1/2 or 50%"


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text.

    Attributes:
        value: its exact value; for a percentage, the number before the percent sign.
        start: index of its first character; a minus that belongs to it is included.
        stop: index after its last character; currency and percent signs are not included.
        is_percent: whether it is a percentage.
        decimal: the number as it was written; None for a fraction.
    """

    value: Fraction
    start: int
    stop: int
    is_percent: bool
    decimal: Decimal | None

    def equals(self, other: "Number") -> bool:
        """Whether both have the same value; a percentage also equals its hundredth, if that is not whole."""
        if self.is_percent == other.is_percent:
            return self.value == other.value
        percent, plain = (self, other) if self.is_percent else (other, self)
        return plain.value == percent.value or (plain.value.denominator > 1 and plain.value == percent.value / 100)

    def __str__(self) -> str:
        """The number as a person writes it: a decimal, or a fraction in lowest terms."""
        digits = str(self.value) if self.decimal is None else format(self.decimal, "f")
        return f"{digits}%" if self.is_percent else digits


def find_numbers(text: str) -> list[Number]:
    """Every number of a text, in order."""
    if _DIGIT.search(text) is None:  # most turns hold no number, and this test is much faster
        return []
    numbers: list[Number] = []
    taken = bytearray(len(text))  # 1 where an earlier kind has read a character
    for match in (*_RAISED.finditer(text), *_NAME.finditer(text)):
        taken[match.start() : match.end()] = b"\1" * len(match[0])
    for kind in (_scientific, _fractions, _plain):
        for number in kind(text):
            if not any(taken[number.start : number.stop]):
                numbers.append(number)
                taken[number.start : number.stop] = b"\1" * (number.stop - number.start)
    return sorted(numbers, key=lambda number: number.start)


def _scientific(text: str) -> Iterator[Number]:
    for match in _SCIENTIFIC.finditer(text):
        raised = unicodedata.normalize("NFKC", match["raised"] or "")
        power = int((match["power"] or match["exponent"] or raised).translate(_PLAIN_MINUS))
        yield number_at(text, match, match.start("digits"), Decimal(match["digits"].replace(",", ".")).scaleb(power))


def _fractions(text: str) -> Iterator[Number]:
    for match in _FRACTION.finditer(text):
        if match["vulgar"]:
            part = Fraction(unicodedata.numeric(match["vulgar"])).limit_denominator(100)
        else:
            top = match["top"] or match["top_digit"] or match["over"]
            bottom = match["bottom"] or match["bottom_digit"] or match["under"]
            over, under = (int(digits.translate(_PLAIN_MINUS)) for digits in (top, bottom))
            part = Fraction(over, under) if under else Fraction(0)
        if part.denominator == 1:  # a division, not a fraction
            continue
        whole, start = match["whole"], match.end("sign")
        if whole is not None and not 0 < part < 1:  # "16 3/2" is two numbers
            whole, start = None, match.end("whole")
        yield number_at(text, match, start, int(whole or 0) + part)


def _plain(text: str) -> Iterator[Number]:
    for match in _NUMBER.finditer(text):
        if match.end() - match.start() <= _LONGEST and not _ORDINAL_ENDING.match(text, match.end()):
            yield number_at(text, match, match.start("digits"), Decimal(_NO_DIGIT.sub("", match["digits"])))


def number_at(text: str, match: re.Match[str], start: int, size: Decimal | Fraction) -> Number:
    """The number whose digits begin at `start`, with the sign before them, if any.

    Args:
        text: the whole text.
        match: of a pattern that begins with `SIGN`.
        start: index of the first digit.
        size: the value of the digits.
    """
    is_first = start == match.end("sign")
    if is_first and any(minus in match["sign"] for minus in _MINUS) and not _ends_operand(text, match.start()):
        size, start = -size, match.start()
    is_percent = PERCENT.match(text, match.end()) is not None
    decimal = size if isinstance(size, Decimal) else None
    return Number(Fraction(size), start, match.end(), is_percent, decimal)


def _ends_operand(text: str, stop: int) -> bool:
    """Whether a minus at `stop` would be a subtraction, a hyphen or half a dash, not a sign."""
    if not stop or text[stop - 1] == "\n":
        return False
    touching, index = text[stop - 1], stop - 1
    while index and text[index].isspace() and text[index] != "\n":
        index -= 1
    last = text[index]
    return touching.isalnum() or touching in _MINUS or last.isdigit() or last in {")", "]", "%"}


def parse_numbers(text: str) -> list[Fraction]:
    """The values of a text's numbers, in order.

    >>> [str(value) for value in parse_numbers("She pays $1,250.50 for 3/4, so -5 - 2.")]
    ['2501/2', '3/4', '-5', '2']
    """
    return [number.value for number in find_numbers(text)]


def last_number(text: str) -> Number | None:
    """The last number of a text; None if it holds none."""
    numbers = find_numbers(text)
    return numbers[-1] if numbers else None


def same_answer(first: str, second: str) -> bool:
    """Whether the last numbers of two answers are equal: `18`, `18.00`, `$18` and `18 eggs` are the same.

    An answer without a number is never the same as another.
    """
    first_number, second_number = last_number(first), last_number(second)
    return first_number is not None and second_number is not None and first_number.equals(second_number)


def answer_spans(text: str, answer: str) -> list[tuple[int, int]]:
    """Where the answer's number occurs in a text: character spans `[start, stop)`."""
    wanted = last_number(answer)
    if wanted is None:
        return []
    return [(number.start, number.stop) for number in find_numbers(text) if number.equals(wanted)]


def contains_answer(text: str, answer: str) -> bool:
    """Whether any number of a text equals the answer."""
    return bool(answer_spans(text, answer))


def check_answer(answer: str) -> None:
    """Refuses an answer that cannot be compared with a student's last number.

    Raises:
        ValueError: the answer is not exactly one number.
    """
    _only_number(answer)


def _only_number(answer: str) -> Number:
    """The only number of an answer; words around it, such as units, are allowed."""
    answer = plain_digits(answer)
    numbers = find_numbers(answer)
    if len(numbers) != 1:
        raise ValueError(f"an answer must hold exactly one number, {_quoted(answer)} holds {len(numbers)}; {_ADVICE}")
    (number,) = numbers
    rest = _HARMLESS.sub("", f"{answer[: number.start]}\0{answer[number.stop :]}")
    if more := _MORE.search(rest):
        what = more[0].replace("\0", str(number)).strip()
        raise ValueError(f"the answer {_quoted(answer)} is more than a number ({what!r}); {_ADVICE}")
    return number


def as_decimal(answer: str) -> str:
    """An answer as plain digits, for measures that read nothing else; the unchanged text if that is not possible.

    >>> as_decimal("$1,200"), as_decimal("3/4"), as_decimal("1/3"), as_decimal("12 eggs")
    ('1200', '0.75', '1/3', '12')
    """
    number = last_number(plain_digits(answer))
    if number is None:
        return answer
    if number.decimal is not None:
        return format(number.decimal, "f")
    top, bottom = number.value.as_integer_ratio()
    quotient = Decimal(top) / Decimal(bottom)
    return format(quotient, "f") if Fraction(quotient) == number.value else answer


def final_answer(solution: str) -> str:
    r"""The final answer of a worked solution: a decimal number or a fraction, with a percent sign if it has one.

    It is the text after the last `####`; without that, the text in `\boxed{}`; else the last line that is not blank,
    after its last equals sign. The text must be exactly one number.

    Raises:
        ValueError: the text is not exactly one number.

    >>> final_answer("9 * 2 = 18\n#### 1,800"), final_answer(r"So \boxed{\frac{1}{4}}."), final_answer("so\n 10 ")
    ('1800', '1/4', '10')
    """
    marked = list(_MARKED_ANSWER.finditer(solution))
    if marked:
        return str(_only_number(marked[-1]["answer"].strip()))
    if boxes := _boxes(solution):
        numbers = [_only_number(box) for box in boxes]
        if any(number.value != numbers[0].value for number in numbers):
            raise ValueError(
                f"the solution has several answers in boxes ({', '.join(map(_quoted, boxes[:3]))}); {_ADVICE}"
            )
        return str(numbers[-1])
    line = last_line(solution)
    try:
        return str(_only_number(_right_side(line).strip()))
    except ValueError as error:
        raise ValueError(
            f"the last line of the solution is no answer: {error}. Write the answer after #### on a line of its own"
        ) from None


def last_line(text: str) -> str:
    """The last line of a text that is not blank, trimmed; "" if there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _right_side(line: str) -> str:
    """The text after an equation's last equals sign; the whole line if it is no equation, or several."""
    first, *others = re.split("[=\u2248]", line)
    return line if any(_LIST.search(part) for part in others[:-1]) else [first, *others][-1]


def _boxes(solution: str) -> list[str]:
    r"""The content of each `\boxed{}`; boxes within boxes are left out."""
    contents = []
    for box in boxes_of(solution):
        if box.stop is None:
            raise ValueError(f"the box {_quoted(solution[box.opening :])} is not closed; {_ADVICE}")
        contents.append(solution[box.start : box.stop])
    return contents


def _quoted(text: str) -> str:
    return repr(shortened(text))
