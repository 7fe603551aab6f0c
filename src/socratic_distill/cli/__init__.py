"""The command line: parses, and calls a command. One module a command; what it needs is imported when it runs.

Exit codes: 0 done, 1 an error of this library, 2 wrong usage, 130 or 143 stopped by a signal; where an error has an
`exit_code`, that. An error is one message; with --traceback, or SOCRATIC_TRACEBACK=1 in the environment, all of it.

| module | does |
|---|---|
| `init`, `seeds`, `train` | the commands before a run |
| `check`, `chat`, `serve`, `evaluate`, `benchmark`, `report`, `runs`, `compare` | the commands on runs |
| `students`, `checkpoints`, `cost`, `export` | more of them |
| `models` | what a service offers |
| `environment`, `completion` | `env`; completion scripts |
| `completion_scripts` | what these scripts hold |
| `printing` | tables, and examples in the help |
| `bars` | progress bars |
| `played` | progress of `evaluate` and `benchmark` |
| `downloaded` | progress of `export --adapter` |
| `given` | what `train`, `check` and `cost` are given: config, overrides, options |
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
from typing import Any, NoReturn

from socratic_distill.cli import (
    benchmark,
    chat,
    check,
    checkpoints,
    compare,
    completion,
    cost,
    environment,
    evaluate,
    export,
    init,
    models,
    report,
    runs,
    seeds,
    serve,
    students,
    train,
)
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


class _Version(argparse.Action):
    """Prints the version; it is looked up only here."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        show(f"{parser.prog} {environment.package_version() or '(not installed)'}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Escapes errors, since they repeat arguments. The parsers of commands are of this class too."""

    def error(self, message: str) -> NoReturn:
        super().error(shown(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="socratic-distill", description="Train a small model to tutor.")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.set_defaults(program=parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (
        init, seeds, train, check, chat, serve, evaluate, benchmark, students, report, runs, compare, checkpoints, cost,
        export, models, environment, completion,
    ):  # fmt: skip
        command.add_parser(commands)
    return parser
