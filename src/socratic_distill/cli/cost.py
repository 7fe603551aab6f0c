"""`cost`: what a run will cost, or what is left of it; with --actual, what the service says that it cost."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.cli.given import add_given, handed_over
from socratic_distill.cli.printing import help_of
from socratic_distill.config.log_path import given_path
from socratic_distill.text import dollars

if TYPE_CHECKING:
    from rich.table import Table

    from socratic_distill.cli.options import Commands
    from socratic_distill.config.config import SocraticConfig
    from socratic_distill.cost.billed import Billed
    from socratic_distill.cost.estimate import CostEstimate


_PARTS = ("dialogues", "scoring", "rewards", "training", "evaluations")


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "cost",
        **help_of(
            "estimate what a run will cost, or what is left of it; asks no service without --actual",
            "cost runs/run-001",
            "cost config.yaml max_steps=100 --past runs/run-001",
            "cost runs/run-002 --allow-files",
            "cost runs/run-001 --actual",
        ),
        usage="socratic-distill cost [options] CONFIG [key=value …] | SCRIPT.py [argument …]",
    )
    parser.add_argument(
        "--past", type=given_path, metavar="RUN", help="directory, or URL, of a run whose averages are taken"
    )
    parser.add_argument(
        "--actual",
        action="store_true",
        help="ask the service what the run's sessions were billed so far; needs an admin's key",
    )
    add_given(parser, "base_url", "files", "code", with_script=True)
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints the estimate, or what was billed."""
    from socratic_distill.cost.estimate import estimate_cost
    from socratic_distill.outputs.display.console import TextConsole

    config = handed_over(parsed).config
    if parsed.actual:
        return _print_billed(config)
    trust = {"allow_files": bool(parsed.allow_files), "allow_code": bool(parsed.allow_code)}
    estimate = estimate_cost(config, past=parsed.past, **trust)
    console = TextConsole()
    console.print(_table(estimate))
    console.print(
        f"{estimate.steps} steps and {estimate.evaluations} evaluations are left; averages: {estimate.basis}; "
        f"prices: {estimate.prices}.",
    )
    spent, left, total = dollars(estimate.spent_usd), dollars(estimate.usd), dollars(estimate.total_usd)
    console.print(f"Spent {spent}, left {left}, together {total} USD.")
    if estimate.unpriced is not None:
        console.print(f"{estimate.unpriced[0].upper()}{estimate.unpriced[1:]}.", markup=False)
    return 0


def _print_billed(config: "SocraticConfig") -> int:
    """Prints what the service says that a run used and cost, next to what the run counted."""
    from socratic_distill.config.named_models import with_known_names
    from socratic_distill.cost.billed import ask_billed, counted, span_of
    from socratic_distill.cost.budget import Budget
    from socratic_distill.outputs.display.console import TextConsole
    from socratic_distill.run.cloud.reading import readable

    directory = readable(config.log_path)
    span = span_of(directory)
    billed = ask_billed(config, span)
    console, ours = TextConsole(), counted(directory)
    console.print(_billed_table(billed, ours))
    hours = f"{span.start:%Y-%m-%d %H:%M} to {span.end:%Y-%m-%d %H:%M} UTC"
    usd = sum(amount.usd for amount in billed.of_run.values())
    estimated = Budget(with_known_names(config), directory).spent
    console.print(
        f"Billed to the run's sessions from {hours}: {dollars(usd)} USD. Estimated here: {dollars(estimated)} USD."
    )
    if not billed.of_run:
        console.print("The service has no figures of these sessions. They may be hours late; try again then.")
    if unpriced := sum(amount.unpriced for amount in billed.of_run.values()):
        console.print(f"{unpriced:,} tokens have no price from the service yet, and are not in its cost.")
    console.print(
        "The service's costs are gross estimates before credits, not invoice amounts. "
        f"Not in them: {dollars(billed.others_usd)} USD of the organization's {billed.others} other sessions in these "
        f"hours, and {dollars(billed.storage_usd)} USD of its storage, which belongs to no session."
    )
    return 0


def _billed_table(billed: "Billed", ours: dict[str, int]) -> "Table":
    from rich.table import Table

    table = Table("tokens", "model", header_style="none")
    for name in ("counted here", "billed", "USD"):
        table.add_column(name, justify="right")
    for phase in dict.fromkeys([*ours, *(phase for phase, _ in sorted(billed.of_run))]):
        models = {model: amount for (of, model), amount in sorted(billed.of_run.items()) if of == phase}
        total = sum(amount.tokens for amount in models.values())
        usd = sum(amount.usd for amount in models.values())
        name = phase.replace("_", " ")
        table.add_row(name, "all", f"{ours.get(phase, 0):,}", f"{total:,}", dollars(usd))
        for model, amount in models.items():
            table.add_row(name, model, "", f"{amount.tokens:,}", dollars(amount.usd))
    return table


def _table(estimate: "CostEstimate") -> "Table":
    from rich.table import Table

    table = Table("part", "model", "tokens", header_style="none")
    for name in ("number", "USD"):
        table.add_column(name, justify="right")
    for part in _PARTS:
        lines = [line for line in estimate.lines if line.part == part]
        for line in lines:
            table.add_row(part, line.role, line.phase.replace("_", " "), f"{line.tokens:,.0f}", dollars(line.usd))
        if lines:
            table.add_row(part, "all", "", "", dollars(estimate.part_usd(part)), end_section=True)
    return table
