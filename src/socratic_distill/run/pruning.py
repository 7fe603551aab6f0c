"""Deleting checkpoints on the service that a run has no use for any more."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from socratic_distill.errors import SocraticError
from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_writer import JournalWriter
from socratic_distill.run.ownership import Ownership
from socratic_distill.run.record import CheckpointRecord, deletion
from socratic_distill.run.start import why_unusable
from socratic_distill.service.connect import GONE, is_gone
from socratic_distill.service.failures import failure, is_missing, status_of
from socratic_distill.service.interface import RestClient
from socratic_distill.service.paths import full_path

_KEPT = ("periodic", "final", None)  # None: other tools keep what they record


@dataclass(frozen=True)
class Surplus:
    """A checkpoint that can go.

    Attributes:
        record: a record that names it.
        path: where it is.
        reason: why the run has no use for it.
    """

    record: CheckpointRecord
    path: str
    reason: str


async def find_surplus(journal: Journal, rest: RestClient, spoilt_step: int | None = None) -> list[Surplus]:
    """What can be deleted: checkpoints of superseded batches, and those that only served until a newer one was there.

    Never among them: the newest state that the service still has, kept states, the final checkpoints, the newest
    sampler weights, and sampler weights of a batch whose state is kept. Without any usable state, nothing.

    Args:
        journal: the run's records.
        rest: a Tinker REST client.
        spoilt_step: the first step whose figures were not finite; states saved after it are not usable.

    Raises:
        ServiceError: the service failed a call.
    """
    now, unusable = datetime.now(UTC), dict[str, str]()
    while (newest := journal.newest_state(lambda record: why_unusable(record, unusable, now, spoilt_step))) is not None:
        assert newest.state_path is not None
        if not await is_gone(rest, newest.state_path):
            return select_surplus(journal, newest, now)
        unusable[newest.state_path] = GONE
    return []


def select_surplus(journal: Journal, newest: CheckpointRecord, now: datetime) -> list[Surplus]:
    """`find_surplus` without asking: `newest` is the newest usable state."""
    lineage = journal.lineage()
    current = [record for record, superseded in lineage if not superseded]
    samplers = [record for record in current if record.sampler_path]
    last_sampler = max((record.batch or 0 for record in samplers), default=0)
    kept_batches = {record.batch for record in current if record.state_path and record.kind in _KEPT}
    kept_paths = {newest.state_path, *newest.paths}
    reasons: dict[str, Surplus] = {}
    for record, superseded in lineage:
        batch, is_final = record.batch or 0, record.final or record.kind == "final"
        for path in record.paths:
            if superseded:
                reasons.setdefault(path, Surplus(record, path, "superseded"))
                continue
            is_state = path == record.state_path
            if is_final or (is_state and (record.kind in _KEPT or batch >= (newest.batch or 0))):
                kept_paths.add(path)
            elif is_state:
                reasons[path] = Surplus(record, path, "older than the newest state")
            elif record.kind == "sampler" and batch < last_sampler and record.batch not in kept_batches:
                reasons[path] = Surplus(record, path, "older than the newest sampler weights")
            else:
                kept_paths.add(path)
    gone = kept_paths | journal.deleted
    return [
        reason
        for path, reason in reasons.items()
        if path not in gone and (reason.record.expires_at is None or reason.record.expires_at > now)
    ]


async def sort_by_owner(
    surplus: Sequence[Surplus], ownership: Ownership, rest: RestClient
) -> tuple[list[Surplus], list[Surplus]]:
    """The checkpoints that the run directory saved itself or that are gone, and those that it may not delete.

    Raises:
        ServiceError: the service failed a call.
    """
    own, others = [], []
    for save in surplus:
        is_own = await ownership.owns(save.path) or await _is_nowhere(rest, save.path)
        (own if is_own else others).append(save)
    return own, others


async def _is_nowhere(rest: RestClient, path: str) -> bool:
    """Whether there is nothing to delete at a path; the local engine does not answer for other directories."""
    if "://" not in path:
        return not os.path.lexists(path)
    try:
        return await is_gone(rest, full_path(path))
    except SocraticError as error:
        # SkyRL refuses to look up sampler weights by their path. They may exist, so they are left alone.
        if isinstance(error.__cause__, Exception) and status_of(error.__cause__) == 400:
            return False
        raise


async def delete(journal: JournalWriter, rest: RestClient, surplus: Sequence[Surplus]) -> None:
    """Deletes a run's own checkpoints and records each deletion; one that the service lacks already counts as deleted.

    Raises:
        ServiceError: the service failed a call; what was deleted before it is recorded.
    """
    for save in surplus:
        try:
            await rest.delete_checkpoint_from_tinker_path(full_path(save.path))
        except Exception as error:
            if not is_missing(error):
                raise failure(f"deleting {save.path}", error) from error
        journal.append(deletion(save.record, save.path))
