"""What a run begins from, decided before anything is touched.

| `log_path` | `load_checkpoint_path` | result |
|---|---|---|
| holds a resumable checkpoint | not set | `Resume` |
| holds none | not set | `FreshStart` |
| holds none | set | `LoadCheckpoint` |
| holds one | set, the same this run began from | `Resume` |
| holds one | set, another | `CheckpointConflict` |
| holds one, of unknown origin | set | `Resume`, with a warning |
| holds states, none of which names its batch | either | `StartError` |
| journal unreadable though the run has history | either | `JournalError` |
"""

import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from socratic_distill.checkpoints import CheckpointRecord, Journal, journal_file, newest_state, read_journal
from socratic_distill.errors import CheckpointConflict, CheckpointNotFound, JournalError, StartError

ORIGIN = "origin.json"
METRICS = "metrics.jsonl"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resume:
    """Continue this run: weights and optimizer of `state_path`, next batch `batch`, from `record`."""

    state_path: str
    batch: int
    record: CheckpointRecord


@dataclass(frozen=True)
class FreshStart:
    """Begin with a fresh LoRA at batch 0."""


@dataclass(frozen=True)
class LoadCheckpoint:
    """Begin with the weights of `state_path`, a fresh optimizer, at batch 0."""

    state_path: str


Start = Resume | FreshStart | LoadCheckpoint


@dataclass(frozen=True)
class Origin:
    """What a run began from, as it was given and as it was resolved; both None for a fresh LoRA."""

    given: str | None = None
    resolved: str | None = None


def resolve_start(
    log_path: str | os.PathLike[str], load_checkpoint_path: str | os.PathLike[str] | None = None
) -> Start:
    """Decides what a run begins from. Reads the run directory, changes nothing, asks no service.

    Args:
        log_path: directory of the run; it need not exist.
        load_checkpoint_path: training state to start from: `tinker://<server run>/weights/<name>`, the
            short `tinker://<model_id>/<name>`, another run's `checkpoints.jsonl` or directory (newest
            state, or `…#<name>`), or a local engine's weights directory. None: a fresh LoRA.

    Raises:
        CheckpointConflict: the run in `log_path` began from something else.
        CheckpointNotFound: `load_checkpoint_path` leads to no training state.
        JournalError: the journal cannot be read though the run has history.
        StartError: the run holds states, but none that it can go on from.
    """
    directory = Path(log_path)
    journal = read_journal(journal_file(directory))
    wanted = None if load_checkpoint_path is None else os.fspath(load_checkpoint_path)
    metrics = directory / METRICS
    has_history = metrics.exists() and metrics.stat().st_size > 0
    origin = read_origin(directory)
    start = decide_start(journal, has_history, origin, wanted, str(log_path))
    if isinstance(start, LoadCheckpoint) and start.state_path == wanted:
        return LoadCheckpoint(resolve_state_path(start.state_path))
    return start


def decide_start(
    journal: Journal, has_history: bool, origin: Origin | None, wanted: str | None, log_path: str
) -> Start:
    """The table above, as a pure function.

    `LoadCheckpoint` carries the path as it was given, or, where this run began from it before, as resolved then.

    Args:
        journal: the records of the run.
        has_history: whether the run has metrics.
        origin: what the run began from; None where nothing tells.
        wanted: the given load_checkpoint_path.
        log_path: for error messages.
    """
    record = newest_state(journal.records)
    if record is None:
        # A run records sampler weights before its first metrics: metrics without any record, or with a
        # line that cannot be read where the state may have stood, mean that the journal was lost.
        if has_history and (journal.bad_lines or not journal.records):
            found = f"{journal.bad_lines} unreadable lines" if journal.bad_lines else "no records"
            raise JournalError(
                f"{log_path}: the run has metrics, but its checkpoints.jsonl holds {found} and no state to "
                "resume from. Mend the file, or take another log_path to start fresh"
            )
        _refuse_unusable(journal, log_path)
        if wanted is None:
            return FreshStart()
        # A run that died before its first state begins again from the very state that it began from.
        pinned = origin.resolved if origin is not None and origin.given == wanted else None
        return LoadCheckpoint(pinned or wanted)
    if wanted is not None and origin is None:
        _log.warning(
            "%s holds checkpoints but not where the run began; it resumes, and load_checkpoint_path=%s is "
            "not looked at",
            log_path,
            wanted,
        )
    elif wanted is not None and origin is not None and origin.given != wanted:
        began = f"from {origin.given}" if origin.given else "from a fresh LoRA"
        raise CheckpointConflict(
            f"{log_path} holds a run that began {began}, but load_checkpoint_path={wanted} was given. Leave "
            "load_checkpoint_path out to resume that run, or take another log_path to start from the checkpoint"
        )
    assert record.state_path is not None and record.batch is not None
    return Resume(record.state_path, record.batch, record)


def _refuse_unusable(journal: Journal, log_path: str) -> None:
    """States that cannot be resumed from are never passed over for a fresh start."""
    states = [record.state_path for record in journal.records if record.state_path is not None]
    if states:
        raise StartError(
            f"{log_path} holds states, but none says which batch comes next: {', '.join(states)}. Add `batch` to the "
            "newest one's line in checkpoints.jsonl, or pass its path as load_checkpoint_path of a new log_path"
        )


def read_origin(directory: Path) -> Origin | None:
    """What the run in a directory began from; None where nothing tells, as in another tool's directory."""
    path = directory / ORIGIN
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Origin(given=stored["given"], resolved=stored["resolved"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartError(
            f"{path} cannot be read ({error}); it says what the run began from. Mend it, or delete it to resume "
            "whatever load_checkpoint_path says"
        ) from error


_TINKER = re.compile(r"tinker://(?P<run>[^/]+)/(?:(?P<kind>[^/]+)/)?(?P<name>[^/#]+)")


def resolve_state_path(given: str) -> str:
    """The training state that a `load_checkpoint_path` means.

    Raises:
        CheckpointNotFound: it leads to no training state.
    """
    if given.startswith("tinker://"):
        return _resolve_tinker_path(given)
    path, _, name = given.partition("#")
    if Path(path).suffix == ".jsonl" or (Path(path) / "checkpoints.jsonl").is_file():
        return _resolve_journal(journal_file(path), name or None)
    if Path(path).is_dir() and not name:
        return _resolve_weights_directory(Path(path))
    raise CheckpointNotFound(
        f"load_checkpoint_path={given!r} is none of: tinker://<server run>/weights/<name>, a checkpoints.jsonl "
        "(or the directory that holds one), a local engine's weights directory"
    )


def _resolve_tinker_path(given: str) -> str:
    match = _TINKER.fullmatch(given)
    if match is None:
        raise CheckpointNotFound(
            f"load_checkpoint_path={given!r} is no checkpoint path; expected tinker://<server run>/weights/<name>"
        )
    full = f"tinker://{match['run']}/weights/{match['name']}"
    if match["kind"] == "weights":
        return given
    if match["kind"] is None:
        _log.info("load_checkpoint_path=%s is read as %s", given, full)
        return full
    if match["kind"] == "sampler_weights":
        raise CheckpointNotFound(
            f"load_checkpoint_path={given!r} holds sampler weights, which cannot be trained from. The training "
            f"state of the same name, if the run saved one, is {full}"
        )
    raise CheckpointNotFound(f"load_checkpoint_path={given!r}: expected …/weights/…, not {match['kind']!r}")


def _resolve_journal(path: Path, name: str | None) -> str:
    if not path.is_file():
        raise CheckpointNotFound(f"load_checkpoint_path: there is no file {path}")
    states = [record for record in read_journal(path).records if record.state_path]
    if name is not None:
        states = [record for record in states if record.name == name]
    if not states:
        wanted = "no record with a state" if name is None else f"no state named {name!r}"
        raise CheckpointNotFound(f"load_checkpoint_path: {path} holds {wanted}")
    # Without a batch the order of the lines is all there is; a state can be built on without one.
    newest = newest_state(states) or states[-1]
    assert newest.state_path is not None
    return newest.state_path


def _resolve_weights_directory(path: Path) -> str:
    path = path.resolve()
    if path.parent.name == "sampler_weights":
        twin = path.parent.parent / "weights" / path.name
        hint = f"The state of the same name is {twin}" if twin.is_dir() else "No state of that name was saved"
        raise CheckpointNotFound(
            f"load_checkpoint_path={str(path)!r} holds sampler weights, which cannot be trained from. {hint}"
        )
    if not (path / "state.json").is_file():
        raise CheckpointNotFound(
            f"load_checkpoint_path={str(path)!r} is a directory without checkpoints.jsonl or state.json; "
            "expected a run directory, or a weights directory of the local engine"
        )
    return str(path)
