"""The rule of answers that are numbers."""

from collections.abc import Sequence
from functools import lru_cache

from socratic_distill.dialogues.answers.amounts import amounts_of
from socratic_distill.dialogues.answers.boxes import boxes_of
from socratic_distill.dialogues.answers.calculations import is_open, operands
from socratic_distill.dialogues.answers.claims import Claims
from socratic_distill.dialogues.answers.digits import plain_digits
from socratic_distill.dialogues.answers.locales import other_readings
from socratic_distill.dialogues.answers.number_words import find_word_numbers
from socratic_distill.dialogues.answers.numbers import Number, check_answer, find_numbers, last_number
from socratic_distill.dialogues.answers.units import Unit, joined_amounts, same_quantity, units_of
from socratic_distill.dialogues.seed import Seed

_LONGEST_BOX = 300  # characters


class NumberRule:
    r"""The number that a reply claims, or the last one of its `\boxed{}`; any number of a turn.

    A reply claims its last number, as `claims` and `calculations` limit it. A number that is the end of a range, a
    bound, or one of two that are joined by "or" gives no answer, but it says the number.

    Units are ignored, or compared as amounts if the seed compares units: then `5 km` is `5000 m`, and neither `5` nor
    `5 m`; and `1 h 30 min` is one amount. Numbers are read by the rules of `numbers`, `amounts` and
    `number_words`, and where these break a number of another country into several, by those of `locales`.
    """

    def matches(self, reply: str, seed: Seed) -> bool:
        """Whether the number that the reply claims equals the answer."""
        reply = plain_digits(reply)
        plain = find_numbers(reply)
        amounts = _amounts(reply, plain, seed)
        if not amounts:
            return False
        last = _in_last_box(reply, amounts)
        if last is None:
            last = _claimed(reply, amounts)
        if last is None:
            return False
        others = [number for number in other_readings(reply, plain) if number.stop == amounts[last].stop]
        claims = Claims(reply, [(number.start, number.stop) for number in others])
        readings = [number for number in others if not claims.denies(number.start, number.stop)]
        readings += _in_other_units(reply, amounts, last)
        return any(self._equals(reply, number, seed) for number in (amounts[last], *readings))

    def reveals(self, turn: str, seed: Seed) -> bool:
        """Whether any number equals the answer."""
        return bool(self.spans(turn, seed))

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """The numbers that equal the answer, without their units."""
        text = plain_digits(text)
        plain = find_numbers(text)
        numbers = [*_amounts(text, plain, seed), *other_readings(text, plain)]
        return _without_overlaps(
            [(number.start, number.stop) for number in numbers if self._equals(text, number, seed)]
        )

    def check(self, seed: Seed) -> None:
        """Returns if the answer is one number, with a unit if units are compared; raises `ValueError` if not."""
        check_answer(seed.expected_answer)
        wanted = _wanted(seed.expected_answer)
        if seed.compares_units and wanted is not None and not wanted[1]:
            raise ValueError(
                f"units are compared, and the answer {seed.expected_answer!r} has none; write it with its unit, such "
                "as '5 km', or leave compares_units out"
            )

    def _equals(self, text: str, number: Number, seed: Seed) -> bool:
        wanted = _wanted(seed.expected_answer)
        if wanted is None:
            return False
        answer, units = wanted
        if not seed.compares_units:
            return number.equals(answer)
        return same_quantity(number, units_of(text, number), answer, units)


@lru_cache(maxsize=1024)
def _wanted(answer: str) -> tuple[Number, frozenset[Unit]] | None:
    """The number of an answer, and the meanings of its unit."""
    answer = plain_digits(answer)
    number = last_number(answer)
    return None if number is None else (number, units_of(answer, number))


def _amounts(text: str, plain: Sequence[Number], seed: Seed) -> list[Number]:
    amounts = amounts_of(text, plain)
    if words := find_word_numbers(text):
        amounts = sorted([*amounts, *words], key=lambda number: number.start)
    return joined_amounts(text, amounts) if seed.compares_units else amounts


def _in_last_box(reply: str, amounts: Sequence[Number]) -> int | None:
    r"""Position of the last number in the reply's last `\boxed{}`; None if there is no box, or no number in it."""
    span = (0, 0)
    for box in boxes_of(reply, longest=_LONGEST_BOX):
        span = (box.start, box.stop) if box.stop is not None else span
    inside = [index for index, number in enumerate(amounts) if span[0] <= number.start < span[1]]
    return inside[-1] if inside else None


def _claimed(reply: str, amounts: Sequence[Number]) -> int | None:
    """Position of the number that a reply gives as its answer; None if it gives none."""
    claims = Claims(reply, [(number.start, number.stop) for number in amounts])
    last = claims.final(operands(reply, amounts))
    if last is None or is_open(reply, amounts, last):
        return None
    taken_back = any(
        number.equals(amounts[last]) and claims.denies(number.start, number.stop) for number in amounts[last + 1 :]
    )
    return None if taken_back else last


def _in_other_units(reply: str, amounts: Sequence[Number], last: int) -> list[Number]:
    """The amounts before the claimed one that say the same in another unit: `120 minutes, which is 2 hours`."""
    claimed = amounts[last]
    units = units_of(reply, claimed)
    return [
        number
        for number in amounts[max(0, last - 3) : last]
        if number.value != claimed.value and same_quantity(number, units_of(reply, number), claimed, units)
    ]


def _without_overlaps(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order; of two that overlap, the one that begins first, or else the longer one."""
    kept: list[tuple[int, int]] = []
    for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, stop))
    return kept
