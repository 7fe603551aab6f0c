"""What the three libraries are asked to do. Each is imported where it is opened.

What becomes of the figures of batches that run again after a resume:

| library | the run goes on as | figures of a step that ran twice |
|---|---|---|
| tensorboard | event files in `<log_path>/tensorboard` | those of the last time; the others are purged |
| wandb | the run whose id is the run's own | both, at the same `step`: wandb takes no row back |
| trackio | the run `<name>-<first 8 digits of the run's id>` | both, at the same step: trackio takes no row back |

Batches run twice if a run was killed, or lost its clients, after its last state.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from socratic_distill.text import get_logger

_log = get_logger(__name__)


# Else wandb waits at the end, and once more when the process ends, for a network that may be gone.
_UPLOAD_SECONDS = 20.0


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker gets to know about a run.

    Attributes:
        id: the same at every start.
        batch: the next batch to run.
        project: name of its project at the trackers.
        name: its name there.
        log_path: its directory.
        settings: its config.
    """

    id: str
    batch: int
    project: str
    name: str
    log_path: Path
    settings: Mapping[str, Any]


class Tracker(ABC):
    """One open tracker. Any of its methods may raise whatever its library raises."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs a step's values by name."""

    def evaluation(self, batch: int, values: Mapping[str, float]) -> None:
        """Logs an evaluation of the weights before a batch; later steps may have been logged already."""
        self.log(batch, values)

    def rewind(self, batch: int) -> None:  # noqa: B027 - most take nothing back
        """Batches from this one on run again, in this process."""

    @abstractmethod
    def close(self) -> None:
        """Hands over what is left."""


class Wandb(Tracker):
    """A run of Weights & Biases; its files go to `<log_path>/wandb`.

    It is drawn over the logged `step`: wandb's own step never goes back, but ours does after a resume, and an
    evaluation ends when later steps are logged.
    """

    def __init__(self, tracked: TrackedRun) -> None:
        """Opens wandb's run, new or to go on with.

        Args:
            tracked: the run.

        Raises:
            RuntimeError: no user is logged in.
        """
        wandb: Any = import_module("wandb")
        # Otherwise wandb asks for a key in a terminal, into the live view, and waits for it.
        if wandb.setup().settings.mode in ("online", "shared") and not wandb.login(prompt=False):
            raise RuntimeError("no user is logged in; run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline")
        self._run: Any = wandb.init(
            project=tracked.project,
            id=tracked.id,
            name=tracked.name,
            dir=str(tracked.log_path),
            config=dict(tracked.settings),
            allow_val_change=True,  # a resumed run may have other settings
            resume="allow",
            reinit="create_new",  # a run that the user's script has open is left alone
            settings=wandb.Settings(
                silent=True, console="off", finish_timeout=_UPLOAD_SECONDS, finish_timeout_raises=True
            ),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        if self._run.url:
            _log.info("wandb: %s", self._run.url)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values and their step as one row."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Ends wandb's run, which a resume opens again."""
        self._run.finish()


class Trackio(Tracker):
    """A run of trackio, in its local database or wherever its environment variables say.

    trackio finds a run that it goes on with by name alone, so the name has a part of the run's id.
    """

    def __init__(self, tracked: TrackedRun) -> None:
        """Opens trackio's run, new or to go on with.

        Args:
            tracked: the run.
        """
        trackio: Any = import_module("trackio")
        self._run: Any = trackio.init(
            project=tracked.project,
            name=f"{tracked.name}-{tracked.id[:8]}",
            config=dict(tracked.settings),
            resume="allow",
            embed=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values at their step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Ends trackio's run, which a resume opens again."""
        self._run.finish()


class Tensorboard(Tracker):
    """Event files in `<log_path>/tensorboard`, written by tensorboard itself, without torch.

    Evaluations are in a folder in there. A resume before batch b purges what later steps than b - 1 logged, but an
    evaluation of the weights before b still holds.

    tensorboardX is not used: a file that cannot be written ends its thread unseen, and two starts within a second
    write to the same file.
    """

    def __init__(self, tracked: TrackedRun) -> None:
        """Opens new files next to existing ones.

        Args:
            tracked: the run.
        """
        directory = tracked.log_path / "tensorboard"
        self._steps = _EventFile(directory)
        self._evaluations = _EventFile(directory / "evaluations")
        self.rewind(tracked.batch)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes values as scalars, to be seen at once."""
        self._steps.write(step, values)

    def evaluation(self, batch: int, values: Mapping[str, float]) -> None:
        """Writes an evaluation likewise."""
        self._evaluations.write(batch, values)

    def rewind(self, batch: int) -> None:
        """Purges what stands before from this batch on, and evaluations of later weights."""
        self._steps.purge(batch)
        self._evaluations.purge(batch + 1)

    def close(self) -> None:
        """Closes the files."""
        self._steps.close()
        self._evaluations.close()


class _EventFile:
    """A new event file in a folder."""

    def __init__(self, directory: Path) -> None:
        self._events: Any = import_module("tensorboard.compat.proto.event_pb2")
        self._summaries: Any = import_module("tensorboard.compat.proto.summary_pb2")
        files: Any = import_module("tensorboard.summary.writer.event_file_writer")
        self._writer = files.EventFileWriter(str(directory))

    def purge(self, step: int) -> None:
        # Readers drop the events of this step and of later ones that stand before it.
        self._add(step, session_log=self._events.SessionLog(status=self._events.SessionLog.START))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        scalars = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=self._summaries.Summary(value=scalars))
        self._writer.flush()

    def _add(self, step: int, **what: Any) -> None:
        self._writer.add_event(self._events.Event(wall_time=time.time(), step=step, **what))

    def close(self) -> None:
        self._writer.close()


OPENERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "wandb": Wandb,
    "trackio": Trackio,
    "tensorboard": Tensorboard,
}
