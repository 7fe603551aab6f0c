"""`checkpoints`: what a run saved, as a table; pruned, or recorded again."""

import argparse
import json
from typing import TYPE_CHECKING

from socratic_distill.cli.options import add_options, allowed
from socratic_distill.cli.printing import help_of, table_console
from socratic_distill.config.log_path import given_path
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands
    from socratic_distill.service.interface import RestClient


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "checkpoints",
        **help_of(
            "list, prune or rebuild the checkpoints of a run",
            "checkpoints runs/run-001",
            "checkpoints runs/run-001 --json",
            "checkpoints runs/run-001 prune",
            "checkpoints runs/run-001 rebuild",
        ),
    )
    parser.add_argument("log_path", type=given_path, help="directory of the run, or its URL")
    parser.add_argument(
        "action",
        nargs="?",
        choices=["list", "prune", "rebuild", "claim"],
        default="list",
        help="list (the default); prune: delete superseded and surplus checkpoints that the run saved; rebuild: record "
        "again what the service holds; claim: take over what a copy was copied from, once that is gone",
    )
    parser.add_argument("--json", action="store_true", help="list for programs")
    parser.add_argument("--yes", action="store_true", help="prune or claim without asking")
    parser.add_argument("--server-run", action="append", help="rebuild from this server run; may be given again")
    add_options(parser, "base_url")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Lists, prunes, rebuilds or claims."""
    from socratic_distill.run.cloud.reading import readable
    from socratic_distill.run.finding import check_run

    parsed.directory = readable(parsed.log_path)
    check_run(parsed.log_path, parsed.directory)
    return {"list": _list, "prune": _prune, "rebuild": _rebuild, "claim": _claim}[parsed.action](parsed)


def _list(parsed: argparse.Namespace) -> int:
    from socratic_distill.cli.journal_table import checkpoint_summary, checkpoint_table

    summary = checkpoint_summary(parsed.directory) | {"log_path": str(parsed.log_path)}
    if parsed.json:
        show(json.dumps(summary, indent=2))
    else:
        table_console().print(checkpoint_table(summary))
    return 0


def _prune(parsed: argparse.Namespace) -> int:
    from socratic_distill.local.saved_paths import present_path
    from socratic_distill.run.directory import RunDirectory
    from socratic_distill.run.journal import Journal
    from socratic_distill.run.ownership import Ownership
    from socratic_distill.run.pruning import delete, find_surplus, sort_by_owner
    from socratic_distill.run.spoilt_rows import first_spoilt_step
    from socratic_distill.service.waiting import run_blocking

    rest = _open_rest(parsed)
    with RunDirectory(parsed.log_path) as run:
        journal = run.checkpoints
        spoilt = first_spoilt_step(run.path)
        candidates = run_blocking(lambda: find_surplus(Journal.read(journal.path), rest, spoilt), "find_surplus")
        ownership = Ownership(run.path, run.identity, rest)
        surplus, others = run_blocking(lambda: sort_by_owner(candidates, ownership, rest), "sort_by_owner")
        for save in surplus:
            show(f"{present_path(run.path, save.path)}  (batch {save.record.batch}, {save.reason})")
        for save in others:
            show(f"{save.path}  (batch {save.record.batch}, not ours: this directory did not save it)")
        if others:
            show(
                f"{len(others)} are left alone; if the run that saved them is gone, `checkpoints RUN claim` takes them"
            )
        if not surplus:
            show("nothing to delete")
        elif parsed.yes or _agreed(f"Delete these {len(surplus)} checkpoints on the service? [y/N] "):
            run_blocking(lambda: delete(journal, rest, surplus), "delete")
            show(f"deleted {len(surplus)}")
        else:
            show("nothing was deleted")
    return 0


def _rebuild(parsed: argparse.Namespace) -> int:
    from socratic_distill.run.checkpoints import CheckpointManager

    added = CheckpointManager(parsed.log_path).rebuild(_open_rest(parsed), parsed.server_run)
    show(f"recorded {added} checkpoints")
    return 0


def _claim(parsed: argparse.Namespace) -> int:
    from socratic_distill.run.directory import RunDirectory
    from socratic_distill.run.identity import claim
    from socratic_distill.run.orphans import server_runs_of

    with RunDirectory(parsed.log_path) as run:
        identity = claim(run.path, run.url, [server_run.id for server_run in server_runs_of(run.path)])
        show(f"{parsed.log_path} takes over the saves of {', '.join((identity.run_id, *identity.claimed))}.")
        show("From then on pruning and training here may delete them. Another directory that needs them would break.")
        if not parsed.yes and not _agreed("Are the directories that this one was copied from gone? [y/N] "):
            show("nothing was claimed")
            return 0
        run.check()
        identity.write(run.path)
        show("claimed")
    return 0


def _open_rest(parsed: argparse.Namespace) -> "RestClient":
    from socratic_distill.run.directory import config_of
    from socratic_distill.service.connect import open_service

    rest = open_service(config_of(parsed.log_path, **allowed(parsed))).rest
    assert rest is not None, "only a service that a caller gave may lack one"
    return rest


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False
