"""Where the steps of a session stand."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from socratic_distill.dialogues.cast import Cast
from socratic_distill.outputs.display import Moment
from socratic_distill.outputs.progress import Progress
from socratic_distill.training.saver import Saver
from socratic_distill.training.stream import Stream


@dataclass
class StepState:
    """Where the run stands.

    Attributes:
        batch: the next batch whose rows are not on disk.
        taken: the next batch whose optimizer step has not begun; the weights are ahead of the rows by `taken - batch`.
        rows_written: set while the weights and the rows on disk fit each other.
        ending: the end of the newest step that was taken; None before the first.
        cast: everyone in the dialogues that begin now; None before the first weights are saved.
        sampler_path: the saved weights of that cast's tutor.
        has_newest: whether the newest weights were saved to play with.
    """

    batch: int
    taken: int
    rows_written: asyncio.Event = field(default_factory=asyncio.Event)
    ending: "asyncio.Task[dict[str, Any]] | None" = None
    cast: Cast | None = None
    sampler_path: str = ""
    has_newest: bool = True

    def look(self, total: int, stream: Stream, saver: Saver, progress: Progress) -> Moment:
        """The run's present state, for the thread of the display: nothing here waits or changes anything.

        Args:
            total: batches in the run.
            stream: its dialogues.
            saver: its saves.
            progress: knows the last evaluation.
        """
        newest = saver.newest
        done, dialogues = stream.progress(self.batch)
        return Moment(
            self.batch,
            total,
            done,
            dialogues,
            stream.in_flight,
            stage="training" if self.taken > self.batch else "playing",
            checkpoint=None if newest is None else f"{newest.name}, before batch {newest.batch}",
            evaluation=progress.evaluation,
        )
