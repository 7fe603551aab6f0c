"""What a run will cost, told before it runs.

How many tokens it asks for follows from its seeds, prompts and limits, and from how dialogues go on average
(`workload.py`). The averages are those of rows that are there: the run's own, or another run's (`averages.py`). What
those rows counted, over what their averages would have had them count, corrects each figure. Where there are none,
defaults stand in, and the estimate is a rough one that leans high.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath

from socratic_distill.config.config import SocraticConfig
from socratic_distill.cost.averages import Averages
from socratic_distill.cost.budget import Budget
from socratic_distill.cost.costs import Phase, Tariff, Use
from socratic_distill.cost.prices import packaged_prices
from socratic_distill.cost.workload import Key, Part, Tokens, Workload
from socratic_distill.dialogues.dialogue import ModelRole
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.stored import StoredEvaluation, load_evaluations
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.directory import RunDirectory, load_config
from socratic_distill.run.plan import Plan, read_plan


@dataclass(frozen=True)
class CostLine:
    """One kind of tokens in an estimate.

    Attributes:
        part: what they are for: "dialogues", "scoring", "training" or "evaluations".
        role: whose model works on them: "tutor", "student", "teacher" or "judge".
        phase: "prefill", "cached_prefill", "sample", "forward" (a pass forward alone) or "train".
        tokens: how many.
        usd: what they cost, USD; None where the model's price is not known, or tokens are not billed.
    """

    part: Part
    role: ModelRole
    phase: Phase
    tokens: float
    usd: float | None


@dataclass(frozen=True)
class CostEstimate:
    """What is left of a run, in tokens and money. Saved weights, billed by size and time, are not in it.

    Attributes:
        lines: the tokens, by part, role and phase.
        steps: batches that are left.
        evaluations: evaluations that are left.
        spent_usd: what the run has cost by now, USD, as far as it is known.
        basis: where the averages are from: "defaults", or the log_path of a run with its number of rows.
        prices: whose prices, with their date.
    """

    lines: tuple[CostLine, ...]
    steps: int
    evaluations: int
    spent_usd: float
    basis: str
    prices: str

    @property
    def usd(self) -> float | None:
        """Cost of what is left, USD; None where a price is not known."""
        return _sum([one.usd for one in self.lines])

    @property
    def total_usd(self) -> float | None:
        """Cost of the whole run, USD: spent, and left."""
        return None if self.usd is None else self.spent_usd + self.usd

    def part_usd(self, part: Part) -> float | None:
        """Cost of a part of what is left, USD; None where a price is not known.

        Args:
            part: as in `CostLine`.
        """
        return _sum([one.usd for one in self.lines if one.part == part])


def estimate_cost(
    config: SocraticConfig, *, past: str | PathLike[str] | None = None, allow_files: bool = False
) -> CostEstimate:
    """Estimates what a run will cost, or what is left of one. Reads files alone; no service is asked.

    Args:
        config: the run.
        past: log_path, or its URL, of a run whose averages are taken. None: those of `config.log_path`, where it has
            rows. Without any, every dialogue is taken to go to `max_turns`, turns to have 150 tokens, or all that they
            may have where the model thinks first, four characters to be a token, and the service to cache all that a
            prompt shares with earlier ones.
        allow_files: whether prompts and seeds that the config of `past` names outside its directory may be read.

    Raises:
        ConfigError: a file that the config names cannot be read, the run at `past` has no rows to learn from, or
            `max_cost_usd` is set and a price is not known.
        UntrustedConfig: a config that was read from a run directory names files elsewhere.
        StorageError: a run in a store cannot be read.
    """
    run = RunDirectory(readable(config.log_path))
    averages = None if past is None else _read_averages(past, allow_files)
    plan = read_plan(config, run)
    return estimate_of(plan, run, Budget(plan.config, run.path), averages)


def estimate_of(plan: Plan, run: RunDirectory, budget: Budget, past: Averages | None = None) -> CostEstimate:
    """The estimate of a plan, by another run's averages or its own; see `estimate_cost`."""
    workload, evaluated = Workload(plan), load_evaluations(run.path)
    rows = [row for row in run.metrics() if isinstance(row.get("step"), int)]  # other tools' may have none
    of_run = Averages.of(workload, rows, evaluated, plan.config.log_path) if past is None else past
    averages = of_run or Averages.unknown(plan.config)
    first = min(1 + max((row["step"] for row in rows), default=-1), plan.total)
    tokens: Tokens = {}
    if first < plan.total:
        tokens |= averages.correct(workload.steps(averages.talk, first, plan.total), averages.of_steps)
    left = _evaluations_left(plan, evaluated)
    tokens |= averages.correct(workload.evaluations(averages.talk, left), averages.of_evaluations)
    lines = tuple(CostLine(*key, number, _usd(key, number, budget.tariff)) for key, number in tokens.items() if number)
    listed = packaged_prices()
    prices = "the config's" if plan.config.base_url is not None else f"{listed.source}; the config's own first"
    return CostEstimate(lines, plan.total - first, left, budget.spent, averages.basis, prices)


def _read_averages(log_path: str | PathLike[str], allow_files: bool) -> Averages:
    directory, name = readable(log_path), fspath(log_path)
    run = RunDirectory(directory)
    workload = Workload(read_plan(load_config(directory, allow_files=allow_files), run))
    found = Averages.of(workload, list(run.metrics()), load_evaluations(directory), name)
    if found is None:
        raise ConfigError(f"{name} has no step that tells its tokens; expected the log_path of a run with steps done")
    return found


def _evaluations_left(plan: Plan, evaluated: Sequence[StoredEvaluation]) -> int:
    every, total = plan.config.eval_every, plan.total
    if not every:
        return 0
    due = range(0, total, every)
    done = {one.batch for one in evaluated if one.error is None and (one.batch in due or one.batch == total)}
    return len(due) + 1 - len(done)


def _usd(key: Key, number: float, tariff: Tariff | None) -> float | None:
    return None if tariff is None else tariff.cost([Use(key.role, key.phase, number)])


def _sum(values: Sequence[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return sum(known) if len(known) == len(values) else None
