"""The checkpoints of a run as rows, for people and for programs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_writer import warn_of_damage
from socratic_distill.run.layout import journal_file, read_origin
from socratic_distill.run.record import CheckpointRecord


def checkpoint_rows(log_path: Path, now: datetime) -> list[dict[str, Any]]:
    """The checkpoints in the order of their records, each once.

    A row holds the keys of its record, and `age_seconds` (null where the record has no time), `expired`,
    `deleted`, `superseded`, and `origin`: "saved", "adopted" (found on the service) or "other tool".

    Raises:
        JournalError: the journal cannot be read.
    """
    path = journal_file(log_path)
    journal = Journal.read(path)
    warn_of_damage(path, journal)
    rows: dict[str, dict[str, Any]] = {}
    for record, superseded in journal.lineage():
        if not record.paths:
            continue
        for named in record.paths:  # a line that names a path again says the last word on it
            rows.pop(named, None)
        rows[record.paths[0]] = {
            **record.model_dump(mode="json", exclude_none=True),
            "age_seconds": (now - record.created_at).total_seconds() if record.created_at else None,
            "expired": record.expires_at is not None and record.expires_at <= now,
            "deleted": all(named in journal.deleted for named in record.paths),
            "superseded": superseded,
            "origin": _origin(record),
        }
    return list(rows.values())


def checkpoint_summary(log_path: Path) -> dict[str, Any]:
    """Everything that `checkpoints --json` prints: the run's directory, its origin, and the rows."""
    origin = read_origin(log_path)
    return {
        "log_path": str(log_path),
        "origin": None if origin is None else {"given": origin.given, "resolved": origin.resolved},
        "checkpoints": checkpoint_rows(log_path, datetime.now(UTC)),
    }


def checkpoint_table(summary: dict[str, Any]) -> Table:
    """The summary as a table; paths without the part that all of them share, the run's directory."""
    origin = summary["origin"]
    began = "of unknown origin" if origin is None else f"begun from {origin['resolved'] or 'a fresh LoRA'}"
    # As `Text`: in a plain string rich reads brackets as markup and `:words:` as emoji, and paths may hold both.
    table = Table(title=Text(f"{summary['log_path']}, {began}"), box=SIMPLE, title_justify="left")
    for column in ("batch", "kind", "state", "sampler", "age", "expiry", "superseded", "origin"):
        is_path = column in ("state", "sampler")
        justify = "right" if column in ("batch", "age") else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=not is_path)
    for row in summary["checkpoints"]:
        table.add_row(
            str(row.get("batch", "?")),
            row.get("kind", ""),
            Text(_short(row.get("state_path", ""))),
            Text(_short(row.get("sampler_path", ""))),
            age(row["age_seconds"]),
            _expiry(row),
            "superseded" if row["superseded"] else "",
            row["origin"],
        )
    return table


def _short(path: str) -> str:
    return path if path.startswith("tinker://") else "/".join(Path(path).parts[-3:])


def _origin(record: CheckpointRecord) -> str:
    if record.adopted:
        return "adopted"
    return "other tool" if record.kind is None else "saved"


def _expiry(row: dict[str, Any]) -> str:
    if row["deleted"]:
        return "deleted"
    if row["expired"]:
        return "expired"
    if "expires_at" in row:
        return f"{datetime.fromisoformat(row['expires_at']):%Y-%m-%d %H:%M} UTC"
    return "" if row["origin"] == "other tool" else "never"


def age(seconds: float | None) -> str:
    """How long ago something was, as `3 h`; empty if that is unknown."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
