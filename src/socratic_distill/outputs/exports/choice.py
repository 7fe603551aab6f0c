"""Which dialogues of a run are exported. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from socratic_distill.dialogues.stored import is_solved, says_answer


@dataclass(frozen=True)
class Choice:
    """Which dialogues are wanted; all of them, unless it says otherwise.

    Attributes:
        solved: only those in which the student reached the answer, told or not.
        not_told: only those in which no tutor turn holds the answer.
        first: first step.
        stop: step before which to stop. None: none.
    """

    solved: bool = False
    not_told: bool = False
    first: int = 0
    stop: int | None = None

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of dialogues.jsonl is wanted.

        Args:
            row: the row.
        """
        return (
            self.first <= row["step"]
            and (self.stop is None or row["step"] < self.stop)
            and not (self.solved and not is_solved(row))
            and not (self.not_told and is_told(row))
        )


def is_told(row: Mapping[str, Any]) -> bool:
    """Whether a tutor turn of a dialogue holds the answer: `Dialogue.told`."""
    return any(says_answer(turn, row) for turn in row["turns"] if turn["role"] == "tutor")
