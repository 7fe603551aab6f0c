"""A recorded dialogue: turns of student and tutor that were not played just now."""

from dataclasses import dataclass
from typing import Literal

from socratic_distill.dialogues.dialogue import Role, StopReason, StoredScores
from socratic_distill.dialogues.seed import Seed

Kind = Literal["mathdial", "run", "messages", "sharegpt", "prompt_completion", "socrateach", "comta"]
"""The formats of recordings."""


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """One turn of a recording. Only tutor turns of a run have more than role and text.

    Attributes:
        role: who speaks.
        text: the text that the other side hears.
        tokens: sampled tokens, `[T]`; else empty.
        logprobs: the tutor's log-probability of each of `tokens`, nats, `[T]`; else empty.
        version: optimizer steps in that run that led to the weights that sampled it; else None.
        stop_reason: "stop" at the end-of-turn token, "length" if it was cut at the token limit; else None.
        by: name of the teacher that spoke in the tutor's place; "" for others.
        scores: the teachers' scores of it; None if its row has none for each token.
    """

    role: Role
    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    version: int | None = None
    stop_reason: StopReason | None = None
    scores: StoredScores | None = None
    by: str = ""


@dataclass(frozen=True)
class Recording:
    """A recorded dialogue.

    Attributes:
        id: unique among all recordings that were loaded together.
        kind: format of its file.
        seed: problem, answer and mistake. An unknown answer is "": then no turn tells it or solves it.
        turns: turns of student and tutor, alternating; at least one is the tutor's. The student's is first, but in
            runs whose tutor begins.
        step: batch of its run in which it was played; None for other kinds.
    """

    id: str
    kind: Kind
    seed: Seed
    turns: tuple[RecordedTurn, ...]
    step: int | None = None

    @property
    def tutor_turns(self) -> tuple[RecordedTurn, ...]:
        """The tutor's turns, in order."""
        return tuple(turn for turn in self.turns if turn.role == "tutor")
