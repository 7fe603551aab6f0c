"""`cost`: what a run will cost, or what is left of it."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.config.log_path import given_path

if TYPE_CHECKING:
    from rich.table import Table

    from socratic_distill.cli.options import Commands
    from socratic_distill.cost.estimate import CostEstimate


_PARTS = ("dialogues", "scoring", "training", "evaluations")


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser("cost", help="estimate what a run will cost, or what is left of it; asks no service")
    parser.add_argument(
        "run", type=given_path, help="directory of a run, its URL, or a config as JSON, like a run's config.json"
    )
    parser.add_argument(
        "--past", type=given_path, metavar="RUN", help="directory, or URL, of a run whose averages are taken"
    )
    add_options(parser, "files")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints the estimate."""
    from socratic_distill.cost.estimate import estimate_cost
    from socratic_distill.outputs.display.console import TextConsole
    from socratic_distill.run.directory import config_in

    config = config_in(parsed.run, **allowed(parsed))
    found = estimate_cost(config, past=parsed.past, allow_files=bool(parsed.allow_files))
    console = TextConsole()
    console.print(_table(found))
    console.print(
        f"{found.steps} steps and {found.evaluations} evaluations are left; averages: {found.basis}; "
        f"prices: {found.prices}.",
    )
    console.print(f"Spent {_usd(found.spent_usd)}, left {_usd(found.usd)}, together {_usd(found.total_usd)} USD.")
    return 0


def _table(found: "CostEstimate") -> "Table":
    from rich.table import Table

    table = Table("part", "model", "tokens", header_style="none")
    for name in ("number", "USD"):
        table.add_column(name, justify="right")
    for part in _PARTS:
        lines = [one for one in found.lines if one.part == part]
        for one in lines:
            table.add_row(part, one.role, one.phase.replace("_", " "), f"{one.tokens:,.0f}", _usd(one.usd))
        if lines:
            table.add_row(part, "all", "", "", _usd(found.part_usd(part)), end_section=True)
    return table


def _usd(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.4f}"
