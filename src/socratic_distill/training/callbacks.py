"""Callbacks: code of yours that a run calls at its steps, evaluations, saves and end, and that may stop it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.evaluation.stored import StoredEvaluation
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.training.result import TrainResult


@dataclass(frozen=True)
class Stop:
    """Returned by a hook: ends the run before its last step.

    The step under way ends and no other one begins. Then the run is finished as after its last step: the final state
    and sampler weights are saved, the last weights are evaluated (with `eval_every`), and the report is written.

    Attributes:
        reason: why, in one sentence; it becomes `TrainResult.reason`.
    """

    reason: str


@dataclass(frozen=True)
class RunHistory:
    """What a run did before the steps that begin now.

    Attributes:
        batch: the next batch to run; 0 at the beginning.
        metrics: rows of `metrics.jsonl` of the steps before it, in order.
        evaluations: the completed evaluations of the weights before it and earlier ones, in order.
    """

    batch: int
    metrics: Sequence[dict[str, Any]]
    evaluations: Sequence[StoredEvaluation]


class Callback:
    """A base class for callbacks. Override the hooks that you need; the others do nothing.

    `train(config, callbacks=[...])` calls all hooks of one callback on one thread, one after another. Different
    callbacks have different threads. Dialogues, evaluations and saves go on meanwhile, but the next optimizer step
    waits for `on_begin` and `on_step`, since these may stop the run. `on_save` is not waited for.

    An error in a hook never harms the run. The first one of each hook is logged as a warning, with its traceback at
    the level DEBUG; the others are counted. A hook that runs longer than `timeout_seconds` is given up: its callback is
    not called again, and the run goes on. A callback cannot change what the run trains, since rows are copies.

    A run that is resumed should stop where it would have stopped without the interruption. So rebuild what a
    decision depends on in `on_begin`, from the history. `EarlyStopping` does.

    Attributes:
        timeout_seconds: how long the run waits for one hook, seconds.
        waits_for_evaluations: whether the optimizer step after an evaluation's weights waits for the evaluation and
            its `on_evaluation`. True for classes that override `on_evaluation`: a `Stop` then takes effect at a fixed
            step, and the evaluated weights are the final ones. The price is that the evaluation no longer runs in the
            background of training; only the dialogues of the next batch are played meanwhile. Set it to False in a
            class that only reads evaluations; its `Stop` takes effect at whichever step comes next.
    """

    timeout_seconds: float = 30.0
    waits_for_evaluations: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Sets `waits_for_evaluations` where a class overrides `on_evaluation` and does not set it.

        Args:
            **options: those of other base classes.
        """
        super().__init_subclass__(**options)
        if "on_evaluation" in vars(cls) and "waits_for_evaluations" not in vars(cls):
            cls.waits_for_evaluations = True

    def on_begin(self, history: RunHistory) -> Stop | None:
        """Steps begin, or there are none left. Called at each start, at times twice, and after the service was lost.

        Forget what earlier hooks said: steps may run again.

        Args:
            history: what the run did so far.

        Returns:
            None, or a `Stop`: no further step is done.
        """

    def on_step(self, step: int, metrics: Mapping[str, Any]) -> Stop | None:
        """A step ended, and its rows are on disk.

        Args:
            step: its number, from 0.
            metrics: its row of `metrics.jsonl`.

        Returns:
            None, or a `Stop`: no further step is done. After the run's last step it has no effect.
        """

    def on_evaluation(self, batch: int, evaluation: Evaluation) -> Stop | None:
        """An evaluation is complete and written. One that failed is not reported.

        An evaluation that ends while a run starts may be in the history too.

        Args:
            batch: the weights before this batch were measured.
            evaluation: its measures and dialogues.

        Returns:
            None, or a `Stop`; see `waits_for_evaluations`.
        """

    def on_save(self, record: CheckpointRecord) -> None:
        """The service confirmed a save, and the journal has it.

        Args:
            record: the journal's line; `record.kind` says what the save is for.
        """

    def on_end(self, result: TrainResult) -> None:
        """The run ended; evaluations and report are written. Not called if it was interrupted or failed.

        Args:
            result: what `train` returns.
        """
