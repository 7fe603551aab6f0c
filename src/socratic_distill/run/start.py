"""What a run begins from, decided before anything is touched.

| `log_path` | `load_checkpoint_path` | result |
|---|---|---|
| holds a resumable checkpoint | not set | `Resume` |
| holds none | not set | `FreshStart` |
| holds none | set | `LoadCheckpoint` |
| holds one | set, the same this run began from | `Resume` |
| holds one | set, another | `CheckpointConflict` |
| holds one, of unknown origin | set | `Resume`, with a warning |
| holds states, none usable (expired, gone, deleted, damaged, without a batch) | either | `NoUsableCheckpoint` |
| journal unreadable though the run has history | either | `JournalError` |
| holds one, of a run that the config no longer means | either | `ConfigDrift` |
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from socratic_distill.errors import CheckpointConflict, ConfigDrift, JournalError, NoUsableCheckpoint
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.drift import Change, describe_drift
from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_lines import bad_lines
from socratic_distill.run.layout import JOURNAL, METRICS, ORIGIN, Origin, journal_file, read_origin
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.run.spoilt_rows import first_spoilt_step
from socratic_distill.run.state_paths import resolve_state_path
from socratic_distill.text import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True)
class Resume:
    """Continue this run, weights and optimizer.

    Attributes:
        state_path: the training state to go on from.
        batch: the next batch to run.
        record: the journal's line about that state.
    """

    state_path: str
    batch: int
    record: CheckpointRecord


@dataclass(frozen=True)
class FreshStart:
    """Begin with a fresh LoRA at batch 0."""


@dataclass(frozen=True)
class LoadCheckpoint:
    """Begin with the weights of a state, a fresh optimizer, at batch 0.

    Attributes:
        state_path: the training state to load.
    """

    state_path: str


Start = Resume | FreshStart | LoadCheckpoint


@dataclass(frozen=True)
class History:
    """What a run directory says about its run that a start depends on.

    Attributes:
        journal: its records.
        has_metrics: whether a step was ever done here.
        origin: what the run began from; None where nothing tells.
        log_path: the directory, for error messages.
        spoilt_step: the first step whose figures were not finite; states saved after it are not used.
    """

    journal: Journal = field(default_factory=Journal)
    has_metrics: bool = False
    origin: Origin | None = None
    log_path: str = "the run"
    spoilt_step: int | None = None


def resolve_start(
    log_path: str | os.PathLike[str], load_checkpoint_path: str | os.PathLike[str] | None = None
) -> Start:
    """Decides what a run begins from. Reads the run directory, changes nothing, asks no service.

    States that have expired by this machine's clock, or follow a step whose figures were not finite, are passed
    over. Whether the others still exist, and whether the config still means the same run, is found out by `train`.

    Args:
        log_path: directory of the run; it need not exist, and may be in a store.
        load_checkpoint_path: training state to start from: `tinker://<server run>/weights/<name>`, the
            short `tinker://<model_id>/<name>`, another run's `checkpoints.jsonl` or directory (newest
            state, or `…#<name>`; it may be in a store), or a local engine's weights directory. None: a fresh LoRA.

    Raises:
        CheckpointConflict: the run in `log_path` began from something else.
        CheckpointNotFound: `load_checkpoint_path` leads to no training state.
        CloudExtraMissing: packages are not installed that the store needs.
        JournalError: the journal cannot be read though the run has history.
        NoUsableCheckpoint: the run holds states, but none that it can go on from.
        StartError: `origin.json` cannot be read.
        StorageError: the store fails.
    """
    wanted = None if load_checkpoint_path is None else os.fspath(load_checkpoint_path)
    return resolve(read_history(log_path), wanted)


def read_history(log_path: str | os.PathLike[str]) -> History:
    """Reads what a start depends on.

    Raises:
        JournalError: the journal cannot be read.
        StartError: `origin.json` cannot be read.
    """
    directory = readable(log_path, (JOURNAL, METRICS, ORIGIN).__contains__)
    metrics = directory / METRICS
    has_metrics = metrics.exists() and metrics.stat().st_size > 0
    journal, origin = Journal.read(journal_file(directory)), read_origin(directory)
    return History(journal, has_metrics, origin, str(log_path), first_spoilt_step(directory))


def resolve(
    history: History, wanted: str | None, unusable: Mapping[str, str] | None = None, drift: Sequence[Change] = ()
) -> Start:
    """`decide_start` as of now, with a `load_checkpoint_path` resolved to the state that it means."""
    start = decide_start(history, wanted, unusable or {}, drift, datetime.now(UTC))
    if isinstance(start, LoadCheckpoint) and start.state_path == wanted:
        return LoadCheckpoint(resolve_state_path(start.state_path))
    return start


def decide_start(
    history: History, wanted: str | None, unusable: Mapping[str, str], drift: Sequence[Change], now: datetime
) -> Start:
    """The table above, as a pure function.

    `LoadCheckpoint` carries the path as it was given, or, where this run began from it before, as resolved then.

    Args:
        history: what the run directory says.
        wanted: the given load_checkpoint_path.
        unusable: states that the service no longer has, by path, and why.
        drift: what the config means otherwise than the run did so far.
        now: the time, for states that expire.
    """
    journal, log_path, origin = history.journal, history.log_path, history.origin
    record = journal.newest_state(lambda record: why_unusable(record, unusable, now, history.spoilt_step))
    if record is None:
        _refuse_lost_history(history, unusable, now)
        if wanted is None:
            return FreshStart()
        # A run that died before its first state begins again from the very state that it began from.
        pinned = origin.resolved if origin is not None and origin.given == wanted else None
        return LoadCheckpoint(pinned or wanted)
    if wanted is not None and origin is None:
        _log.warning(
            "%s holds checkpoints but not where the run began; it resumes, and load_checkpoint_path=%s is "
            "not used. Take another log_path to start from it",
            log_path,
            wanted,
        )
    elif wanted is not None and origin is not None and origin.given != wanted:
        began = f"from {origin.given}" if origin.given else "from a fresh LoRA"
        raise CheckpointConflict(
            f"{log_path} holds a run that began {began}, but load_checkpoint_path={wanted} was given. Leave "
            "load_checkpoint_path out to resume that run, or take another log_path to start from the checkpoint"
        )
    if drift:
        raise ConfigDrift(describe_drift(log_path, drift))
    assert record.state_path is not None and record.batch is not None
    if record.epoch:
        raise NoUsableCheckpoint(
            f"the newest state of {log_path}, {record.state_path}, counts its batches anew in each epoch, as other "
            "tools' supervised runs do: there is no step of this run to go on with. Take another log_path, and give "
            "it that state as load_checkpoint_path"
        )
    _warn_of_fallback(history, record, unusable, now)
    return Resume(record.state_path, record.batch, record)


def why_unusable(
    record: CheckpointRecord, unusable: Mapping[str, str], now: datetime, spoilt_step: int | None = None
) -> str | None:
    """Why a state cannot be gone on from: expired, among the `unusable`, or spoilt; None for one that can."""
    if record.expires_at is not None and record.expires_at <= now:
        return f"expired at {record.expires_at:%Y-%m-%d %H:%M} UTC"
    if spoilt_step is not None and record.batch is not None and record.batch > spoilt_step:
        return f"its weights may be damaged, since the figures of step {spoilt_step} in {METRICS} are not finite"
    return unusable.get(record.state_path or "")


def _warn_of_fallback(history: History, chosen: CheckpointRecord, unusable: Mapping[str, str], now: datetime) -> None:
    newest = history.journal.newest_state()
    assert newest is not None and newest.batch is not None and chosen.batch is not None
    if newest.batch > chosen.batch:
        _log.warning(
            "%s: the state of batch %d, %s, cannot be used: %s. Resuming at batch %d: %d batches will be repeated",
            history.log_path,
            newest.batch,
            newest.state_path,
            why_unusable(newest, unusable, now, history.spoilt_step),
            chosen.batch,
            newest.batch - chosen.batch,
        )


def _refuse_lost_history(history: History, unusable: Mapping[str, str], now: datetime) -> None:
    """A run that holds states, or lost its journal, never silently begins anew."""
    journal, log_path = history.journal, history.log_path
    records = journal.records()
    unreadable = sum(bool(line.bad) and not line.torn for line in bad_lines(journal.data))
    states = [record for record, superseded in journal.lineage() if record.state_path and not superseded]
    if states:
        reasons = {state.state_path: _name_reason(state, history, unusable, now) for state in states}
        listed = "".join(f"\n  {path}: {reason}" for path, reason in reasons.items())
        raise NoUsableCheckpoint(
            f"{log_path} holds states, but none that it can go on from:{listed}\n"
            "Take another log_path to start fresh, or give it a state that exists as load_checkpoint_path"
        )
    # A run records sampler weights before its first metrics: metrics without any record, or with a
    # line that cannot be read where the state may have stood, mean that the journal was lost.
    if history.has_metrics and (unreadable or not records):
        contents = f"{unreadable} unreadable lines" if unreadable else "no records"
        raise JournalError(
            f"{log_path}: the run has metrics, but its checkpoints.jsonl holds {contents} and no state to resume from. "
            "Restore the file with `python -m socratic_distill checkpoints LOG_PATH rebuild`, which asks the "
            "service, or mend it, or take another log_path to start fresh"
        )


def _name_reason(record: CheckpointRecord, history: History, unusable: Mapping[str, str], now: datetime) -> str:
    if not record.resumable:
        return "does not say which batch comes next; add `batch` to its line"
    if record.state_path in history.journal.deleted:
        return "was deleted"
    return why_unusable(record, unusable, now, history.spoilt_step) or "cannot be used"
