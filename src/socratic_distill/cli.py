"""The command line: parses, and calls a command of `commands/`.

Exit codes: 0 done, 1 an error of this library, 2 wrong usage, 130 or 143 stopped by a signal.
"""

import argparse
import sys
from collections.abc import Sequence

from socratic_distill.commands import chat, checkpoints, evaluate, export, report, timeline
from socratic_distill.errors import RunInterrupted, SocraticError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.command(parsed)
    except SocraticError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, RunInterrupted) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="socratic-distill", description="Train a small model to tutor.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (chat, evaluate, report, checkpoints, timeline, export):
        command.add_parser(commands)
    return parser
