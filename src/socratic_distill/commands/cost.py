"""`cost`: what a run will cost, or what is left of it."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from socratic_distill.cloud.urls import given_path
from socratic_distill.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from socratic_distill.commands import Commands
    from socratic_distill.config import SocraticConfig
    from socratic_distill.estimate import CostEstimate

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
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints the estimate."""
    from socratic_distill.display.console import TextConsole
    from socratic_distill.estimate import estimate_cost

    found, console = estimate_cost(_read_config(parsed.run), past=parsed.past), TextConsole()
    console.print(_table(found))
    console.print(
        f"{found.steps} steps and {found.evaluations} evaluations are left; averages: {found.basis}; "
        f"prices: {found.prices}.",
    )
    console.print(f"Spent {_usd(found.spent_usd)}, left {_usd(found.usd)}, together {_usd(found.total_usd)} USD.")
    return 0


def _read_config(path: str | Path) -> "SocraticConfig":
    from socratic_distill.config import SocraticConfig
    from socratic_distill.run import config_of

    if not isinstance(path, Path) or path.suffix != ".json":
        return config_of(path)
    try:
        return SocraticConfig(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} cannot be read as a config: {error}; expected JSON like a run's config.json"
        ) from None


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
