"""Which of a run's saved weights an export takes: those of a named checkpoint, or the newest that can be taken."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from socratic_distill.errors import CheckpointNotFound
from socratic_distill.run.journal import Journal, rank
from socratic_distill.run.layout import journal_file
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.run.spoilt_rows import first_spoilt_step

_NAMED = 5


@dataclass(frozen=True)
class SavedTutor:
    """Weights of a run's tutor.

    Attributes:
        record: the line of the journal.
        path: of the weights: a training state on a service, or sampler weights or a state of the local engine.
    """

    record: CheckpointRecord
    path: str

    @property
    def is_local(self) -> bool:
        """Whether the local engine saved it."""
        return "://" not in self.path

    @property
    def when(self) -> str:
        """How far the run was, for messages."""
        batch, epoch = self.record.batch, self.record.epoch
        if batch is None:
            return "at an unknown step"
        return f"after {batch} {'step' if batch == 1 else 'steps'}" + (f" of epoch {epoch}" if epoch else "")


def saved_tutors(directory: Path, source: str | os.PathLike[str], name: str | None) -> list[SavedTutor]:
    """The weights that may be meant, the best first; one or more.

    Without a name they are those of the run as it went on: neither deleted, nor expired, nor saved after a step whose
    figures are not finite. A name is the user's own choice.

    Args:
        directory: of the run.
        source: the run as the user gave it, for messages.
        name: name of the checkpoint. None: the newest.

    Raises:
        CheckpointNotFound: there are none.
        JournalError: the journal cannot be read.
    """
    journal = Journal.read(journal_file(directory))
    if name is not None:
        return _named(journal, source, name)
    now, spoilt = datetime.now(UTC), first_spoilt_step(directory)
    current = [record for record, is_superseded in journal.lineage() if not is_superseded]
    alive = [record for record in current if record.expires_at is None or record.expires_at > now]
    good = [record for record in alive if spoilt is None or (record.batch or 0) <= spoilt]
    tutors = [tutor for record in reversed(good) for tutor in _tutors(record, journal.deleted)]
    if not tutors:
        raise CheckpointNotFound(f"{source} has no weights to export: {_why_none(current, good, spoilt)}")
    # Of one batch the later line comes first, and of one line the sampler weights.
    return sorted(tutors, key=lambda tutor: rank(tutor.record), reverse=True)


def newer_samplers(directory: Path, tutor: SavedTutor) -> CheckpointRecord | None:
    """The newest sampler weights on a service that are newer than a state; None if there are none."""
    current = [record for record, is_superseded in Journal.read(journal_file(directory)).lineage() if not is_superseded]
    samplers = [record for record in current if record.sampler_path and rank(record) > rank(tutor.record)]
    return max(samplers, key=rank, default=None)


def _named(journal: Journal, source: str | os.PathLike[str], name: str) -> list[SavedTutor]:
    records = [record for record in journal.records() if record.paths]
    named = [record for record in records if record.name == name]
    tutors = [tutor for record in reversed(named) for tutor in _tutors(record, journal.deleted)]
    if tutors:
        return tutors
    known = list(dict.fromkeys(record.name for record in reversed(records) if any(_tutors(record, journal.deleted))))
    others = f"; those that can be exported are {', '.join(known[:_NAMED])}" if known else ""
    others += f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    if not named:
        raise CheckpointNotFound(f"{source} has no checkpoint named {name!r}{others}")
    if all(path in journal.deleted for record in named for path in record.paths):
        raise CheckpointNotFound(f"the checkpoint {name!r} of {source} was deleted{others}")
    raise CheckpointNotFound(
        f"the checkpoint {name!r} of {source} has sampler weights alone, which the service does not give out: only "
        f"training states can be downloaded{others}"
    )


def _tutors(record: CheckpointRecord, deleted: frozenset[str]) -> Iterator[SavedTutor]:
    """What of a record can be exported, the better first."""
    if record.sampler_path is not None and "://" not in record.sampler_path and record.sampler_path not in deleted:
        yield SavedTutor(record, record.sampler_path)
    if record.state_path is not None and record.state_path not in deleted:
        yield SavedTutor(record, record.state_path)


def _why_none(current: list[CheckpointRecord], good: list[CheckpointRecord], spoilt: int | None) -> str:
    saved = [record for record in current if record.paths]
    if not saved:
        return "it saved none yet. Train first"
    if not any(record.paths for record in good):
        if spoilt is not None and any((record.batch or 0) > spoilt for record in saved):
            return (
                f"they may be damaged, since the figures of step {spoilt} are not finite. Name a checkpoint "
                "to export it anyway (--checkpoint, in Python name=…)"
            )
        return "all of them have expired"
    return (
        "it has sampler weights alone, which the service does not give out, or its training states were deleted. Train "
        "on with save_every or rolling_save_every set, so that training states are saved"
    )
