"""`serve`: the trained tutor of a run as a chat model of OpenAI's API, on this machine."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.cli.printing import help_of
from socratic_distill.config.log_path import given_path

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "serve",
        **help_of(
            "serve the trained tutor of a run to any chat client on this machine",
            "serve runs/run-001",
            "serve runs/run-001 --port 8080 --question 'What is 17 + 25?'",
        ),
    )
    parser.add_argument("log_path", type=given_path, help="directory of the run")
    parser.add_argument("--question", help="the problem to talk about; left out, a talk's first message is its problem")
    parser.add_argument("--port", type=int, default=8000, help="to listen on; 0 takes a free one; the default is 8000")
    add_options(parser, "base_url", "files", "code")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    from socratic_distill.outputs.serving.server import serve

    serve(parsed.log_path, parsed.question, port=parsed.port, **allowed(parsed))
    return 0
