"""Numbers in text: the final answer of a worked solution, and whether two answers are the same. Pure.

What counts as a number:

- a run of digits with its decimal part and its thousands separators: `1,234,567.5`, `.5`. A comma groups
  exactly three digits all along the run, so `12,15` and `89,100,92` are lists;
- currency signs and `%` are passed over: `$18`, `18%` and `18` are the same, `50%` and `0.5` are not;
- a minus (`-`, U+2212 or the en dash) that touches the number belongs to it unless an operand or a word
  stands before it on the line: `-5`, `-$5`, `$-5` and `x = -5` are negative, `10-5`, `10 -5` and `10 - 5`
  are 10 and 5;
- a fraction is two numbers, since `16/2 = 8` is what worked solutions write, and a tutor who asks for
  `16/2` has not said 8; final answers that are fractions are refused, not misread;
- ordinals (`2nd`) are none: they name a step or a grade, not an amount. Nor are words (`twelve`).
"""

import re
from decimal import Decimal

_MINUS = "-\u2212\u2013"
_NUMBER = re.compile(
    rf"""
    (?P<sign> [$£€] [{_MINUS}] | [{_MINUS}]? [$£€]? )
    (?P<digits>
        \d{{1,3}} (?:,\d{{3}})+ (?!,?\d) (?:\.\d+)?     # 1,234,567.5
      | \d+ (?:\.\d+)?                                  # 1234567.5
      | (?<![\w)\]]) \.\d+                              # .5, but not the full stop in "friends.3"
    )
    """,
    re.ASCII | re.VERBOSE,
)
_DIGIT = re.compile(r"\d", re.ASCII)
_ORDINAL_ENDING = re.compile(r"(?:st|nd|rd|th)\b", re.IGNORECASE)
_MARKED_ANSWER = re.compile(r"^[ \t]*####(?P<answer>.*)$", re.MULTILINE)
_FRACTION_END = re.compile(r"\d\s*/\s*\d[\d.,]*\D*$", re.ASCII)


def find_numbers(text: str) -> list[tuple[Decimal, int, int]]:
    """Every number of a text with the span `[start, stop)` of its characters, in order.

    The span holds a minus that belongs to the number, and no currency or percent sign outside of it.
    """
    if _DIGIT.search(text) is None:  # most turns hold none, and this is the quicker look
        return []
    found = []
    for match in _NUMBER.finditer(text):
        if _ORDINAL_ENDING.match(text, match.end()):
            continue
        value, start = Decimal(match["digits"].replace(",", "")), match.start("digits")
        if any(minus in match["sign"] for minus in _MINUS) and not _ends_operand(text[: match.start()]):
            value, start = -value, match.start()
        found.append((value, start, match.end()))
    return found


def _ends_operand(before: str) -> bool:
    """Whether a minus behind this text would be a subtraction, a hyphen or half a dash, not a sign."""
    line = before.rpartition("\n")[2]
    if not line:
        return False
    touching, last = line[-1], line.rstrip()[-1:]
    return touching.isalnum() or touching in _MINUS or last.isdigit() or last in {")", "]", "%"}


def parse_numbers(text: str) -> list[Decimal]:
    """The numbers of a text, in order.

    >>> parse_numbers("She pays $1,250.50 for 3, so -5 - 2.")
    [Decimal('1250.50'), Decimal('3'), Decimal('-5'), Decimal('2')]
    """
    return [value for value, _, _ in find_numbers(text)]


def last_number(text: str) -> Decimal | None:
    """The last number of a text; None where it holds none."""
    numbers = parse_numbers(text)
    return numbers[-1] if numbers else None


def same_answer(first: str, second: str) -> bool:
    """Whether the last numbers of two answers are equal: `18`, `18.00`, `$18` and `18 eggs` are the same.

    An answer without a number is not the same as any.
    """
    one, other = last_number(first), last_number(second)
    return one is not None and one == other


def answer_spans(text: str, answer: str) -> list[tuple[int, int]]:
    """Where in a text the answer's number stands: character spans `[start, stop)`."""
    wanted = last_number(answer)
    return [(start, stop) for value, start, stop in find_numbers(text) if value == wanted]


def contains_answer(text: str, answer: str) -> bool:
    """Whether any number of a text equals the answer."""
    return bool(answer_spans(text, answer))


def check_answer(answer: str) -> None:
    """Refuses an answer that a student's last number cannot be compared with.

    Raises:
        ValueError: the answer does not hold exactly one number; a fraction holds two.
    """
    count = len(parse_numbers(answer))
    if count != 1:
        advice = "; give a fraction or a ratio as a decimal number" if count else ""
        raise ValueError(f"an answer must hold exactly one number, {answer!r} holds {count}{advice}")


def final_answer(solution: str) -> str:
    r"""The final answer of a worked solution, as a plain number.

    It is the number behind the last `####`, or else the last number of the last line that is not blank.

    Raises:
        ValueError: no number stands there, or a fraction, or more than one behind `####`.

    >>> final_answer("9 * 2 = 18\n#### 1,800"), final_answer("so 15 - 5 = 10.\n 10 ")
    ('1800', '10')
    """
    marked = list(_MARKED_ANSWER.finditer(solution))
    if marked:
        place = marked[-1]["answer"].strip()
        check_answer(place)
    else:
        place = next((line.strip() for line in reversed(solution.splitlines()) if line.strip()), "")
    number = last_number(place)
    if number is None:
        raise ValueError(f"the last line of the solution holds no number: {place!r}")
    if _FRACTION_END.search(place):
        raise ValueError(f"the solution ends in a fraction: {place!r}; end it with its value as a number")
    return format(number, "f")
