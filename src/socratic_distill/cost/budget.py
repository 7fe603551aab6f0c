"""What a run has cost so far, and whether it may go on.

Two sums are kept. What was spent counts every step and evaluation that the run directory tells of, those that ran twice
as well, and is held to `max_cost_usd`. What a row of `metrics.jsonl` shows counts each step once, so that rows are the
same however often the run was resumed.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.cost.costs import check_limit, evaluation_uses, step_cost, tariff_of
from socratic_distill.cost.prices import packaged_prices
from socratic_distill.dialogues.dialogue import ModelRole, PromptUse
from socratic_distill.errors import CostLimitReached, StorageError
from socratic_distill.files.rows import number, read_object, read_rows
from socratic_distill.run.layout import EVALUATIONS, METRICS
from socratic_distill.text import get_logger

_log = get_logger(__name__)


_STEP, _EVALUATION = "cost/usd", "cost_usd"


class Budget:
    """The money of a run.

    Attributes:
        tariff: what its tokens cost; None where it is not billed by the token.
        spent: estimated cost so far, USD, as far as it is known.
    """

    def __init__(self, config: SocraticConfig, log_path: Path) -> None:
        """Adds up what the run has cost before.

        Args:
            config: models, prices and limit.
            log_path: directory of the run.

        Raises:
            ConfigError: `max_cost_usd` is set, and a price is not known.
        """
        self.tariff = tariff_of(config, packaged_prices())
        check_limit(config, self.tariff)
        self._limit = config.max_cost_usd if self.tariff is not None else None
        # Batches in play ahead of the learner have been paid for when it stops.
        self._reserved_steps = 1 + config.max_staleness
        self._shown, self._last, self.spent = 0.0, 0.0, 0.0
        if self.tariff is not None:
            steps = [_usd(row.get(_STEP)) for row in _rows(log_path)]
            self._last = steps[-1] if steps else 0.0
            self.spent = sum(steps) + sum(_usd(one.get(_EVALUATION)) for one in _evaluations(log_path))

    def begin(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """The steps of these rows are done; those behind them are to come, for the first time or again."""
        self._shown = 0.0
        for row in rows:  # one by one, as `stepped` adds: sum() may round otherwise
            self._shown += _usd(row.get(_STEP))

    def stepped(self, row: Mapping[str, Any]) -> dict[str, float | None]:
        """What a step cost, for its row: `cost/usd`, and `cost/total_usd` with those before it; null where not known.

        Args:
            row: the step's other figures.
        """
        usd = step_cost(row, self.tariff)
        if usd is None:
            return {_STEP: None, "cost/total_usd": None}
        self._last = usd
        self._shown += usd
        self.spent += usd
        return {_STEP: usd, "cost/total_usd": self._shown}

    def evaluated(self, tokens: Mapping[ModelRole, PromptUse]) -> float | None:
        """What an evaluation cost, USD; None where that is not known.

        Args:
            tokens: of its requests, by whose model they went to.
        """
        usd = None if self.tariff is None else self.tariff.cost(evaluation_uses(tokens))
        self.spent += usd or 0.0
        return usd

    def check(self) -> None:
        """Stops the run where one more step like the last, with those in play ahead of it, would pass the limit.

        Raises:
            CostLimitReached: says what was spent.
        """
        if self._limit is None:
            return
        next_usd = self._reserved_steps * self._last
        if self.spent >= self._limit or self.spent + next_usd > self._limit:
            raise CostLimitReached(
                f"the run has cost an estimated {self.spent:.4g} USD, and what comes next about {next_usd:.4g} USD, "
                f"which passes max_cost_usd={self._limit:g}; start the same script with a higher max_cost_usd to resume"
            )


def _rows(log_path: Path) -> Iterator[dict[str, Any]]:
    """Rows of steps, those that ran again first."""
    for path in (log_path / METRICS).with_suffix(".superseded.jsonl"), log_path / METRICS:
        yield from read_rows(path)


def _evaluations(log_path: Path) -> Iterator[dict[str, Any]]:
    """Evaluations, those that ran again too."""
    for path in sorted((log_path / EVALUATIONS).glob("*.json")):
        try:
            yield read_object(path, StorageError, "it is an evaluation", lenient=True, root=log_path) or {}
        except StorageError as error:
            _log.warning("%s: its cost is not counted", error)


def _usd(value: object) -> float:
    """A cost; 0 where it is not known."""
    return max(number(value) or 0.0, 0.0)
