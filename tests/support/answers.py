"""Seeds by the kind of their answer, for tables of replies."""

from socratic_distill import Seed


def number(answer: str) -> Seed:
    """A number whose unit does not count."""
    return Seed("s", "?", answer)


def amount(answer: str) -> Seed:
    """A number with its unit."""
    return Seed("s", "?", answer, compares_units=True)


def expression(answer: str) -> Seed:
    """A formula."""
    return Seed("s", "?", answer, answer_kind="expression")


def text(answer: str) -> Seed:
    """Words; other wordings stand after " | "."""
    first, *others = answer.split(" | ")
    return Seed("s", "?", first, answer_kind="text", accepted_answers=tuple(others))
