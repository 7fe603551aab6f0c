"""`timeline`: a step of a run as a Gantt chart."""

import argparse
from typing import TYPE_CHECKING

from socratic_distill.config.log_path import given_file, given_path, is_url
from socratic_distill.errors import ConfigError
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser("timeline", help="draw a step of a run as a Gantt chart (SVG)")
    parser.add_argument("log_path", type=given_path, help="directory of the run, or its URL")
    parser.add_argument("--step", type=int, help="which one; left out, the last")
    parser.add_argument("--out", type=given_file, help="file to write; left out, timeline-<step>.svg in the directory")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Writes the chart and prints its path."""
    from socratic_distill.files.durable import write_atomically
    from socratic_distill.outputs.gantt import gantt, read_step
    from socratic_distill.run.cloud.reading import readable

    if parsed.out is None and is_url(parsed.log_path):
        raise ConfigError(f"{parsed.log_path} is in a store, where only its run writes; give --out, the file to write")
    row, dialogues = read_step(readable(parsed.log_path), parsed.step)
    out = parsed.out or parsed.log_path / f"timeline-{row['step']:06d}.svg"
    if out.is_dir():
        raise ConfigError(f"--out {out} is a directory; expected the file to write")
    write_atomically(out, gantt(row, dialogues))
    show(out)
    return 0
