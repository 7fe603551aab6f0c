"""MathDial's measures of a dialogue: Success@k and Telling@k. Pure.

Macina et al., "MathDial: A Dialogue Tutoring Dataset with Rich Pedagogical Properties Grounded in Math Reasoning
Problems", Findings of EMNLP 2023, as `interactivetutoring/evaluate.py` of the dataset computes them:

- An utterance matches the answer if any of its numbers is within 1e-7 of it. A number is a run of ASCII digits, with or
  without decimals, after all commas are removed. Signs are ignored, so `-5` and `10 -5` both match 5. An answer that
  Python's `float` does not read is compared as text with each number.
- Each side's utterances are counted from 0; the index of its first match is infinite if none matches.
- Success@k: the student's index is at most k. Telling@k: the tutor's index is at most k, and at most the student's.

In the dataset, the tutor's utterance 0 is a greeting and the student's utterance 0 its wrong solution. So index k comes
after k rounds of tutoring, and a tutor that only confirms an answer comes one index after it.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from socratic_distill.dialogues.dialogue import Dialogue, Role
from socratic_distill.errors import ConfigError

Turns = Sequence[tuple[str, str]]

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_NEAR = 1e-7
_ROLES = get_args(Role)
# MathDial's tutor speaks first; ours does not, so this greeting is put before its dialogues.
GREETING = ("tutor", "")


def success_at_k(turns: Turns, answer: str, k: int) -> bool:
    """Whether the student has said the answer by its utterance k, counted from 0.

    Args:
        turns: `(role, text)` in order, with the roles `tutor` and `student`.
        answer: the expected answer, as a plain number.
        k: rounds of tutoring.

    Raises:
        ConfigError: a role is neither `tutor` nor `student`.

    Examples:
        >>> talk = [("tutor", "Hi!"), ("student", "2 + 3 = 5"), ("tutor", "Why 2?"), ("student", "Oh, 6.")]
        >>> success_at_k(talk, "6", 0), success_at_k(talk, "6", 1)
        (False, True)
    """
    return Matches.of(turns, answer).success_at(k)


def telling_at_k(turns: Turns, answer: str, k: int) -> bool:
    """Whether the tutor has said the answer by its utterance k, and at an index not above that of the student's.

    Args:
        turns: `(role, text)` in order, with the roles `tutor` and `student`.
        answer: the expected answer, as a plain number.
        k: rounds of tutoring.

    Raises:
        ConfigError: a role is neither `tutor` nor `student`.

    Examples:
        >>> talk = [("tutor", "Hi!"), ("student", "5"), ("tutor", "No, 6."), ("student", "6")]
        >>> telling_at_k(talk, "6", 0), telling_at_k(talk, "6", 1)
        (False, True)
    """
    return Matches.of(turns, answer).telling_at(k)


def turns_to_success(turns: Turns, answer: str) -> int | None:
    """Index of the student's first utterance with the answer, counted from 0; None without one.

    It is the smallest k with Success@k. Arguments and errors are those of `success_at_k`.
    """
    return Matches.of(turns, answer).turns_to_success


@dataclass(frozen=True, slots=True)
class Matches:
    """Index of each side's first utterance with the answer, among its own utterances from 0; infinite without one.

    Attributes:
        student: index of the student's first utterance with the answer.
        tutor: index of the tutor's first utterance with the answer.
    """

    student: float
    tutor: float

    @classmethod
    def of(cls, turns: Turns, answer: str) -> "Matches":
        """The matches in a dialogue.

        Raises:
            ConfigError: a role is neither `tutor` nor `student`.
        """
        return cls(_first_match(turns, answer, "student"), _first_match(turns, answer, "tutor"))

    def success_at(self, k: int) -> bool:
        """Success@k."""
        return self.student <= k

    def telling_at(self, k: int) -> bool:
        """Telling@k."""
        return self.tutor <= min(self.student, k)

    @property
    def turns_to_success(self) -> int | None:
        """The student's index; None if it never said the answer."""
        return None if math.isinf(self.student) else int(self.student)


def rounds(dialogue: Dialogue) -> list[tuple[str, str]]:
    """A dialogue's turns as MathDial counts them: after a greeting of the tutor.

    Our student speaks first, unasked, and says its wrong solution. With an empty greeting before it, index k of either
    side comes after k replies of the tutor, as in the dataset. A tutor who speaks first greets itself.
    """
    greeting = [GREETING] if dialogue.first == "student" else []
    return [*greeting, *((turn.role, turn.text) for turn in dialogue.turns)]


def _first_match(turns: Turns, answer: str, role: Role) -> float:
    """Index of the role's first utterance that matches, among those of the role; infinity without one."""
    if wrong := next((speaker for speaker, _ in turns if speaker not in _ROLES), None):
        raise ConfigError(f"a turn has the role {wrong!r}; expected (role, text) with the roles 'tutor' and 'student'")
    texts = (text for speaker, text in turns if speaker == role)
    return next((index for index, text in enumerate(texts) if _matches(text, answer)), math.inf)


def _matches(text: str, answer: str) -> bool:
    numbers, plain = _NUMBER.findall(text.replace(",", "")), answer.replace(",", "")
    try:
        wanted = float(plain)
    except ValueError:
        return plain in numbers
    return any(abs(wanted - float(number)) < _NEAR for number in numbers)
