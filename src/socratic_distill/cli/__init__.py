"""The command line: parses, and calls a command. One module a command; what it needs is imported when it runs.

Exit codes: 0 done, 1 an error of this library, 2 wrong usage, 130 or 143 stopped by a signal; where an error has an
`exit_code`, that. An error is one message; with --traceback, or SOCRATIC_TRACEBACK=1 in the environment, all of it.

| module | does |
|---|---|
| `check`, `chat`, `evaluate`, `report`, `checkpoints`, `cost`, `export`, `models` | the commands |
| `options` | options that several commands take |
| `conversation` | the dialogue of `chat` |
| `journal_table` | the table of `checkpoints` |
| `script` | `run_script`: exit codes and messages of a script |
| `scripted_config` | the config that a script builds, without training |
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from socratic_distill.cli import chat, check, checkpoints, cost, evaluate, export, models, report
from socratic_distill.cli.script import run_script
from socratic_distill.text import show, shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return run_script(lambda: parsed.command(parsed), with_traceback=parsed.traceback or None)
    except Exception as error:  # a bug; Python itself would print what a file holds as it stands there
        show("".join(traceback.format_exception(error)).rstrip("\n"), sys.stderr)
        return 1


class _Parser(argparse.ArgumentParser):
    """Escapes errors, since they repeat arguments. The parsers of commands are of this class too."""

    def error(self, message: str) -> NoReturn:
        super().error(shown(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="socratic-distill", description="Train a small model to tutor.")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (check, chat, evaluate, report, checkpoints, cost, export, models):
        command.add_parser(commands)
    return parser
