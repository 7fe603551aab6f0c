"""A dialogue of a run as its files hold it: a row of `dialogues.jsonl` or of an evaluation, to read and to show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from socratic_distill.dialogues.answers.kinds import rule_of
from socratic_distill.dialogues.dialogue import SOLVED
from socratic_distill.dialogues.dialogue_html import dialogue_html, outcome
from socratic_distill.dialogues.seed import Seed
from socratic_distill.text import shown


@dataclass(frozen=True, repr=False)
class StoredDialogue:
    """A dialogue of a run. `print` shows its turns; a notebook also shows what the teacher thinks of each token.

    Attributes:
        row: the row, with the keys that `dialogues.jsonl` has.
        prompts: the system prompts of tutor, student and teachers; those that cannot be read are left out.
    """

    row: Mapping[str, Any]
    prompts: Mapping[str, str] = field(default_factory=dict)

    @property
    def turns(self) -> list[Mapping[str, Any]]:
        """The turns in order, each with `role` ("student" or "tutor") and `text`; the tutor's also with tokens."""
        turns = self.row.get("turns")
        return [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []

    @property
    def ending(self) -> str:
        """Why it ended, such as "solved" or "max_turns"."""
        return str(self.row.get("ending"))

    @property
    def solved(self) -> bool:
        """Whether the student reached the answer, told or not."""
        return is_solved(self.row)

    @property
    def told(self) -> bool:
        """Whether a tutor turn held the answer."""
        return any(says_answer(turn, self.row) for turn in self.turns if turn.get("role") == "tutor")

    def __repr__(self) -> str:
        """Its place and how it ended, in one line."""
        place = ", ".join(f"{key}={self.row.get(key)!r}" for key in ("seed", "step", "number"))
        return shown(f"StoredDialogue({place}, turns={len(self.turns)}, ending={self.ending!r})", one_line=True)

    def __str__(self) -> str:
        """The turns as text, one a paragraph."""
        return shown("\n".join(f"{turn.get('role')!s:>7}: {turn.get('text')}" for turn in self.turns))

    def _repr_html_(self) -> str:
        """The dialogue to read, for notebooks."""
        marks = outcome(self.solved, self.told, self.ending)
        if self.row.get("reward") is not None:
            marks.append(f"reward {self.row['reward']}")
        return dialogue_html(self.row, marks, self.prompts)


def is_solved(row: Mapping[str, Any]) -> bool:
    """Whether the student of a row reached the answer, told or not."""
    return row.get("ending") in SOLVED or row.get("solved") is True


def says_answer(turn: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a turn of a row says the answer: a number is found in its text, of other answers the row tells.

    Args:
        turn: one of the row's turns.
        row: a row of `dialogues.jsonl`.
    """
    if row.get("answer_kind", "number") != "number":
        return turn.get("gives_answer") is True
    seed = Seed(id="", question="", expected_answer=str(row.get("expected_answer")))
    return rule_of(seed).reveals(str(turn.get("text")), seed)
