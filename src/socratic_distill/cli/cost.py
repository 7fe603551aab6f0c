"""`cost`: what a run will cost, or what is left of it."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.cli.given import add_given, handed_over
from socratic_distill.cli.printing import help_of
from socratic_distill.config.log_path import given_path

if TYPE_CHECKING:
    from rich.table import Table

    from socratic_distill.cli.options import Commands
    from socratic_distill.cost.estimate import CostEstimate


_PARTS = ("dialogues", "scoring", "training", "evaluations")


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "cost",
        **help_of(
            "estimate what a run will cost, or what is left of it; asks no service",
            "cost runs/run-001",
            "cost config.yaml max_steps=100 --past runs/run-001",
            "cost runs/run-002 --allow-files",
        ),
        usage="socratic-distill cost [options] CONFIG [key=value …] | SCRIPT.py [argument …]",
    )
    parser.add_argument(
        "--past", type=given_path, metavar="RUN", help="directory, or URL, of a run whose averages are taken"
    )
    add_given(parser, "files", with_script=True)
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints the estimate."""
    from socratic_distill.cost.estimate import estimate_cost
    from socratic_distill.outputs.display.console import TextConsole

    config = handed_over(parsed).config
    estimate = estimate_cost(config, past=parsed.past, allow_files=bool(parsed.allow_files))
    console = TextConsole()
    console.print(_table(estimate))
    console.print(
        f"{estimate.steps} steps and {estimate.evaluations} evaluations are left; averages: {estimate.basis}; "
        f"prices: {estimate.prices}.",
    )
    spent, left, total = _usd(estimate.spent_usd), _usd(estimate.usd), _usd(estimate.total_usd)
    console.print(f"Spent {spent}, left {left}, together {total} USD.")
    return 0


def _table(estimate: "CostEstimate") -> "Table":
    from rich.table import Table

    table = Table("part", "model", "tokens", header_style="none")
    for name in ("number", "USD"):
        table.add_column(name, justify="right")
    for part in _PARTS:
        lines = [line for line in estimate.lines if line.part == part]
        for line in lines:
            table.add_row(part, line.role, line.phase.replace("_", " "), f"{line.tokens:,.0f}", _usd(line.usd))
        if lines:
            table.add_row(part, "all", "", "", _usd(estimate.part_usd(part)), end_section=True)
    return table


def _usd(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.4f}"
