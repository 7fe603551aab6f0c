"""The rule of each kind of answer."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from socratic_distill.dialogues.answers.numbers import answer_spans, check_answer, same_answer
from socratic_distill.dialogues.seed import BY_VERDICT, AnswerKind, Seed

_ALGEBRA = re.compile(r"[\\$^=]")


class AnswerRule(Protocol):
    """How a text is compared with an answer of one kind. A seed of another kind is never given to it."""

    def matches(self, reply: str, seed: Seed) -> bool:
        """Whether the answer that a reply ends with is the seed's. Intermediate results do not count."""
        ...

    def reveals(self, turn: str, seed: Seed) -> bool:
        """Whether a text says the answer anywhere."""
        ...

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """Where a text says the answer: character spans `[start, stop)`, in order, not overlapping."""
        ...

    def check(self, seed: Seed) -> None:
        """Returns if a seed's answer can be compared.

        Raises:
            ValueError: it cannot; the message says what to write instead.
        """
        ...


class NumberRule:
    """The last number of a reply; any number of a turn."""

    def matches(self, reply: str, seed: Seed) -> bool:
        """Whether the reply's last number equals the answer."""
        return same_answer(reply, seed.expected_answer)

    def reveals(self, turn: str, seed: Seed) -> bool:
        """Whether any number equals the answer."""
        return bool(self.spans(turn, seed))

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """The numbers that equal the answer."""
        return answer_spans(text, seed.expected_answer)

    def check(self, seed: Seed) -> None:
        """Returns if the answer is one number; raises `ValueError` if not."""
        check_answer(seed.expected_answer)


class NoAnswer:
    """Nothing gives or reveals an answer that is not there."""

    def matches(self, reply: str, seed: Seed) -> bool:
        """False."""
        return False

    def reveals(self, turn: str, seed: Seed) -> bool:
        """False."""
        return False

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """None at all."""
        return []

    def check(self, seed: Seed) -> None:
        """Returns."""


RULES: Mapping[AnswerKind, AnswerRule] = {"number": NumberRule(), "none": NoAnswer()}


def rule_of(seed: Seed) -> AnswerRule:
    """The rule of a seed's kind; kinds that need a verdict have none."""
    assert seed.answer_kind not in BY_VERDICT, f"{seed.answer_kind} needs a verdict on each turn"
    return RULES[seed.answer_kind]


def solves(text: str, seed: Seed) -> bool:
    """Whether a student's turn gives the answer: the text ends with it, and no question mark comes after it.

    >>> seed = Seed("s", "?", "12")
    >>> solves("So it is 5 + 7 = 12.", seed), solves("Is it 12?", seed), solves("12? No, 13.", seed)
    (True, False, False)
    """
    rule = rule_of(seed)
    if not rule.matches(text, seed):
        return False
    spans = rule.spans(text, seed)
    return "?" not in text[spans[-1][1] if spans else 0 :]


def detect(answer: str, choices: Sequence[str] = (), accepted: Sequence[str] = ()) -> AnswerKind | None:
    """The kind of an answer that states none, where it can be seen; None where it must be stated.

    Args:
        answer: the answer.
        choices: its options, if it is one of several.
        accepted: other wordings of it.
    """
    if choices:
        return "choice"
    if accepted:
        return "text"
    try:
        check_answer(answer)
    except ValueError:
        return "expression" if _ALGEBRA.search(answer) else None
    return "number"
