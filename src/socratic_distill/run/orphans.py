"""Saves that the service holds and the journal lacks: found, and adopted.

A process that dies between the service's save and its record leaves one. Every save carries the run's id and
its batch as `user_metadata`; where a server does not keep those, the name of the save says the batch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from socratic_distill.errors import StartError
from socratic_distill.files.rows import read_rows, whole
from socratic_distill.run.identity import read_identity
from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_writer import JournalWriter
from socratic_distill.run.layout import METRICS, SERVER_RUNS
from socratic_distill.run.record import CheckpointRecord, Kind
from socratic_distill.run.rollback import next_step
from socratic_distill.service.failures import failure, is_missing
from socratic_distill.service.interface import RestClient
from socratic_distill.service.paths import spellings
from socratic_distill.text import get_logger

if TYPE_CHECKING:
    from tinker import Checkpoint

_log = get_logger(__name__)


_NAME = re.compile(r"(\d{6,})(?:-\d+)?")
_PAGE = 100


@dataclass(frozen=True)
class ServerRun:
    """A training client's life on the service, as the run directory names it.

    Attributes:
        id: its id.
        began: batch that it began at.
        until: batch that the next one in the run's lineage began at: later ones of this one were abandoned.
            None for the last one.
    """

    id: str
    began: int
    until: int | None = None


@dataclass(frozen=True)
class Found:
    """A save on the service.

    Attributes:
        server_run: where it was saved.
        record: what the journal would say of it.
        began: the batch that its training client began at; None if it does not say.
    """

    server_run: str
    record: CheckpointRecord
    began: int | None


def server_runs_of(directory: Path) -> list[ServerRun]:
    """The server runs that a run directory names, in order; none where it names none.

    Raises:
        StorageError: the file that names them cannot be read.
    """
    began: dict[str, int] = {}
    for row in read_rows(directory / SERVER_RUNS):
        server_run, batch = row.get("server_run"), whole(row.get("batch"))
        if isinstance(server_run, str) and batch is not None and batch >= 0:
            began[server_run] = batch
        else:
            _log.warning("%s: skipped a row that names no server run: %.80r", directory / SERVER_RUNS, row)
    return in_lineage(began)


def in_lineage(began: Mapping[str, int]) -> list[ServerRun]:
    """Server runs, in order, each with the batch up to which it belongs to the run's lineage."""
    runs, until = [], None
    for server_run, batch in reversed(list(began.items())):
        runs.append(ServerRun(server_run, batch, until))
        until = batch if until is None else min(until, batch)
    return runs[::-1]


async def adopt_orphans(journal: JournalWriter, rest: RestClient, ids: Set[str]) -> list[CheckpointRecord]:
    """Records the states that the service lists for the run's server runs and the journal lacks.

    Args:
        journal: the run's.
        rest: a Tinker REST client.
        ids: of the run, and of those that it was copied from: only their saves count, and those without an id.

    Raises:
        ServiceError: the service cannot be asked; going on without might abandon what it holds.
    """
    directory = journal.path.parent
    runs = [run for run in server_runs_of(directory) if run.until is None or run.until > run.began]
    saves = [save for run in runs for save in await _list(rest, run.id, ids)]
    states = [save for save in saves if save.record.state_path is not None]
    return _record_missing(journal, states, runs, next_step(directory / METRICS) or 0)


async def rebuild_journal(journal: JournalWriter, rest: RestClient, server_runs: Sequence[str] | None) -> int:
    """Records states and sampler weights that the service holds and the journal lacks; how many.

    Raises:
        ServiceError: the service cannot be asked.
        StartError: neither server runs nor the run's id are known.
    """
    directory = journal.path.parent
    identity, named = read_identity(directory), server_runs_of(directory)
    lineage = identity.lineage if identity is not None else None
    ids = list(dict.fromkeys(server_runs)) if server_runs is not None else [run.id for run in named]
    if ids:
        saves = [save for server_run in ids for save in await _list(rest, server_run, lineage)]
    elif identity is not None:
        saves = await _page(rest, identity.owned)
    else:
        raise StartError(
            f"{directory} names neither server runs nor the run's id; pass the ids of its server runs, the first "
            "part of its tinker:// paths"
        )
    # The directory names its runs in order; those that it lost came before them, in the order of their first saves.
    known = {run.id: run.began for run in named}
    others = {save.server_run: _began(save.server_run, saves) for save in sorted(saves, key=_saved_at)}
    runs = in_lineage({run: batch for run, batch in others.items() if run not in known} | known)
    return len(_record_missing(journal, saves, runs, next_step(directory / METRICS)))


def _record_missing(
    journal: JournalWriter, saves: Sequence[Found], runs: Sequence[ServerRun], done: int | None
) -> list[CheckpointRecord]:
    """Records what the journal lacks and the run can use, in order of batch.

    Rows of a step are on disk before its state is saved; a save ahead of the rows is not of this lineage.

    Args:
        journal: gets the records.
        saves: what the service holds.
        runs: the server runs of the lineage.
        done: the number of steps with rows; None if unknown.
    """
    known = Journal.read(journal.path).known(way for save in saves for way in _spellings(save))
    known |= _known_elsewhere(journal, saves)
    until = {run.id: run.until for run in runs}
    missing = []
    for save in saves:
        batch, limit = save.record.batch, until.get(save.server_run, 0)
        in_window = batch is not None and (limit is None or batch <= limit) and (done is None or batch <= done)
        if in_window and not known.intersection(_spellings(save)):
            missing.append(save.record)
    for record in sorted(missing, key=lambda record: (record.batch or 0, str(record.created_at))):
        _log.warning("adopted %s, saved before batch %s: it had no record", *record.paths, record.batch)
        journal.append(record)
    return missing


def _known_elsewhere(journal: JournalWriter, saves: Sequence[Found]) -> set[str]:
    """Paths of the local engine's saves that the journal names as they were before the directory moved."""
    local = {path: Path(path).parts[-3:] for save in saves for path in save.record.paths if "://" not in path}
    if not local:
        return set()
    named = {Path(path).parts[-3:] for record in journal.records for path in record.paths}
    return {path for path, parts in local.items() if parts in named}


def _spellings(save: Found) -> set[str]:
    return {way for path in save.record.paths for way in spellings(path)}


async def _list(rest: RestClient, server_run: str, ids: Set[str] | None) -> list[Found]:
    """The saves of a server run that are, or may be, of some runs; none if the service no longer knows it."""
    try:
        listed = await rest.list_checkpoints(server_run)
    except Exception as error:
        if is_missing(error):
            return []
        raise failure(f"listing the saves of {server_run}", error) from error
    saves = (_found(checkpoint) for checkpoint in listed.checkpoints)
    return [save for save in saves if save is not None and (ids is None or _run_id_of(save) in {None, *ids})]


async def _page(rest: RestClient, ids: Set[str]) -> list[Found]:
    """All saves of the user that carry one of some runs' ids, the oldest first."""
    checkpoints, offset = [], 0
    while True:
        try:
            page = await rest.list_user_checkpoints(limit=_PAGE, offset=offset)
        except Exception as error:
            raise failure("listing the user's saves", error) from error
        checkpoints += page.checkpoints
        offset += _PAGE
        total = page.cursor.total_count if page.cursor is not None else None
        if not page.checkpoints or (offset >= total if total is not None else len(page.checkpoints) < _PAGE):
            break
    saves = [_found(checkpoint) for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.time)]
    return [save for save in saves if save is not None and _run_id_of(save) in ids]


def _found(checkpoint: "Checkpoint") -> Found | None:
    """A listed checkpoint as a record; None if it does not say its batch."""
    facts = checkpoint.user_metadata or {}
    name = Path(checkpoint.tinker_path).name
    match = _NAME.fullmatch(name)
    batch = _int(facts.get("batch")) if "batch" in facts else _int(match[1] if match else None)
    if batch is None or checkpoint.checkpoint_type not in ("training", "sampler"):
        return None
    is_state = checkpoint.checkpoint_type == "training"
    kind = facts.get("kind")
    record = CheckpointRecord.model_validate(
        {
            "name": name,
            "batch": batch,
            "state_path" if is_state else "sampler_path": checkpoint.tinker_path,
            "final": True if kind == "final" else None,
            "version": _int(facts.get("version")),
            "kind": kind if kind in get_args(Kind) else ("periodic" if is_state else "sampler"),
            "created_at": checkpoint.time,
            "expires_at": checkpoint.expires_at,
            "config_digest": facts.get("config_digest"),
            "adopted": True,
            **({"run_id": facts["run_id"]} if "run_id" in facts else {}),
        }
    )
    return Found(_server_run(checkpoint.tinker_path), record, _int(facts.get("began")))


def _saved_at(save: Found) -> str:
    return str(save.record.created_at)


def _began(server_run: str, saves: Iterable[Found]) -> int:
    """The batch that a server run began at: as its saves say, else that of the first, since a start saves at once."""
    own = [save for save in saves if save.server_run == server_run]
    return next((save.began for save in own if save.began is not None), min(save.record.batch or 0 for save in own))


def _run_id_of(save: Found) -> str | None:
    return (save.record.model_extra or {}).get("run_id")


def _server_run(path: str) -> str:
    """`tinker://<server run>/…`, or a local engine's `…/<server run>/weights/<name>`."""
    return path.removeprefix("tinker://").split("/")[0] if path.startswith("tinker://") else Path(path).parts[-3]


def _int(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text) else None
