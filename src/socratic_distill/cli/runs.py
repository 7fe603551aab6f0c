"""`runs`: the runs below a directory, a row each."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from socratic_distill.cli.printing import help_of, table_console
from socratic_distill.config.log_path import given_path, is_url
from socratic_distill.errors import ConfigError
from socratic_distill.text import show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from socratic_distill.cli.options import Commands
    from socratic_distill.outputs.overview import Overview


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "runs",
        **help_of("list the runs below a directory; asks no service", "runs", "runs experiments", "runs --json"),
    )
    parser.add_argument(
        "directory", type=given_path, nargs="?", default=Path(), help="where to look; left out, the working directory"
    )
    parser.add_argument("--json", action="store_true", help="for programs, with every measure")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints the table."""
    from socratic_distill.outputs.overview import overview_of
    from socratic_distill.run.finding import check_run, find_runs

    directory = parsed.directory
    if is_url(directory):
        raise ConfigError(f"{directory} is in a store; expected a directory on this machine")
    overviews = [overview_of(path) for path in find_runs(directory)]
    if not overviews:
        check_run(directory, expected="the directory of a run, or one with runs below it")
    if parsed.json:
        show(json.dumps([overview.row() for overview in overviews], indent=2))
    else:
        console = table_console()
        console.print(_table(overviews, datetime.now(UTC)))
        for overview in overviews:
            if overview.problem is not None:
                console.print(f"{overview.path}: {overview.problem}")
    return 0


def _table(overviews: "list[Overview]", now: datetime) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    from socratic_distill.cli.journal_table import age

    table = Table(box=SIMPLE, pad_edge=False, padding=0, header_style="none")
    table.add_column("run", overflow="fold")
    for name in ("status", "step", "last step\ntells/solved", "evaluation\ntells/untold", "USD", "changed"):
        table.add_column(name, justify="left" if name == "status" else "right", no_wrap=True)
    for overview in overviews:
        name = Text(overview.path)
        if overview.started_from is not None:
            name.append(f"\n from {overview.started_from}", style="dim")
        table.add_row(
            name,
            overview.status,
            _steps(overview),
            _shares(overview.step, "tells", "solved"),
            _shares(overview.evaluation, "tells", "solved_untold"),
            "–" if overview.cost_usd is None else _usd(overview.cost_usd),
            "–" if overview.changed is None else age((now - overview.changed).total_seconds()),
        )
    return table


def _steps(overview: "Overview") -> str:
    done = "–" if overview.steps is None else f"{overview.steps}"
    return done if overview.total is None else f"{done}/{overview.total}"


def _shares(measures: "Mapping[str, float | None]", *names: str) -> str:
    values = [measures.get(name) for name in names]
    if not any(value is not None for value in values):
        return "–"
    return "/".join("–" if value is None else f"{value:.0%}" for value in values)


def _usd(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 0.1 or not usd else f"{usd:.4f}"
