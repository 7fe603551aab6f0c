"""Numbers in text: the final answer of a worked solution, and whether two answers are the same. Pure.

A number is a run of digits with the thousands separators (`1,234,567`) and the decimal part that are
written with it. `$` and `%` are passed over. A minus belongs to the number where no operand stands before
it: `-5`, `-$5` and `x = -5` are negative, `10-5` and `10 - 5` are 10 and 5. A fraction `3/4` is two numbers,
since `16/2=8` is what worked solutions write.
"""

import re
from decimal import Decimal

# A comma groups exactly three digits, so that "12,15" stays two numbers.
_NUMBER = re.compile(r"(?P<sign>[-\u2212]?\$?[-\u2212]?)(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)", re.ASCII)
_MINUS = "-\u2212"
_MARKED_ANSWER = re.compile(r"^####(?P<answer>.*)$", re.MULTILINE)


def find_numbers(text: str) -> list[tuple[Decimal, int, int]]:
    """Every number of a text with the span `[start, stop)` of its characters, in order."""
    found = []
    for match in _NUMBER.finditer(text):
        value, start = Decimal(match["digits"].replace(",", "")), match.start("digits")
        if any(minus in match["sign"] for minus in _MINUS) and not _is_operand(text[: match.start()]):
            value, start = -value, match.start()
        found.append((value, start, match.end()))
    return found


def _is_operand(before: str) -> bool:
    """Whether a minus behind this text would be a subtraction, or a hyphen, rather than a sign."""
    last = before.rstrip()[-1:]
    return bool(last) and (last.isdigit() or last in ")]%" or before[-1:].isalnum())


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


def final_answer(solution: str) -> str:
    """The final answer of a worked solution, as a plain number.

    It is the number behind the last `####`, or else the last number of the last line that is not blank.

    Raises:
        ValueError: there is no number where the answer should stand.

    >>> final_answer("9 * 2 = 18\\n#### 1,800"), final_answer("so 15 - 5 = 10.\\n 10 ")
    ('1800', '10')
    """
    marked = list(_MARKED_ANSWER.finditer(solution))
    lines = [line for line in solution.splitlines() if line.strip()]
    place = marked[-1]["answer"] if marked else (lines[-1] if lines else "")
    number = last_number(place)
    if number is None:
        where = "behind ####" if marked else "on the last line"
        raise ValueError(f"no number {where}: {place.strip()!r}")
    return format(number, "f")
