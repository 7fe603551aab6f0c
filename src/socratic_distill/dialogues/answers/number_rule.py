"""The rule of answers that are numbers."""

from functools import lru_cache

from socratic_distill.dialogues.answers.locales import other_readings
from socratic_distill.dialogues.answers.numbers import (
    Number,
    answer_spans,
    check_answer,
    find_numbers,
    last_number,
    same_answer,
)
from socratic_distill.dialogues.answers.units import Unit, same_quantity, units_of
from socratic_distill.dialogues.seed import Seed


class NumberRule:
    """The last number of a reply; any number of a turn.

    Units are ignored, or compared as amounts if the seed compares units: then `5 km` is `5000 m`, and neither `5` nor
    `5 m`. Numbers are read by the rules of `numbers`, and where these break a number of another country into several,
    by those of `locales`.
    """

    def matches(self, reply: str, seed: Seed) -> bool:
        """Whether the reply's last number equals the answer."""
        answer = seed.expected_answer
        if not seed.compares_units and same_answer(reply, answer):
            return True
        numbers = find_numbers(reply)
        if not numbers:
            return False
        others = [number for number in other_readings(reply, numbers) if number.stop == numbers[-1].stop]
        return any(self._equals(reply, number, seed) for number in (numbers[-1], *others))

    def reveals(self, turn: str, seed: Seed) -> bool:
        """Whether any number equals the answer."""
        return bool(self.spans(turn, seed))

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """The numbers that equal the answer, without their units."""
        numbers = find_numbers(text)
        if not numbers:
            return []
        if seed.compares_units:
            spans = [(number.start, number.stop) for number in numbers if self._equals(text, number, seed)]
        else:
            spans = answer_spans(text, seed.expected_answer)
        others = [one for one in other_readings(text, numbers) if self._equals(text, one, seed)]
        return _without_overlaps([*spans, *((one.start, one.stop) for one in others)])

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
    number = last_number(answer)
    return None if number is None else (number, units_of(answer, number))


def _without_overlaps(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order; of two that overlap, the one that begins first, or else the longer one."""
    kept: list[tuple[int, int]] = []
    for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, stop))
    return kept
