"""The run directory: its lock, run.json, config.json, origin.json, server runs, metrics and dialogues."""

import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic_core import PydanticSerializationError, to_json

from socratic_distill.checkpoints import CheckpointManager
from socratic_distill.config import SocraticConfig
from socratic_distill.drift import Fingerprint, free_changes
from socratic_distill.errors import ConfigError, StartError
from socratic_distill.files import append_durably, end_line, write_atomically
from socratic_distill.locks import RunLock
from socratic_distill.rollback import roll_back, set_aside
from socratic_distill.start import METRICS, ORIGIN, Origin

CONFIG = "config.json"
DIALOGUES = "dialogues.jsonl"
EVALUATIONS = "evaluations"
FINGERPRINT = "fingerprint.json"
RUN = "run.json"
SERVER_RUNS = "server_runs.jsonl"
_log = logging.getLogger(__name__)


class RunDirectory:
    """Everything that a run writes. A context manager that holds the directory's lock.

    Attributes:
        path: the directory.
        checkpoints: the journal.

    Raises:
        RunLocked: on entering, when another process holds the lock.
        StorageError: a file cannot be written.
    """

    def __init__(self, log_path: str | os.PathLike[str]) -> None:
        """Names the directory; nothing is read or written yet."""
        self.path = Path(log_path)
        self.checkpoints = CheckpointManager(self.path)
        self._lock = RunLock(self.path)

    def __enter__(self) -> Self:
        """Takes the directory's lock."""
        self._lock.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        """Frees the lock."""
        self._lock.__exit__(*reason)

    def begin(self, config: SocraticConfig, meaning: Fingerprint, origin: Origin | None) -> str:
        """Writes what this start is: the config, what it means and, for a run that begins here, its origin.

        Returns:
            The run's id, the same at every start.
        """
        self._log_free_changes(config)
        run_id = read_run_id(self.path) or uuid.uuid4().hex
        write_atomically(self.path / RUN, _text({"run_id": run_id}))
        if origin is not None:
            write_atomically(self.path / ORIGIN, _text({"given": origin.given, "resolved": origin.resolved}))
        write_atomically(self.path / FINGERPRINT, _text(meaning))
        write_atomically(self.path / CONFIG, config.model_dump_json(indent=2) + "\n")
        return run_id

    def note_server_run(self, server_run: str, batch: int) -> None:
        """Writes the id of a training client's life on the service, before its first training call.

        Behind a line that a crash tore it would be lost, and with it every save that has no record yet.
        """
        end_line(self.path / SERVER_RUNS)
        append_durably(self.path / SERVER_RUNS, json.dumps({"server_run": server_run, "batch": batch}) + "\n")

    def roll_back(self, batch: int) -> None:
        """Moves what batches >= `batch` left aside: metric rows, dialogues, evaluations. Those batches run again."""
        for name in (METRICS, DIALOGUES):
            roll_back(self.path / name, batch)
        set_aside(self.path / EVALUATIONS, batch)

    def log_step(self, metrics: Mapping[str, Any], dialogues: Iterable[Mapping[str, Any]]) -> None:
        """Appends a step's metrics row and its dialogues; the dialogues first, the row vouches for them."""
        append_durably(self.path / DIALOGUES, b"".join(_dialogue_line(row) for row in dialogues))
        append_durably(self.path / METRICS, json.dumps(metrics) + "\n")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The rows of the steps so far; a line that a crash tore is passed over."""
        path = self.path / METRICS
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with suppress(ValueError):
                yield json.loads(line)

    def _log_free_changes(self, config: SocraticConfig) -> None:
        try:
            before = _stored_config(self.path / CONFIG)
        except ConfigError:  # a first start, or another tool's directory
            return
        for change in free_changes(before, json.loads(config.model_dump_json())):
            _log.info("%s: %s was %s and is %s from here on", self.path, change.field, change.before, change.now)


def load_config(log_path: str | os.PathLike[str]) -> SocraticConfig:
    """The config that a run directory was last started with, equal to the one that was built.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    return SocraticConfig(**_stored_config(Path(log_path) / CONFIG))


def read_run_id(directory: Path) -> str | None:
    """The id that a run's saves carry on the service; None where the directory has none yet.

    Raises:
        StartError: `run.json` cannot be read.
    """
    stored = _read(directory / RUN, "it holds the id that the run's saves carry")
    return None if stored is None else str(stored.get("run_id"))


def read_fingerprint(directory: Path) -> Fingerprint | None:
    """What the run has meant so far; None where nothing tells, as in another tool's directory.

    Raises:
        StartError: `fingerprint.json` cannot be read.
    """
    return _read(directory / FINGERPRINT, "it says what the run has meant so far")


def _stored_config(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; expected the log_path of a run") from error
    if not isinstance(stored, dict):
        raise ConfigError(f"{path} holds no JSON object; expected the log_path of a run")
    return stored


def _read(path: Path, purpose: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StartError(f"{path} cannot be read ({error}); {purpose}. Mend it, or delete it to go without") from error


def _dialogue_line(row: Mapping[str, Any]) -> bytes:
    """A row with thousands of numbers, which pydantic writes ten times faster than the standard library."""
    try:
        return to_json(row, ensure_ascii=True) + b"\n"
    except PydanticSerializationError:  # half a character (a lone surrogate), which only the latter writes
        return json.dumps(row).encode() + b"\n"


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"
