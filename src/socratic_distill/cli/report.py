"""`report`: a page on one run or several side by side."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.config.log_path import given_file, given_path
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands
from socratic_distill.cli.printing import help_of


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "report",
        **help_of(
            "write a page on a run, or on several side by side (HTML)",
            "report runs/run-001",
            "report runs/run-001 runs/run-002 --out both.html",
        ),
    )
    parser.add_argument("log_path", type=given_path, nargs="+", help="directory of a run, or its URL")
    parser.add_argument("--out", type=given_file, help="file to write; left out, report.html in the first directory")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Writes the page and prints its path."""
    from socratic_distill.outputs.report import write_report

    show(write_report(parsed.log_path, parsed.out))
    return 0
