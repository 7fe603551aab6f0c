"""The rule of each kind of answer."""

from collections.abc import Mapping
from typing import Protocol

from socratic_distill.dialogues.answers.choices import ChoiceRule
from socratic_distill.dialogues.answers.expressions import ExpressionRule
from socratic_distill.dialogues.answers.number_rule import NumberRule
from socratic_distill.dialogues.answers.wordings import TextRule
from socratic_distill.dialogues.seed import BY_VERDICT, AnswerKind, Seed


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


RULES: Mapping[AnswerKind, AnswerRule] = {
    "number": NumberRule(),
    "expression": ExpressionRule(),
    "choice": ChoiceRule(),
    "text": TextRule(),
    "none": NoAnswer(),
}


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
