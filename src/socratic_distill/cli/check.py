"""`check`: what keeps a run from starting, found out without starting it."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.cli.printing import help_of
from socratic_distill.config.log_path import given_file
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands
    from socratic_distill.training.preflight import Preflight


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "check",
        **help_of(
            "look for all that keeps a run from starting, without starting it",
            "check train.py",
            "check train.py --epochs 2",
            "check runs/run-001 --allow-files",
        ),
    )
    parser.add_argument(
        "source",
        type=given_file,
        metavar="SCRIPT_OR_CONFIG",
        help="a Python script, which runs up to its first call of train, evaluate or compare; a config.json; or the "
        "directory of a run",
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…", help="arguments of the script")
    add_options(parser, "base_url", "files", "code")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Looks; 1 where something is in the way."""
    from socratic_distill.cli.scripted_config import find_config
    from socratic_distill.training.preflight import preflight

    if parsed.source.suffix != ".py":
        # What follows a script is the script's; what follows a directory was swallowed as if it were.
        options = argparse.ArgumentParser("socratic-distill check", add_help=False)
        add_options(options, "base_url", "files", "code")
        given = {name: value for name, value in vars(options.parse_args(parsed.arguments)).items() if value}
        vars(parsed).update(given)
    handover = find_config(parsed.source, parsed.arguments, **allowed(parsed))
    seen = preflight(handover.config, service_client=handover.service_client, rest_client=handover.rest_client)
    _show(handover.config.log_path, seen)
    seen.raise_problems()
    return 0


def _show(log_path: str, seen: "Preflight") -> None:
    for field, name in seen.models.items():
        show(f"{field}: {name}")
    if seen.start is not None:
        show(f"start: {type(seen.start).__name__}")
    if seen.lora is not None:
        show(seen.lora)
    if not seen.problems:
        show(f"{log_path}: OK, ready to start")
