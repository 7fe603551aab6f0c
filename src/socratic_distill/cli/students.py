"""`students`: whether the simulated students of a run change their minds for a reason."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.cli.printing import help_of, table_console
from socratic_distill.config.log_path import given_file, given_path, is_url
from socratic_distill.errors import ConfigError
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "students",
        **help_of(
            "measure whether the simulated students of a run change their minds for a reason",
            "students runs/run-001",
            "students runs/run-001 --seeds heldout.jsonl --samples 8",
        ),
    )
    parser.add_argument("log_path", type=given_path, help="directory of the run, or its URL")
    parser.add_argument("--seeds", type=given_file, metavar="FILE", help="seeds file; left out, the held-out ones")
    parser.add_argument("--limit", type=int, metavar="N", help="number of seeds taken from --seeds")
    parser.add_argument("--samples", type=int, default=4, metavar="N", help="first answers on each seed; 4")
    parser.add_argument("--writer", metavar="MODEL", help="model that writes the feedback; left out, the teacher's")
    add_options(parser, "base_url", "files", "code")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Measures, prints the table, and leaves `students.json` for the report."""
    from pathlib import Path

    from socratic_distill.dialogues.seeds import load_seeds
    from socratic_distill.evaluation.fidelity import student_fidelity, write_fidelity
    from socratic_distill.run.directory import config_of

    if parsed.limit is not None and parsed.seeds is None:
        raise ConfigError(f"--limit {parsed.limit} has no --seeds to apply to; give a seeds file with it")
    config = config_of(parsed.log_path, **allowed(parsed))
    seeds = None if parsed.seeds is None else load_seeds(parsed.seeds, parsed.limit)
    fidelity = student_fidelity(config, seeds=seeds, samples=parsed.samples, writer=parsed.writer)
    table_console().print(fidelity.table())
    if fidelity.left_out:
        why = f"; the first error: {fidelity.error}" if fidelity.error else ""
        show(
            f"{fidelity.left_out} attempts were left out: right at first, feedback that says the answer, or failed{why}"
        )
    if warning := fidelity.warning:
        show(warning)
    if not is_url(parsed.log_path):
        write_fidelity(Path(parsed.log_path), fidelity)
    return 0
