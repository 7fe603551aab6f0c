"""Estimates what a run will cost before it runs.

The number of tokens follows from its seeds, prompts and limits, and from averages of its dialogues (`workload.py`). The
averages come from existing rows, the run's own or another run's (`averages.py`). Each figure is scaled by the ratio of
measured to predicted tokens in these rows. Without rows, defaults are used, and the estimate is rough and tends to be
too high.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath

from socratic_distill.config.config import SocraticConfig
from socratic_distill.cost.averages import Averages
from socratic_distill.cost.budget import Budget
from socratic_distill.cost.costs import PricedPhase, Tariff, Use
from socratic_distill.cost.workload import Key, Part, Tokens, Workload
from socratic_distill.dialogues.dialogue import ModelRole
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.stored import StoredEvaluation, load_evaluations
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.directory import RunDirectory, load_config
from socratic_distill.run.plan import Plan, read_plan
from socratic_distill.text import dollars
from socratic_distill.text.html import escaped, soft, table, titled


@dataclass(frozen=True)
class CostLine:
    """One kind of tokens in an estimate.

    Attributes:
        part: purpose of the tokens: "dialogues", "scoring", "rewards", "training" or "evaluations".
        role: role of the model that processes them: "tutor", "student", "teacher" or "judge".
        phase: "prefill", "cached_prefill", "sample", "forward" (a forward pass only) or "train".
        tokens: number of tokens.
        usd: their cost, USD; None if the model's price is not known, or tokens are not billed.
    """

    part: Part
    role: ModelRole
    phase: PricedPhase
    tokens: float
    usd: float | None


@dataclass(frozen=True)
class CostEstimate:
    """The remaining tokens and cost of a run. Storage of saved weights is not included.

    Attributes:
        lines: the remaining tokens, by part, role and phase.
        steps: remaining batches.
        evaluations: remaining evaluations.
        spent_usd: cost of the run so far, USD; unknown costs count as 0.
        basis: source of the averages: "defaults", or the log_path of a run with its number of rows.
        prices: source of the prices, with their date.
        unpriced: which models have no known price, and how to give it; None if all have one.
    """

    lines: tuple[CostLine, ...]
    steps: int
    evaluations: int
    spent_usd: float
    basis: str
    prices: str
    unpriced: str | None = None

    @property
    def usd(self) -> float | None:
        """Remaining cost, USD; None if a price is not known."""
        return _sum([line.usd for line in self.lines])

    @property
    def total_usd(self) -> float | None:
        """Cost of the whole run, USD: spent and remaining; None if a price is not known."""
        return None if self.usd is None else self.spent_usd + self.usd

    def _repr_html_(self) -> str:
        """Tokens and costs by part, and how they were estimated, for notebooks."""
        parts: dict[Part, None] = dict.fromkeys(line.part for line in self.lines)
        tokens = {part: sum(line.tokens for line in self.lines if line.part == part) for part in parts}
        rows = [[escaped(part), f"{tokens[part]:,.0f}", dollars(self.part_usd(part))] for part in parts]
        rows.append(["left", f"{sum(tokens.values()):,.0f}", dollars(self.usd)])
        rows.append(["spent so far", "", dollars(self.spent_usd)])
        rows.append(["together", "", f"<b>{dollars(self.total_usd)}</b>"])
        how = f"{self.steps} steps and {self.evaluations} evaluations are left; averages: {self.basis}; "
        note = soft(escaped(f"{how}prices: {self.prices}"))
        return titled("Estimated cost", table(rows, ["", "tokens", "USD"], numbers=True), note)

    def part_usd(self, part: Part) -> float | None:
        """Remaining cost of one part, USD; None if a price is not known.

        Args:
            part: as in `CostLine`.
        """
        return _sum([line.usd for line in self.lines if line.part == part])


def estimate_cost(
    config: SocraticConfig,
    *,
    past: str | PathLike[str] | None = None,
    allow_files: bool = False,
    allow_code: bool = False,
) -> CostEstimate:
    """Estimates the cost of a run, or of the rest of a run. It only reads files; no service is asked.

    Without averages these defaults apply: every dialogue has `max_turns` turns; a turn has 150 tokens, or its token
    limit if the model thinks first; a token has four characters; the service caches everything that a prompt shares
    with earlier ones.

    Args:
        config: config of the run.
        past: log_path, or its URL, of a run whose averages are used. None: those of `config.log_path`, if it has rows.
        allow_files: whether prompts and seeds that the config of `past` names outside its directory may be read.
        allow_code: whether functions of seeds that the config of `past` names may run.

    Raises:
        ConfigError: a file that the config names cannot be read, the run at `past` has no rows with token counts, or
            `max_cost_usd` is set and a price is not known.
        UntrustedConfig: a config that was read from a run directory names files elsewhere.
        StorageError: a run in a store cannot be read.
    """
    run = RunDirectory(readable(config.log_path))
    averages = None if past is None else _read_averages(past, allow_files, allow_code)
    plan = read_plan(config, run)
    return estimate_of(plan, run, Budget(plan.config, run.path), averages)


def estimate_of(plan: Plan, run: RunDirectory, budget: Budget, past: Averages | None = None) -> CostEstimate:
    """The estimate of a plan, from another run's averages or its own; see `estimate_cost`."""
    workload, evaluated = Workload(plan), load_evaluations(run.path)
    rows = [row for row in run.metrics() if isinstance(row.get("step"), int)]  # rows of other tools may have no step
    of_run = Averages.of(workload, rows, evaluated, plan.config.log_path) if past is None else past
    averages = of_run or Averages.unknown(plan.config)
    first = min(1 + max((row["step"] for row in rows), default=-1), plan.total)
    tokens: Tokens = {}
    if first < plan.total:
        tokens |= averages.correct(workload.steps(averages.talk, first, plan.total), averages.of_steps)
    evaluations = _evaluations_left(plan, evaluated)
    tokens |= averages.correct(workload.evaluations(averages.talk, evaluations), averages.of_evaluations)
    lines = tuple(CostLine(*key, number, _usd(key, number, budget.tariff)) for key, number in tokens.items() if number)
    prices = "none" if budget.tariff is None else budget.tariff.source
    unpriced = None if budget.tariff is None else budget.tariff.what_is_unknown
    return CostEstimate(lines, plan.total - first, evaluations, budget.spent, averages.basis, prices, unpriced)


def _read_averages(log_path: str | PathLike[str], allow_files: bool, allow_code: bool) -> Averages:
    directory, name = readable(log_path), fspath(log_path)
    run = RunDirectory(directory)
    config = load_config(directory, allow_files=allow_files, allow_code=allow_code)
    workload = Workload(read_plan(config, run))
    averages = Averages.of(workload, list(run.metrics()), load_evaluations(directory), name)
    if averages is None:
        raise ConfigError(f"{name} has no step with token counts; expected the log_path of a run with finished steps")
    return averages


def _evaluations_left(plan: Plan, evaluated: Sequence[StoredEvaluation]) -> int:
    every, total = plan.config.eval_every, plan.total
    if not every:
        return 0
    due = range(0, total, every)
    done = {
        evaluation.batch
        for evaluation in evaluated
        if evaluation.error is None and (evaluation.batch in due or evaluation.batch == total)
    }
    return len(due) + 1 - len(done)


def _usd(key: Key, number: float, tariff: Tariff | None) -> float | None:
    return None if tariff is None else tariff.cost([Use(key.role, key.phase, number)])


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
