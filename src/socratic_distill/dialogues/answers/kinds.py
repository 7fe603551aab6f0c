"""The rule of each kind of answer."""

from collections.abc import Mapping
from typing import Protocol

from socratic_distill.dialogues.answers.choices import ChoiceRule
from socratic_distill.dialogues.answers.expressions import ExpressionRule
from socratic_distill.dialogues.answers.number_rule import NumberRule
from socratic_distill.dialogues.answers.wordings import TextRule
from socratic_distill.dialogues.seed import BY_VERDICT, AnswerKind, Seed


class AnswerRule(Protocol):
    """How a text is compared with an answer of one kind. Callers pass only seeds of that kind."""

    def matches(self, reply: str, seed: Seed) -> bool:
        """Whether the answer that a reply gives is the seed's. Intermediate results do not count."""
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


class NoAnswer:
    """The rule of seeds without an answer: no text gives or reveals it."""

    def matches(self, reply: str, seed: Seed) -> bool:
        """False."""
        return False

    def reveals(self, turn: str, seed: Seed) -> bool:
        """False."""
        return False

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """No spans."""
        return []

    def check(self, seed: Seed) -> None:
        """Accepts every seed."""


RULES: Mapping[AnswerKind, AnswerRule] = {
    "number": NumberRule(),
    "expression": ExpressionRule(),
    "choice": ChoiceRule(),
    "text": TextRule(),
    "none": NoAnswer(),
}


def rule_of(seed: Seed) -> AnswerRule:
    """The rule of a seed's kind, which must not be one that needs a verdict."""
    assert seed.answer_kind not in BY_VERDICT, f"{seed.answer_kind} needs a verdict on each turn"
    return RULES[seed.answer_kind]


def solves(text: str, seed: Seed) -> bool:
    """Whether a student's turn gives the answer, without a question mark after it.

    >>> seed = Seed("s", "?", "12")
    >>> solves("So it is 5 + 7 = 12.", seed), solves("Is it 12?", seed), solves("12? No, 13.", seed)
    (True, False, False)
    """
    rule = rule_of(seed)
    if not rule.matches(text, seed):
        return False
    spans = rule.spans(text, seed)
    return "?" not in text[spans[-1][1] if spans else 0 :]
