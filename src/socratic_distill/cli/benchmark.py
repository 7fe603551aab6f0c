"""`benchmark`: a published suite on tutors of a run, or on its judge."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from socratic_distill.cli.options import add_options, allowed, with_named
from socratic_distill.cli.printing import help_of, table_console
from socratic_distill.config.log_path import given_file, given_path
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands
    from socratic_distill.config.config import SocraticConfig


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "benchmark",
        **help_of(
            "measure tutors of a run, or its judge, by a published suite",
            "benchmark runs/run-001 --suite mathtutorbench --data mathtutorbench",
            "benchmark runs/run-001 --suite gsm8k --data gsm8k.jsonl --tutor base --tutor final",
            "benchmark runs/run-001 --suite mrbench --data MRBench_V2.json --judge Qwen3-8B",
            "benchmark runs/run-001 --suite choices --data mmlu.jsonl --estimate",
        ),
    )
    parser.add_argument("log_path", type=given_path, help="directory of the run, or its URL")
    parser.add_argument(
        "--suite", required=True, metavar="SUITE", help="mathtutorbench, mrbench, gsm8k, choices or text"
    )
    parser.add_argument(
        "--data", type=given_file, required=True, metavar="PATH", help="the suite's files, as published"
    )
    parser.add_argument(
        "--tutor",
        type=os.path.expanduser,
        action="append",
        metavar="TUTOR",
        help="as for evaluate; may be given again. Left out: final",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="take only N rows of each file")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="length limit of a reply, if below the suite's")
    parser.add_argument(
        "--judge", type=os.path.expanduser, metavar="MODEL", help="model of the judge; left out, the run's"
    )
    parser.add_argument(
        "--reward-model", type=given_file, metavar="DIR", help="directory of MathTutorBench's reward model"
    )
    parser.add_argument("--estimate", action="store_true", help="only print what it would cost")
    add_options(parser, "base_url", "files", "code")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints the estimate, asks, and prints the table."""
    from socratic_distill.cli.played import PlayedDialogues
    from socratic_distill.cost.suites import estimate_benchmark
    from socratic_distill.evaluation.table import difference_table
    from socratic_distill.outputs.benchmarks import benchmark
    from socratic_distill.outputs.display.console import TextConsole
    from socratic_distill.run.directory import config_of

    config, tutors = _with_judge(config_of(parsed.log_path, **allowed(parsed)), parsed), parsed.tutor or ["final"]
    options = {"limit": parsed.limit, "max_tokens": parsed.max_tokens, "reward_model": parsed.reward_model}
    show(str(estimate_benchmark(config, parsed.suite, parsed.data, tutors, **options)))
    if parsed.estimate:
        return 0
    with PlayedDialogues(TextConsole(stderr=True), what="items") as progress:
        measured = benchmark(config, parsed.suite, parsed.data, tutors, progress=progress, **options)
    console = table_console()
    console.print(measured.table(console.width if console.is_terminal else None))
    asked = [name for name in tutors if name in measured.results]
    for other in asked[1:]:
        title = f"{other} minus {asked[0]}"
        console.print(difference_table(measured.differences(asked[0], other), every=True, title=title))
    for note in measured.notes:
        console.print(note, highlight=False, markup=False)
    return 0


def _with_judge(config: "SocraticConfig", parsed: argparse.Namespace) -> "SocraticConfig":
    """The config with the judge that the command line names."""
    grant = config.grant
    if parsed.judge is not None:
        changes: dict[str, Any] = {"judge": {"model_name": parsed.judge}}
        config = type(config)(**(dict(config) | changes))
    return config.granted(with_named(grant, parsed))
