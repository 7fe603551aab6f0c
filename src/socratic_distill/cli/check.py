"""`check`: what keeps a run from starting, found out without starting it."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.cli.given import add_given, handed_over
from socratic_distill.cli.printing import help_of
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
            "check config.yaml max_steps=20",
            "check train.py --epochs 2",
            "check runs/run-001 --allow-files",
        ),
        usage="socratic-distill check [options] CONFIG [key=value …] | SCRIPT.py [argument …]",
    )
    add_given(parser, "base_url", "files", "code", with_script=True)
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Looks; 1 where something is in the way."""
    from socratic_distill.training.preflight import preflight

    handover = handed_over(parsed)
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
    for line in (seen.memory or "").splitlines():
        show(line)
    if not seen.problems:
        show(f"{log_path}: OK, ready to start")
