"""`train`: trains a tutor as a config file says, or resumes a run."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from socratic_distill.cli.given import add_given, handed_over
from socratic_distill.cli.printing import help_of
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands
    from socratic_distill.config.config import SocraticConfig
    from socratic_distill.training.trainer import TrainResult


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "train",
        **help_of(
            "train a tutor as a config file says, or resume a run",
            "train config.yaml",
            "train config.yaml max_steps=16 log_path=runs/second objective.kind=reverse_kl",
            "train runs/first max_steps=32 --allow-files",
        ),
        usage="socratic-distill train [options] CONFIG [key=value …]",
    )
    add_given(parser, "base_url", "files", "code", with_script=False)
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Trains, and says how it ended."""
    from socratic_distill.errors import RunInterrupted
    from socratic_distill.training.trainer import train

    config = handed_over(parsed).config
    try:
        result = train(config)
    except RunInterrupted as error:
        if config.display == "off":
            raise
        # The display has said already what was done and saved.
        show(f"To go on: socratic-distill train {shlex.quote(str(parsed.source))}", sys.stderr)
        return error.exit_code
    for line in _ending(config, result, str(parsed.source)):
        show(line)
    return 0


def _ending(config: "SocraticConfig", result: "TrainResult", source: str) -> list[str]:
    """How the run ended, and what to do next."""
    from socratic_distill.config.log_path import is_url
    from socratic_distill.config.paths import resolved
    from socratic_distill.outputs.report import REPORT
    from socratic_distill.run.finding import shown_path

    log_path = str(config.log_path) if is_url(config.log_path) else shown_path(Path(resolved(config.log_path)))
    report = f"; report: {os.path.join(log_path, REPORT)}" if config.write_report else ""
    again = f"socratic-distill train {shlex.quote(source)} max_steps={2 * result.steps}"
    if result.status == "already_complete":
        return [f"{log_path}: the run was complete already, after {result.steps} steps{report}", f"To go on: {again}"]
    trust = " --allow-files" * _names_files_elsewhere(config)
    return [
        f"{log_path}: completed, {result.steps} steps{report}",
        f"Next: socratic-distill chat {shlex.quote(log_path)}{trust}",
    ]


def _names_files_elsewhere(config: "SocraticConfig") -> bool:
    """Whether commands on the run's directory need --allow-files, since the run uses files outside of it."""
    from socratic_distill.config.paths import resolved
    from socratic_distill.config.trust import check_files
    from socratic_distill.errors import SocraticError, UntrustedConfig
    from socratic_distill.run.directory import config_of

    try:
        check_files(config_of(resolved(config.log_path)), "prompts", "seeds")
    except UntrustedConfig:
        return True
    except SocraticError:
        return False
    return False
