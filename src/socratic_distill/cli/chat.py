"""`chat`: talk to the trained tutor of a run."""

import argparse
import webbrowser
from threading import Thread
from typing import TYPE_CHECKING

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.cli.printing import help_of
from socratic_distill.config.log_path import given_path

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "chat",
        **help_of(
            "talk to the trained tutor of a run; you are the student",
            "chat runs/run-001",
            "chat runs/run-001 --question 'What is 17 + 25?'",
            "chat runs/run-001 --web",
            "chat runs/run-001 --allow-files --base-url http://localhost:8000",
        ),
    )
    parser.add_argument("log_path", type=given_path, help="directory of the run")
    parser.add_argument("--question", help="the problem to talk about; left out, the run's first seed")
    parser.add_argument("--web", action="store_true", help="on a page in the browser, with the teacher's colours")
    parser.add_argument("--port", type=int, help="with --web: to listen on; left out, a free one")
    add_options(parser, "base_url", "files", "code")
    parser.set_defaults(command=run, usage_error=parser.error)


def run(parsed: argparse.Namespace) -> int:
    """Talks until an empty line; on a page until Ctrl-C."""
    if parsed.web:
        from socratic_distill.outputs.serving.server import serve

        def open_page(address: str) -> None:
            # A browser in the terminal runs until it is left, and needs the server meanwhile.
            Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        serve(
            parsed.log_path,
            parsed.question,
            first_seed=True,
            port=parsed.port or 0,
            on_ready=open_page,
            **allowed(parsed),
        )
        return 0
    if parsed.port is not None:
        parsed.usage_error("--port goes with --web")
    from socratic_distill.cli.conversation import chat

    chat(parsed.log_path, question=parsed.question, **allowed(parsed))
    return 0
