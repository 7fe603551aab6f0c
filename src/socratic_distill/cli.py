"""The command line: parses, and calls the library.

Exit codes: 0 done, 1 an error of this library, 2 wrong usage, 130 or 143 stopped by a signal.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from socratic_distill.errors import ConfigError, RunInterrupted, SocraticError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.command(parsed)
    except SocraticError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, RunInterrupted) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="socratic-distill", description="Train a small model to tutor.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    chat = commands.add_parser("chat", help="talk to the trained tutor of a run; you are the student")
    chat.add_argument("log_path", help="directory of the run")
    chat.add_argument("--question", help="the problem to talk about; left out, the run's first seed")
    chat.set_defaults(command=_chat)
    checkpoints = commands.add_parser("checkpoints", help="list, prune or rebuild the checkpoints of a run")
    checkpoints.add_argument("log_path", type=Path, help="directory of the run")
    checkpoints.add_argument(
        "action",
        nargs="?",
        choices=["list", "prune", "rebuild"],
        default="list",
        help="list (the default); prune: delete superseded and surplus checkpoints on the service; rebuild: record "
        "again what the service holds",
    )
    checkpoints.add_argument("--json", action="store_true", help="list for programs")
    checkpoints.add_argument("--yes", action="store_true", help="prune without asking")
    checkpoints.add_argument("--server-run", action="append", help="rebuild from this server run; may be given again")
    checkpoints.set_defaults(command=_checkpoints)
    timeline = commands.add_parser("timeline", help="draw a step of a run as a Gantt chart (SVG)")
    timeline.add_argument("log_path", type=Path, help="directory of the run")
    timeline.add_argument("--step", type=int, help="which one; left out, the last")
    timeline.add_argument("--out", type=Path, help="file to write; left out, timeline-<step>.svg in the directory")
    timeline.set_defaults(command=_timeline)
    export = commands.add_parser("export", help="write the tutor of a local run as a plain transformers model")
    export.add_argument("source", type=Path, help="directory of the run, or of saved weights")
    export.add_argument("--merge", type=Path, required=True, metavar="OUT", help="directory to write")
    export.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="of what is written; auto: as the base model is stored",
    )
    export.add_argument("--trust-remote-code", action="store_true", help="let code among the model's files run")
    export.set_defaults(command=_export)
    return parser


def _export(parsed: argparse.Namespace) -> int:
    from socratic_distill.export import export_merged

    merged = export_merged(parsed.source, parsed.merge, parsed.dtype, parsed.trust_remote_code)
    print(f"{merged}, merged into its base model, is in {parsed.merge}")
    return 0


def _chat(parsed: argparse.Namespace) -> int:
    from socratic_distill.chat import chat

    chat(parsed.log_path, question=parsed.question)
    return 0


def _timeline(parsed: argparse.Namespace) -> int:
    from socratic_distill.files import write_atomically
    from socratic_distill.gantt import gantt, read_step

    row, dialogues = read_step(parsed.log_path, parsed.step)
    out = parsed.out or parsed.log_path / f"timeline-{row['step']:06d}.svg"
    if out.is_dir():
        raise ConfigError(f"--out {out} is a directory; expected the file to write")
    write_atomically(out, gantt(row, dialogues))
    print(out)
    return 0


def _checkpoints(parsed: argparse.Namespace) -> int:
    if not parsed.log_path.is_dir():
        raise ConfigError(f"{parsed.log_path} is no directory; expected the log_path of a run")
    if not any((parsed.log_path / name).exists() for name in ("checkpoints.jsonl", "config.json")):
        raise ConfigError(f"{parsed.log_path} holds no run; expected the log_path of a run")
    return {"list": _list, "prune": _prune, "rebuild": _rebuild}[parsed.action](parsed)


def _list(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from socratic_distill.listing import checkpoint_summary, checkpoint_table

    summary = checkpoint_summary(parsed.log_path)
    if parsed.json:
        print(json.dumps(summary, indent=2))
    else:
        console = Console()
        # Paths are there to be copied: in a file or a pipe they are never broken over lines.
        wide = console if console.is_terminal else Console(width=300)
        wide.print(checkpoint_table(summary))
    return 0


def _prune(parsed: argparse.Namespace) -> int:
    from socratic_distill.blocking import run_blocking
    from socratic_distill.journal import Journal
    from socratic_distill.pruning import delete, find_surplus
    from socratic_distill.run import RunDirectory

    rest = _open_rest(parsed.log_path)
    with RunDirectory(parsed.log_path) as run:
        journal = run.checkpoints
        surplus = run_blocking(lambda: find_surplus(Journal.read(journal.path), rest), "find_surplus")
        for one in surplus:
            print(f"{one.path}  (batch {one.record.batch}, {one.reason})")
        if not surplus:
            print("nothing to delete")
        elif parsed.yes or _agreed(f"Delete these {len(surplus)} checkpoints on the service? [y/N] "):
            run_blocking(lambda: delete(journal, rest, surplus), "delete")
            print(f"deleted {len(surplus)}")
        else:
            print("nothing was deleted")
    return 0


def _rebuild(parsed: argparse.Namespace) -> int:
    from socratic_distill.checkpoints import CheckpointManager

    added = CheckpointManager(parsed.log_path).rebuild(_open_rest(parsed.log_path), parsed.server_run)
    print(f"recorded {added} checkpoints")
    return 0


def _open_rest(log_path: Path) -> object:
    from socratic_distill.run import load_config
    from socratic_distill.service import open_service

    # The directory may have been moved since; a local engine's weights are in it.
    return open_service(load_config(log_path).model_copy(update={"log_path": str(log_path)})).rest


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
