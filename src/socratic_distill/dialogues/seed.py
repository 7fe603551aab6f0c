"""A seed: the problem that a dialogue starts from, and what counts as its answer."""

from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import get_args

from socratic_distill.config.values import AnswerKind
from socratic_distill.errors import ConfigError

ANSWER_KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
# Kinds whose verdict on a turn cannot be read off its text: a model or a function of the user gives it once.
BY_VERDICT: tuple[AnswerKind, ...] = ("judged", "function")


@dataclass(frozen=True, slots=True)
class Seed:
    """A problem that dialogues start from.

    Attributes:
        id: unique among a run's seeds.
        question: the problem.
        expected_answer: its answer, in the form of its kind; "" if there is none to compare with.
        initial_error: the student's wrong solution; None lets the student make an attempt of its own.
        student_profile: who the student is; None uses the config's profile.
        fields: private facts for the teachers' prompts, as (name, value), sorted by name.
        tags: tags by which its teacher may be chosen.
        source: the seeds file, as it was given; None for a built-in seed. Seeds that differ only in it are equal.
        answer_kind: how a turn is compared with the answer; "none": never.
        choices: the options of a "choice", in the order of their letters A, B, C, …
        accepted_answers: other wordings of a "text" that count as well.
        rubric: what a judge of a "judged" answer goes by, in addition to expected_answer.
        compares_units: whether a "number" must have the answer's unit.
    """

    id: str
    question: str
    expected_answer: str
    initial_error: str | None = None
    student_profile: str | None = None
    fields: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    source: str | None = field(default=None, compare=False)
    answer_kind: AnswerKind = "number"
    choices: tuple[str, ...] = ()
    accepted_answers: tuple[str, ...] = ()
    rubric: str | None = None
    compares_units: bool = False

    @property
    def problem(self) -> str:
        """The problem as everyone sees it: the question, and a choice's options with their letters."""
        options = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, self.choices, strict=False)]
        return "\n".join([self.question, *options])

    @property
    def is_checkable(self) -> bool:
        """Whether it can be known that a dialogue on it was solved."""
        return self.answer_kind != "none"


def asked_seed(question: str) -> Seed:
    """A problem that a person gives to talk about it; its answer is not known.

    Raises:
        ConfigError: the question holds no text.
    """
    if not question.strip():
        raise ConfigError(f"question is {question!r}; expected the text of a problem, or leave it out")
    return Seed(id="chat", question=question, expected_answer="", answer_kind="none")
