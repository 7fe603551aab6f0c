"""Early stopping by a measure."""

from collections.abc import Mapping
from typing import Any, Literal

from socratic_distill.config.config import SocraticConfig
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.definitions import MEASURES
from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.files.rows import number
from socratic_distill.training.callbacks import Callback, RunHistory, Stop

# They differ between two runs of the same config, so a resumed run would stop elsewhere.
_NOT_REPEATED = ("time/", "memory/", "recovery/")


class EarlyStopping(Callback):
    """Stops a run once a measure has not improved for a while.

    The run stops after `patience` values in a row that are not better than the best one by more than `min_change`. A
    value that is missing or not finite is skipped. What it knows is rebuilt from the run directory at each start: a
    resumed run stops at the same step as one that was never interrupted. A run that it stopped stops again when the
    same script is started again, without a step. Without it, or with more patience, that run goes on from there.

    With `on="evaluation"` the optimizer step after evaluated weights waits for the evaluation, so that the weights
    that were evaluated last are the final ones.
    """

    def __init__(
        self,
        measure: str,
        patience: int,
        min_change: float = 0.0,
        *,
        goal: Literal["lower", "higher"],
        on: Literal["evaluation", "step"] = "evaluation",
    ) -> None:
        """Says what to watch.

        Args:
            measure: a measure of the evaluations, as in `socratic_distill.evaluation.MEASURES`; with `on="step"` a key
                of `metrics.jsonl`.
            patience: values in a row without an improvement after which to stop, at least 1.
            min_change: an improvement is larger than this; in the measure's unit, at least 0.
            goal: which values are better.
            on: which values to watch: those of the evaluations, or those of the steps' dialogues.

        Raises:
            ConfigError: an argument is invalid.
        """
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
            raise ConfigError(f"patience={patience!r} was given to EarlyStopping; give a whole number of at least 1")
        if (number(min_change) or 0.0) < 0 or number(min_change) is None:
            raise ConfigError(f"min_change={min_change!r} was given to EarlyStopping; give a number of at least 0")
        if goal not in ("lower", "higher"):
            raise ConfigError(f"goal={goal!r} was given to EarlyStopping; give 'lower' or 'higher'")
        if on not in ("evaluation", "step"):
            raise ConfigError(f"on={on!r} was given to EarlyStopping; give 'evaluation' or 'step'")
        if not isinstance(measure, str) or (on == "evaluation" and measure not in MEASURES):
            raise ConfigError(
                f"measure={measure!r} was given to EarlyStopping, but evaluations have no such measure; give one of "
                f"{', '.join(MEASURES)}, or on='step' for a key of metrics.jsonl"
            )
        if measure.startswith(_NOT_REPEATED):
            raise ConfigError(f"measure={measure!r} was given to EarlyStopping; it is not the same when a run resumes")
        self.measure = measure
        self.patience = patience
        self.min_change = min_change
        self.goal = goal
        self.on = on
        self.waits_for_evaluations = on == "evaluation"
        self._values: dict[int, float] = {}  # by step or batch
        self._best_at: int | None = None
        self._since_best = 0

    def check(self, config: SocraticConfig) -> None:
        """Refuses a run in which it could never stop anything.

        Args:
            config: the run's.

        Raises:
            ConfigError: it watches evaluations, and there are none.
        """
        if self.on == "evaluation" and config.eval_every is None:
            raise ConfigError(
                f"EarlyStopping({self.measure!r}) watches evaluations, but eval_every is not set, so there are none; "
                "set eval_every and eval_seeds, or give on='step'"
            )

    def on_begin(self, history: RunHistory) -> Stop | None:
        """Starts anew from the values so far.

        Args:
            history: what the run did so far.

        Returns:
            A `Stop` if these values already call for it.
        """
        if self.on == "step":
            values = [(row["step"], row.get(self.measure)) for row in history.metrics]
        else:
            measured = [(entry.batch, entry.measures.get(self.measure)) for entry in history.evaluations]
            values = [(batch, measure and measure.value) for batch, measure in measured]
        self._replay({index: value for index, given in values if (value := number(given)) is not None})
        return self._decide()

    def on_step(self, step: int, metrics: Mapping[str, Any]) -> Stop | None:
        """Takes a step's value.

        Args:
            step: its number.
            metrics: its row.

        Returns:
            A `Stop` if it is time.

        Raises:
            ConfigError: steps have no such value.
        """
        if self.on != "step":
            return None
        if self.measure not in metrics:
            raise ConfigError(f"metrics.jsonl has no key {self.measure!r}, so the run is not stopped by it")
        return self._see(step, metrics[self.measure])

    def on_evaluation(self, batch: int, evaluation: Evaluation) -> Stop | None:
        """Takes an evaluation's value.

        Args:
            batch: the weights before this batch were measured.
            evaluation: its measures.

        Returns:
            A `Stop` if it is time.

        Raises:
            ConfigError: this run's evaluations have no such value.
        """
        if self.on != "evaluation":
            return None
        if self.measure not in evaluation.measures:
            raise ConfigError(
                f"the evaluations of this run have no measure {self.measure!r}, so the run is not stopped by it; they "
                f"have {', '.join(evaluation.measures)}"
            )
        return self._see(batch, evaluation.measures[self.measure].value)

    def _see(self, index: int, given: object) -> Stop | None:
        if (value := number(given)) is not None:
            # An evaluation that failed before may be made up for later, and one may be reported twice.
            if all(index > earlier for earlier in list(self._values)[-1:]):
                self._count(index, value)
            else:
                self._replay(self._values | {index: value})
        return self._decide()

    def _replay(self, values: Mapping[int, float]) -> None:
        self._values, self._best_at, self._since_best = {}, None, 0
        for index in sorted(values):
            self._count(index, values[index])

    def _count(self, index: int, value: float) -> None:
        self._values[index] = value
        best = None if self._best_at is None else self._values[self._best_at]
        if best is None or (best - value if self.goal == "lower" else value - best) > self.min_change:
            self._best_at, self._since_best = index, 0
        else:
            self._since_best += 1

    def _decide(self) -> Stop | None:
        if self._best_at is None or self._since_best < self.patience:
            return None
        where = "at step" if self.on == "step" else "before batch"
        change = f" by more than {self.min_change:g}" if self.min_change else ""
        return Stop(
            f"{self.measure} did not get {self.goal}{change} in the last {self._since_best} {self.on}s; its best value "
            f"is {self._values[self._best_at]:.4g}, {where} {self._best_at}"
        )
