"""Sums over the steps of a run, from their rows of metrics.jsonl. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Step:
    """What is drawn of one step.

    Attributes:
        number: the batch.
        teacher_kl: nats a token; None where nothing was scored.
        tells: share of first replies with the answer in them; None for no reply.
    """

    number: int
    teacher_kl: float | None
    tells: float | None


@dataclass(frozen=True)
class Tally:
    """The steps so far.

    Attributes:
        steps: in order, each once: a step that ran again after a loss stands with its last figures.
        last: the newest row.
        counted: rows that the sums are over; what ran twice was also spent twice.
        sampled: tokens that tutor and student sampled.
        read: prompt tokens of all roles.
        trained: tokens that were trained on.
        usd: estimated cost; None where it is not known of every step.
    """

    steps: tuple[Step, ...] = ()
    last: Mapping[str, Any] | None = None
    counted: int = 0
    sampled: int = 0
    read: int = 0
    trained: int = 0
    usd: float | None = 0.0

    def after(self, row: Mapping[str, Any]) -> Self:
        """The tally with one more step."""
        number = row.get("step", len(self.steps))
        step = Step(number, row.get("teacher_kl"), row.get("first_reply/tells"))
        usd = row.get("cost/usd")
        return type(self)(
            steps=(*self._before(number), step),
            last=row,
            counted=self.counted + 1,
            sampled=self.sampled + _count(row, "tokens/tutor", "tokens/student"),
            read=self.read + _count(row, *(f"prompt_tokens/{role}" for role in ("tutor", "student", "teacher"))),
            trained=self.trained + _count(row, "tokens/trained"),
            usd=None if usd is None or self.usd is None else self.usd + usd,
        )

    def _before(self, number: int) -> tuple[Step, ...]:
        if not self.steps or self.steps[-1].number < number:
            return self.steps
        return tuple(step for step in self.steps if step.number < number)


def _count(row: Mapping[str, Any], *keys: str) -> int:
    return sum(row.get(key) or 0 for key in keys)
