"""Counts what a run has cost so far, and stops it before `max_cost_usd`.

There are two sums. The spent sum counts every step and evaluation in the run directory, also those that ran twice; it
must stay within `max_cost_usd`. The sum in a row of `metrics.jsonl` counts each step once, so that rows do not depend
on how often the run was resumed.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.cost.costs import check_limit, evaluation_uses, step_cost, tariff_of
from socratic_distill.dialogues.dialogue import ModelRole, PromptUse
from socratic_distill.errors import CostLimitReached, StorageError
from socratic_distill.files.rows import number, read_object, read_rows
from socratic_distill.run.layout import EVALUATIONS, METRICS
from socratic_distill.text import get_logger

_log = get_logger(__name__)


_STEP, _EVALUATION = "cost/usd", "cost_usd"


class Budget:
    """The cost of a run so far, and its limit.

    Attributes:
        tariff: prices of its tokens; None if the run is not billed by the token.
        spent: estimated cost so far, USD; unknown costs count as 0.
    """

    def __init__(self, config: SocraticConfig, log_path: Path) -> None:
        """Adds up the cost of the run's earlier starts.

        Args:
            config: models, prices and limit.
            log_path: directory of the run.

        Raises:
            ConfigError: `max_cost_usd` is set, and a price is not known.
        """
        self.tariff = tariff_of(config)
        check_limit(config, self.tariff)
        self._limit = config.max_cost_usd if self.tariff is not None else None
        # The next step, and the batches that are played ahead of it and are paid for even if the run stops.
        self._reserved_steps = 1 + config.max_staleness
        self._shown, self._last, self.spent = 0.0, 0.0, 0.0
        if self.tariff is not None:
            steps = [_usd(row.get(_STEP)) for row in _rows(log_path)]
            self._last = steps[-1] if steps else 0.0
            self.spent = sum(steps) + sum(_usd(evaluation.get(_EVALUATION)) for evaluation in _evaluations(log_path))

    def begin(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Sets the sum of rows to these finished steps; later steps run for the first time or again."""
        self._shown = 0.0
        for row in rows:  # added in the order of `stepped`, since sum() may round differently
            self._shown += _usd(row.get(_STEP))

    def stepped(self, row: Mapping[str, Any]) -> dict[str, float | None]:
        """Counts a step and returns its cost for its row: `cost/usd`, and `cost/total_usd` up to it; None if unknown.

        Args:
            row: the step's other metrics.
        """
        usd = step_cost(row, self.tariff)
        if usd is None:
            return {_STEP: None, "cost/total_usd": None}
        self._last = usd
        self._shown += usd
        self.spent += usd
        return {_STEP: usd, "cost/total_usd": self._shown}

    def evaluated(self, tokens: Mapping[ModelRole, PromptUse]) -> float | None:
        """Counts an evaluation and returns its cost, USD; None if it is not known.

        Args:
            tokens: tokens of its requests, by the role of the model.
        """
        usd = None if self.tariff is None else self.tariff.cost(evaluation_uses(tokens))
        self.spent += usd or 0.0
        return usd

    def check(self) -> None:
        """Stops the run if the next step and the batches played ahead of it, at the last step's cost, exceed the limit.

        Raises:
            CostLimitReached: the message says what was spent.
        """
        if self._limit is None:
            return
        next_usd = self._reserved_steps * self._last
        if self.spent >= self._limit or self.spent + next_usd > self._limit:
            raise CostLimitReached(
                f"the run has cost an estimated {self.spent:.4g} USD, and the next steps cost about {next_usd:.4g} "
                f"USD, which exceeds max_cost_usd={self._limit:g}; start the same script with a higher max_cost_usd to "
                "resume"
            )


def _rows(log_path: Path) -> Iterator[dict[str, Any]]:
    """Rows of all steps; first those that a resume superseded."""
    for path in (log_path / METRICS).with_suffix(".superseded.jsonl"), log_path / METRICS:
        yield from read_rows(path)


def _evaluations(log_path: Path) -> Iterator[dict[str, Any]]:
    """All evaluations, including those that a resume superseded."""
    for path in sorted((log_path / EVALUATIONS).glob("*.json")):
        try:
            yield read_object(path, StorageError, "it is an evaluation", lenient=True, root=log_path) or {}
        except StorageError as error:
            _log.warning("%s: its cost is not counted", error)


def _usd(value: object) -> float:
    """A cost; 0 if it is not known."""
    return max(number(value) or 0.0, 0.0)
