"""`compare`: runs side by side, from what they recorded."""

import argparse
import json
from typing import TYPE_CHECKING

from socratic_distill.cli.printing import help_of, table_console
from socratic_distill.config.log_path import given_file, given_path
from socratic_distill.errors import ConfigError
from socratic_distill.text import show

if TYPE_CHECKING:
    from rich.table import Table

    from socratic_distill.cli.options import Commands
    from socratic_distill.outputs.side_by_side import SideBySide


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "compare",
        **help_of(
            "show runs side by side, from what they recorded; asks no service",
            "compare runs/a runs/b",
            "compare runs/a runs/b runs/c --sort solved/untold",
            "compare runs/a runs/b --json",
            "compare runs/a runs/b runs/c --page leaderboard.html",
        ),
    )
    parser.add_argument("log_path", type=given_path, nargs="+", metavar="RUN", help="directory of a run, or its URL")
    parser.add_argument("--all", action="store_true", help="every measure of the evaluations, not only the main ones")
    parser.add_argument("--sort", metavar="MEASURE", help="the run that is best by this measure comes first")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs, with all metrics and evaluations")
    form.add_argument(
        "--page", type=given_file, metavar="FILE", help="write a leaderboard instead: one HTML file, columns to sort by"
    )
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints the table, or the path of the page."""
    from socratic_distill.outputs.leaderboard import write_leaderboard
    from socratic_distill.outputs.side_by_side import side_by_side

    if parsed.page is not None:
        show(write_leaderboard(parsed.log_path, parsed.page, sort=parsed.sort))
        return 0
    if len(parsed.log_path) < 2:
        raise ConfigError(f"only {parsed.log_path[0]} is given; expected two or more runs to compare")
    compared = side_by_side(parsed.log_path)
    if parsed.sort is not None:
        compared = compared.sorted_by(parsed.sort)
    if parsed.json:
        show(json.dumps(compared.row(), indent=2))
        return 0
    console = table_console()
    console.print(_table(compared, every=parsed.all))
    for overview, notes in zip(compared.overviews, compared.notes, strict=True):
        for note in notes:
            console.print(f"{overview.path}: {note}")
    return 0


def _table(compared: "SideBySide", every: bool) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    overviews = compared.overviews
    table = Table(box=SIMPLE, pad_edge=False, header_style="none")
    table.add_column("", no_wrap=True)
    for overview in overviews:
        table.add_column(Text(overview.path), overflow="fold")

    def add_section(title: str, rows: list[tuple[str, list[str]]]) -> None:
        if rows:
            table.add_row(Text(title, style="bold"))
            for name, cells in rows:
                table.add_row(Text(f"  {name}", overflow="fold"), *map(Text, cells))
            table.add_section()

    add_section("config", compared.differences or [("(no field differs)", ["" for _ in overviews])])
    add_section(
        "run",
        [
            ("status", [overview.status for overview in overviews]),
            ("steps", ["–" if overview.steps is None else str(overview.steps) for overview in overviews]),
            ("started from", [overview.started_from or "–" for overview in overviews]),
        ],
    )
    add_section("last step", [(name, [_figure(value) for value in cells]) for name, cells in compared.last_steps()])
    add_section("suites", compared.suite_measures())
    if any(compared.evaluations):
        batches = [f"batch {max(evaluations)}" if evaluations else "–" for evaluations in compared.evaluations]
        add_section("last evaluation", [("weights before", batches), *compared.last_evaluations(every=every)])
        add_section("minus the first run, on the same seeds", compared.last_differences(every=every))
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
