"""`evaluate`: tutors of a run side by side, on the same seeds."""

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from socratic_distill.cli.options import add_options, allowed, with_named
from socratic_distill.cli.printing import help_of, table_console
from socratic_distill.config.log_path import given_file, given_path
from socratic_distill.errors import ConfigError

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "evaluate",
        **help_of(
            "measure tutors of a run side by side, on the same seeds",
            "evaluate runs/run-001",
            "evaluate runs/run-001 --tutor base --tutor teacher --tutor final",
            "evaluate runs/run-001 --seeds heldout.jsonl --limit 50 --all",
            "evaluate runs/run-001 --judge Qwen3-8B --out evaluation.json",
        ),
    )
    parser.add_argument("log_path", type=given_path, help="directory of the run, or its URL")
    parser.add_argument(
        "--tutor",
        type=os.path.expanduser,
        action="append",
        metavar="TUTOR",
        help="'base', 'teacher', 'final', a batch number, sampler weights or a base model; may be given again. Left "
        "out: base and final",
    )
    parser.add_argument("--seeds", type=given_file, metavar="FILE", help="seeds file; left out, the held-out ones")
    parser.add_argument("--limit", type=int, metavar="N", help="number of seeds taken from --seeds")
    parser.add_argument("--dialogues", type=int, metavar="N", help="dialogues on each seed; left out, the run's")
    parser.add_argument("--solve-samples", type=int, metavar="K", help="answers sampled for the student's solve rates")
    parser.add_argument(
        "--judge",
        type=os.path.expanduser,
        metavar="MODEL",
        help="model that is asked whether the answer was given away",
    )
    parser.add_argument("--all", action="store_true", help="print every measure, not only the ten that say most")
    parser.add_argument("--out", type=given_file, metavar="FILE", help="write measures and dialogues as JSON too")
    add_options(parser, "base_url", "files", "code")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Plays, and prints the table."""
    from socratic_distill.cli.played import PlayedDialogues
    from socratic_distill.dialogues.seeds import load_seeds
    from socratic_distill.evaluation import compare, comparison_table, difference_table
    from socratic_distill.files.durable import write_atomically
    from socratic_distill.outputs.display.console import TextConsole
    from socratic_distill.run.directory import config_of

    if parsed.limit is not None and parsed.seeds is None:
        raise ConfigError(f"--limit {parsed.limit} has no --seeds to apply to; give a seeds file with it")
    if parsed.out is not None and parsed.out.is_dir():
        raise ConfigError(f"--out {parsed.out} is a directory; expected the file to write")
    config, changes = config_of(parsed.log_path, **allowed(parsed)), dict[str, Any]()
    if parsed.dialogues is not None:
        changes["eval_dialogues_per_seed"] = parsed.dialogues
    if parsed.solve_samples is not None:
        changes["eval_solve_samples"] = parsed.solve_samples
    if parsed.judge is not None:
        changes["judge"] = {"model_name": parsed.judge}
    config = type(config)(**(dict(config) | changes)).granted(with_named(config.grant, parsed))
    seeds = None if parsed.seeds is None else load_seeds(parsed.seeds, parsed.limit)
    with PlayedDialogues(TextConsole(stderr=True)) as progress:
        evaluations = compare(config, parsed.tutor or ["base", "final"], seeds=seeds, progress=progress)
    console, measures = table_console(), {name: evaluation.measures for name, evaluation in evaluations.items()}
    width = console.width if console.is_terminal else None
    console.print(comparison_table(measures, every=parsed.all, width=width))
    first, *others = evaluations
    for other in others:
        table = difference_table(
            evaluations.differences(first, other), every=parsed.all, title=f"{other} minus {first}"
        )
        console.print(table)
    if parsed.out is not None:
        rows = {name: evaluation.row() for name, evaluation in evaluations.items()}
        write_atomically(parsed.out, json.dumps(rows) + "\n")
    return 0
