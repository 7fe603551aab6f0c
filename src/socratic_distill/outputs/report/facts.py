"""What a row of dialogues.jsonl says of its dialogue: outcomes, and sums for the curves. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from socratic_distill.dialogues.answers.numbers import as_decimal
from socratic_distill.dialogues.dialogue_html import gaps
from socratic_distill.dialogues.stored import is_solved, says_answer
from socratic_distill.evaluation.definitions import ROUNDS
from socratic_distill.evaluation.mathdial import GREETING, Matches

SUCCESS = tuple(f"mathdial/success@{k}" for k in ROUNDS)
TELLING = tuple(f"mathdial/telling@{k}" for k in ROUNDS)
FIGURES = (
    *SUCCESS, *TELLING, "solved", "solved/untold", "teacher_kl", "asks", "first_reply/asks", "first_reply/tells",
    "reply_tokens", "leaks",
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """A dialogue in short.

    Attributes:
        solved: whether the student reached the answer by our rule.
        told: whether a tutor turn held the answer.
        played: whether the tutor played it to its end: neither recorded nor failed.
        totals: numerator of each of `FIGURES`, in their order.
        counts: denominators: how many dialogues, turns or tokens each is a mean over.
    """

    solved: bool
    told: bool
    played: bool
    totals: tuple[float, ...]
    counts: tuple[float, ...]


def facts_of(row: Mapping[str, Any]) -> Facts:
    """The facts of a row.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, ArithmeticError: it is no dialogue.
    """
    answer, ending, kind = str(row["expected_answer"]), row["ending"], row.get("answer_kind", "number")
    talk = [(_role(turn), str(turn["text"])) for turn in row["turns"]]
    tutor = [turn for turn in row["turns"] if turn["role"] == "tutor"]
    replies = [turn["text"] for turn in tutor]
    tells = [says_answer(turn, row) for turn in tutor]
    asks = ["?" in text for text in replies]
    solved, told = is_solved(row), any(tells)
    gap, scored = _gap(tutor)
    said = Matches.of([GREETING, *talk], as_decimal(answer))
    is_number, is_checkable = kind == "number", float(kind != "none")
    figures: list[tuple[float, float]] = [
        *((float(said.success_at(k)), float(is_number)) for k in ROUNDS),
        *((float(said.telling_at(k)), float(is_number)) for k in ROUNDS),
        (float(solved), is_checkable),
        (float(solved and not told), is_checkable),
        (gap, scored),
        (sum(asks), len(asks)),
        (float(any(asks[:1])), len(asks[:1])),
        (float(any(tells[:1])), len(tells[:1]) * is_checkable),
        (sum(len(turn["tokens"]) for turn in tutor), len(tutor)),
        (float(_leaks(row)), bool(tutor) * is_checkable),
    ]
    totals, counts = zip(*figures, strict=True)
    return Facts(solved, told, row.get("recording") is None and ending != "failed", totals, counts)


def _gap(turns: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Sum of log p_tutor - log p_teacher over the scored tokens, nats, and their count."""
    finite = [gap for turn in turns for gap in gaps(turn) if gap is not None and abs(gap) < float("inf")]
    return -sum(finite), len(finite)


def _leaks(row: Mapping[str, Any]) -> bool:
    """Whether the tutor says the answer before the student does."""
    return next((turn["role"] for turn in row["turns"] if says_answer(turn, row)), None) == "tutor"


def _role(turn: Mapping[str, Any]) -> str:
    if turn["role"] not in ("student", "tutor"):
        raise ValueError(f"a turn of role {turn['role']!r}")
    return turn["role"]
