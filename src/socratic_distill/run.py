"""The run directory: its lock, config.json, origin.json, server runs, metrics and dialogues."""

import json
import logging
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from socratic_distill.checkpoints import CheckpointManager, append_durably, sync_directory
from socratic_distill.config import SocraticConfig
from socratic_distill.errors import ConfigError, RunLocked
from socratic_distill.start import METRICS, ORIGIN, Origin

CONFIG = "config.json"
DIALOGUES = "dialogues.jsonl"
SERVER_RUNS = "server_runs.jsonl"
_log = logging.getLogger(__name__)


class RunDirectory:
    """Everything that a run writes. A context manager that holds the directory's lock.

    Raises:
        RunLocked: on entering, when another process holds the lock.
    """

    def __init__(self, log_path: str | os.PathLike[str]) -> None:
        self.path = Path(log_path)
        self._lock = FileLock(self.path / ".lock", timeout=0)
        self._holder = self.path / ".lock.json"

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise RunLocked(
                f"{self.path} is being written to by {self._describe_holder()}; wait for it or stop it, or take "
                "another log_path"
            ) from None
        write_atomically(self._holder, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        self.checkpoints = CheckpointManager(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def begin(self, config: SocraticConfig, origin: Origin | None) -> None:
        """Writes the config, and, for a run that begins here, what it began from."""
        if origin is not None:
            write_atomically(self.path / ORIGIN, json.dumps({"given": origin.given, "resolved": origin.resolved}))
        write_atomically(self.path / CONFIG, config.model_dump_json(indent=2) + "\n")

    def note_server_run(self, server_run: str, batch: int) -> None:
        """Writes the id of a training client's life on the service, before its first training call."""
        append_durably(self.path / SERVER_RUNS, json.dumps({"server_run": server_run, "batch": batch}) + "\n")

    def roll_back(self, batch: int) -> None:
        """Moves metric rows and dialogues of batches >= `batch` aside: those batches run again."""
        for name in (METRICS, DIALOGUES):
            self._roll_back_file(self.path / name, batch)

    def log_step(self, metrics: Mapping[str, Any], dialogues: Iterable[Mapping[str, Any]]) -> None:
        """Appends a step's metrics row and its dialogues; the dialogues first, the row vouches for them."""
        append_durably(self.path / DIALOGUES, "".join(json.dumps(row) + "\n" for row in dialogues))
        append_durably(self.path / METRICS, json.dumps(metrics) + "\n")

    def _roll_back_file(self, path: Path, batch: int) -> None:
        if not path.exists():
            return
        kept, moved = [], []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            (kept if _step_of(line) < batch else moved).append(line)
        if moved:
            superseded = path.with_suffix(".superseded.jsonl")
            append_durably(superseded, "".join(line.rstrip("\n") + "\n" for line in moved))
            write_atomically(path, "".join(kept))
            _log.info("%s: %d rows from batch %d on moved to %s", path, len(moved), batch, superseded.name)

    def _describe_holder(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']}"
        except (OSError, ValueError, KeyError):
            return "another process"


def load_config(log_path: str | os.PathLike[str]) -> SocraticConfig:
    """The config that a run directory was last started with, equal to the one that was built.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = Path(log_path) / CONFIG
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; expected the log_path of a run") from error
    return SocraticConfig(**stored)


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one step: a reader, or a crash, meets the old text or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_directory(path.parent)


def _step_of(line: str) -> float:
    """The step of a row; a line that a crash tore belongs to the steps that run again."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
