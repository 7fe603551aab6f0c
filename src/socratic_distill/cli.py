"""The command line: parses, and calls the library.

Exit codes: 0 done, 1 an error of this library, 2 wrong usage, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

from socratic_distill.errors import SocraticError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.command(parsed)
    except SocraticError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="socratic-distill", description="Train a small model to tutor.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    chat = commands.add_parser("chat", help="talk to the trained tutor of a run; you are the student")
    chat.add_argument("log_path", help="directory of the run")
    chat.add_argument("--question", help="the problem to talk about; left out, the run's first seed")
    chat.set_defaults(command=_chat)
    return parser


def _chat(parsed: argparse.Namespace) -> int:
    from socratic_distill.chat import chat

    chat(parsed.log_path, question=parsed.question)
    return 0
