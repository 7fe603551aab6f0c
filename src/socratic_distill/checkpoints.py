"""The journal of a run's saves, `checkpoints.jsonl`, one JSON object a line.

The file is one that tinker-cookbook reads and writes too: `name`, `batch`, `state_path`, `sampler_path`,
optionally `epoch` and `final`; keys that one side does not know survive.
"""

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from socratic_distill.errors import JournalError

JOURNAL = "checkpoints.jsonl"
_log = logging.getLogger(__name__)


class CheckpointRecord(BaseModel):
    """One line of the journal.

    Attributes:
        name: name of the save on the service.
        batch: next batch to run from here; None where another tool left it out.
        state_path: training state, weights and optimizer; None for a save of sampler weights alone.
        sampler_path: weights to sample from; None for a save of a state alone.
        epoch: as tinker-cookbook writes it; None elsewhere.
        final: whether the run ended here.
        version: optimizer steps behind the weights; None where another tool wrote the record.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    batch: int | None = None
    state_path: str | None = None
    sampler_path: str | None = None
    epoch: int | None = None
    final: bool | None = None
    version: int | None = None

    @property
    def resumable(self) -> bool:
        """Whether a run can continue from here: a state, and the batch to go on with."""
        return self.state_path is not None and self.batch is not None

    def to_line(self) -> str:
        """The record as one line of JSON, unset keys left out."""
        return json.dumps(self.model_dump(exclude_none=True)) + "\n"


@dataclass(frozen=True)
class Journal:
    """What a journal file holds.

    Attributes:
        records: its good records, in order.
        bad_lines: number of whole lines that are no records. A last line without its newline that is
            none is not counted: a crash in the middle of an append leaves one, and loses nothing else.
    """

    records: tuple[CheckpointRecord, ...]
    bad_lines: int = 0


def load_checkpoints(log_path: str | os.PathLike[str]) -> list[CheckpointRecord]:
    """The records of a run directory, or of a journal file, oldest first; none where there is no file.

    Bad lines are skipped with a warning that names them.
    """
    return list(read_journal(journal_file(log_path)).records)


def journal_file(log_path: str | os.PathLike[str]) -> Path:
    """The journal of a run directory; a path that names a `.jsonl` file is taken as it is."""
    path = Path(log_path)
    return path if path.suffix == ".jsonl" else path / JOURNAL


def read_journal(path: Path) -> Journal:
    """Reads a journal; a missing file is an empty one.

    Raises:
        JournalError: the file cannot be read at all.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Journal(())
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error}") from error
    records, bad = [], []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                records.append(parse_line(line))
            except ValueError as error:
                bad.append((number, str(error)))
    if bad:
        _log.warning("%s: skipped %s", path, "; ".join(f"line {number} ({why})" for number, why in bad))
    return Journal(tuple(records), sum(number < len(lines) for number, _ in bad))


def parse_line(line: bytes) -> CheckpointRecord:
    """One record.

    Raises:
        ValueError: the line is no JSON object with a `name`, or a known key has a value of another type.
    """
    try:
        value: Any = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    try:
        return CheckpointRecord.model_validate(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"key {key!r}: {first['msg'].lower()}") from None


def newest_state(records: Iterable[CheckpointRecord]) -> CheckpointRecord | None:
    """The resumable record of the highest batch, the later line of two equal ones.

    By batch and not by line: a slow save may be confirmed, and so recorded, after a newer one.
    """
    newest = None
    for record in records:
        if record.resumable and (newest is None or (record.batch or 0) >= (newest.batch or 0)):
            newest = record
    return newest


class CheckpointManager:
    """The journal of one run, open for appending.

    Each record is flushed and synced to disk before `append` returns. A last line that a crash tore
    is moved to `checkpoints.jsonl.damaged` when the manager opens, so that the next record stands on a
    line of its own.
    """

    def __init__(self, log_path: str | os.PathLike[str]) -> None:
        self.path = journal_file(log_path)
        self._set_torn_tail_aside()
        self._records = list(read_journal(self.path).records)

    @property
    def records(self) -> tuple[CheckpointRecord, ...]:
        """All good records, oldest first."""
        return tuple(self._records)

    def append(self, record: CheckpointRecord) -> None:
        """Adds a record, durably."""
        append_durably(self.path, record.to_line())
        self._records.append(record)

    def _set_torn_tail_aside(self) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        start = data.rfind(b"\n") + 1
        tail = data[start:]
        if not tail:
            return
        try:
            parse_line(tail)
        except ValueError:
            append_durably(self.path.with_name(self.path.name + ".damaged"), tail + b"\n")
            os.truncate(self.path, start)
            _log.warning("%s: a torn last line, at byte %d, was set aside", self.path, start)
        else:  # only its newline was lost
            append_durably(self.path, "\n")


def append_durably(path: Path, text: str | bytes) -> None:
    """Appends to a file and returns once it is on disk, its directory entry included."""
    is_new = not path.exists()
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Syncs a directory, so that files made or replaced in it survive a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
