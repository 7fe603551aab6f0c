"""Figures of a run at trackers: wandb, trackio and tensorboard, each through its own library.

`metrics.jsonl` is the truth, and a tracker a copy that may fail. Each has a thread of its own, which opens it, logs and
closes it, so that none delays the training or another tracker; what fails is reported once and then ignored.

A run that resumes goes on in the same tracker run. The figures of batches that run again are logged again:
`adapters.py` says what each library makes of that.
"""

import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.sections import TrackerName
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.files.extras import how_to_install
from socratic_distill.outputs.trackers.adapters import OPENERS, TrackedRun, Tracker
from socratic_distill.outputs.trackers.worker import Worker, hush, unhush

# All trackers together; a training that is over should not wait for long on a network that is gone.
_CLOSE_SECONDS = 30.0


class Trackers:
    """The trackers of a run, none, one or several. No method raises or waits, but `close` for a while."""

    def __init__(self, config: SocraticConfig) -> None:
        """Names them; `begin` opens them.

        Args:
            config: which ones, and what the run is called there.

        Raises:
            ConfigError: the library of one of them is not installed.
        """
        check_trackers(config.trackers)
        self._config = config
        self._workers: list[Worker] = []

    def begin(self, run_id: str, batch: int, log_path: Path) -> None:
        """Opens them in the background; one that cannot be opened is a warning. Once they are open, goes back in them.

        Args:
            run_id: the run's id, the same at every start.
            batch: the next batch to run, whose figures are the next to be logged.
            log_path: directory of the run.
        """
        config = self._config
        if self._workers or not config.trackers:
            return self._send(lambda tracker: tracker.rewind(batch))
        name = config.tracker_name or log_path.resolve().name
        tracked = TrackedRun(run_id, batch, config.tracker_project, name, log_path, config.model_dump(mode="json"))
        hush()
        self._workers = [Worker(name, OPENERS[name], tracked) for name in config.trackers]

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Logs a step's row of metrics.jsonl, what is no number left out.

        Args:
            step: number of the batch.
            metrics: the row.
        """
        values = {key: value for key, value in metrics.items() if key != "step" and _is_number(value)}
        self._send(lambda tracker: tracker.log(step, values))

    def evaluation(self, batch: int, measures: Mapping[str, Measure]) -> None:
        """Logs an evaluation: `eval/<name>`, and the ends of its interval as `eval/<name>/low` and `…/high`.

        Args:
            batch: the weights before this batch were measured; it is logged as the step.
            measures: by name.
        """
        ends = {}
        for name, measure in measures.items():
            ends |= {f"eval/{name}": measure.value, f"eval/{name}/low": measure.low, f"eval/{name}/high": measure.high}
        values = {key: value for key, value in ends.items() if value is not None}
        self._send(lambda tracker: tracker.evaluation(batch, values))

    def close(self) -> None:
        """Hands over what is left, and waits for it for half a minute at most."""
        deadline = time.monotonic() + _CLOSE_SECONDS
        for worker in self._workers:
            worker.end()
        closed = [worker.wait(deadline - time.monotonic()) for worker in self._workers]
        if self._workers and all(closed):
            unhush()

    def _send(self, task: Callable[[Tracker], None]) -> None:
        for worker in self._workers:
            worker.send(task)


def check_trackers(names: Iterable[TrackerName]) -> None:
    """Looks whether the libraries of these trackers are installed, without importing them.

    Raises:
        ConfigError: one is not; says how to install it.
    """
    for name in names:
        if not _is_installed(name):
            raise ConfigError(
                f"trackers names {name!r}, but its library is not installed. {how_to_install(name)}. Or take it out of "
                "trackers"
            )


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return True
    spec = importlib.util.find_spec(name)
    # A folder of that name next to the script, such as wandb's own output, is found too, but has no file.
    return spec is not None and spec.origin is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
