"""What a run began from, how it went on, and what it saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from socratic_distill.errors import JournalError
from socratic_distill.outputs.report.reading import RunFiles
from socratic_distill.run.journal import Journal
from socratic_distill.run.layout import journal_file
from socratic_distill.run.record import CheckpointRecord

_MOST_ROWS = 200


@dataclass(frozen=True)
class Lineage:
    """The journal of a run in short.

    Attributes:
        resumed: batches that it resumed at, in order.
        status: "complete", "interrupted" or "not finished", by the journal.
        states: its training states and what ended it, oldest first, as rows of a table; the newest of very many.
        states_of: how many there are.
        samplers: how many saves there are of sampler weights alone.
    """

    resumed: tuple[int | None, ...] = ()
    status: str = "not finished"
    states: list[dict[str, Any]] = field(default_factory=list)
    states_of: int = 0
    samplers: int = 0


def read_lineage(run: RunFiles) -> Lineage:
    """Reads the journal; one that cannot be read is noted, and is as an empty one."""
    try:
        journal = Journal.read(journal_file(run.path))
    except JournalError as error:
        run.notes.append(f"{error}.")
        journal = Journal()
    lineage = journal.lineage()
    current = [record for record, superseded in lineage if not superseded]
    states = [_row(record, superseded, journal) for record, superseded in lineage if _is_state(record)]
    return Lineage(
        resumed=tuple(record.batch for record, _ in lineage if record.resumed_at is not None),
        status=_status(current),
        states=states[-_MOST_ROWS:],
        states_of=len(states),
        samplers=sum(bool(record.paths) and not _is_state(record) for record, _ in lineage),
    )


def began(origin: Mapping[str, Any] | None) -> str:
    """What a run began from, in words."""
    if origin is None:
        return "unknown: the directory holds no origin.json"
    given, resolved = origin.get("given"), origin.get("resolved")
    if not given:
        return "a fresh LoRA"
    return f"the weights of {resolved or given}" + (f", given as {given}" if resolved and resolved != given else "")


def lives(server_runs: Sequence[Mapping[str, Any]]) -> str:
    """The run's lives on the service, in words."""
    lines = [f"{run.get('server_run')} from batch {run.get('batch')}" for run in server_runs]
    return "; ".join(lines) or "none recorded"


def _is_state(record: CheckpointRecord) -> bool:
    return record.resumed_at is None and (record.state_path is not None or bool(record.final))


def _status(records: Sequence[CheckpointRecord]) -> str:
    saved = [record for record in records if _is_state(record)]
    if not saved:
        return "not finished"
    if saved[-1].final:
        return "complete"
    return "interrupted" if saved[-1].kind == "interrupted" else "not finished"


def _row(record: CheckpointRecord, superseded: bool, journal: Journal) -> dict[str, Any]:
    marks = {
        "final": record.final and record.kind != "final",
        "superseded": superseded,
        "found on the service": record.adopted,
        "deleted": any(path in journal.deleted for path in record.paths),
    }
    return {
        "batch": "?" if record.batch is None else record.batch,
        "kind": record.kind or "other tool",
        "state": record.state_path or "",
        "sampler": record.sampler_path or "",
        "saved": f"{record.created_at:%Y-%m-%d %H:%M} UTC" if record.created_at else "",
        "expires": f"{record.expires_at:%Y-%m-%d %H:%M} UTC" if record.expires_at else "",
        "marks": ", ".join(mark for mark, holds in marks.items() if holds),
    }
