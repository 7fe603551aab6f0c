"""What a display gets to know about a run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Moment:
    """A run as it stands.

    Attributes:
        batch: the batch that is next to be done, from 0; as many are done.
        total: batches in the run.
        dialogues_done: dialogues of that batch that were played and scored.
        dialogues: dialogues of that batch.
        in_flight: dialogues under way, of all batches.
        stage: what the run is at, in a word or two, such as "playing".
        checkpoint: the newest training state, in a few words; None where there is none.
        evaluation: what the last evaluation found, in a line; None where there was none.
    """

    batch: int
    total: int
    dialogues_done: int = 0
    dialogues: int = 0
    in_flight: int = 0
    stage: str = ""
    checkpoint: str | None = None
    evaluation: str | None = None


Look = Callable[[], Moment]


class Display(Protocol):
    """What the trainer tells. It says what happened; how far things are, a display looks up when it draws."""

    def say(self, text: str) -> None:
        """One line for the reader."""
        ...

    def watch(self, look: Look, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Batches begin.

        Args:
            look: gives the run as it stands. It is called from another thread, a few times a second, until the next
                `watch` or `close`; what it raises is passed over.
            history: metrics of the steps that were done before this process, in order. Only those of the first
                call count.
        """
        ...

    def step(self, done: int, total: int, metrics: Mapping[str, Any]) -> None:
        """A step ended: `done` of `total` batches, with the step's row of `metrics.jsonl`."""
        ...

    def close(self) -> None:
        """The run ended or failed; the terminal is given back."""
        ...
