"""Who writes a run: taken over by a commit, and shown to live by a heartbeat."""

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from socratic_distill.errors import RunLocked, StorageError
from socratic_distill.run.cloud.commits import Commit, add_commit, newest_commit, read_commit
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.run.cloud.stores import ObjectStore
from socratic_distill.text import get_logger

_log = get_logger(__name__)


BEATS = ".run/beats"


@dataclass(frozen=True)
class Timing:
    """How a run in a store spends its time, in seconds.

    Attributes:
        lease: how long a heartbeat may stand still before others may take the run over.
        patience: how long one call to the store is tried again.
        opening: the same, while a run is opened or closed.
        commit: at the latest so long after a step is it in the store.
    """

    lease: float = 60.0
    patience: float = 300.0
    opening: float = 30.0
    commit: float = 60.0

    @property
    def beat(self) -> float:
        """From one heartbeat to the next; several may be lost."""
        return self.lease / 4

    @property
    def look(self) -> float:
        """From one look at another's heartbeat to the next."""
        return self.lease / 20


def take_over(store: ObjectStore, timing: Timing, patience: Patience, stop: threading.Event) -> Commit:
    """Becomes the writer of a run: by its next commit, which holds what the newest one did.

    Where the last writer has not ended in good order, its heartbeat is watched for as long as its lease allows it to
    stand still.

    Args:
        store: where the run is.
        timing: for how long this writer's own heartbeat may stand still.
        patience: with the store.
        stop: once set, no more is waited.

    Raises:
        RunLocked: another process writes the run, or waiting was stopped.
        StorageError: the store fails.
    """
    writer = uuid.uuid4().hex
    now = datetime.now(UTC).replace(microsecond=0)
    holder = {"host": platform.node(), "pid": os.getpid(), "started": now.isoformat()}
    while True:
        last = newest_commit(store, patience)
        if last is not None and not last.released:
            _outwait(store, last, patience, stop)
        number, fence = (1, 1) if last is None else (last.number + 1, last.fence + 1)
        files = {} if last is None else last.files
        mine = Commit(number, fence, writer, holder, timing.lease, files=files)
        if add_commit(store, mine, patience):
            return mine


def _outwait(store: ObjectStore, last: Commit, patience: Patience, stop: threading.Event) -> None:
    """Returns once a writer has shown no life for the whole of its lease, while the store answered."""
    _log.warning(
        "%s was not ended in good order by %s; it is taken over unless that shows life within %.0f s",
        store.url,
        _shown(last.holder),
        last.lease_seconds,
    )
    seen = _beat(store, last.fence, patience)
    since = time.monotonic()
    while time.monotonic() - since < last.lease_seconds:
        if stop.wait(last.lease_seconds / 20):
            raise RunLocked(f"{store.url}: stopped while waiting for the lease of {_shown(last.holder)} to end")
        asked = time.monotonic()
        beat, later = _beat(store, last.fence, patience), read_commit(store, last.number + 1, patience)
        if later is not None and later.released:
            return
        if beat != seen or later is not None:
            holder = last.holder if later is None else later.holder
            raise RunLocked(
                f"{store.url} is being written by {_shown(holder)}. Wait for it to end, stop it, or take another "
                "log_path"
            )
        if time.monotonic() - asked > last.lease_seconds / 4:
            since = time.monotonic()  # the store was out of reach, perhaps for the writer too


def _beat(store: ObjectStore, fence: int, patience: Patience) -> bytes | None:
    name = _beat_name(fence)
    try:
        return patience.call(f"reading {store.url}/{name}", store.read, name)
    except FileNotFoundError:
        return None


def _beat_name(fence: int) -> str:
    return f"{BEATS}/{fence:010d}.json"


def _shown(holder: Mapping[str, Any]) -> str:
    return f"process {holder.get('pid')} on {holder.get('host')}, started {holder.get('started')}"


class Heart:
    """Shows in a thread of its own that a writer lives, and notices when another one has taken over."""

    def __init__(self, store: ObjectStore, mine: Commit, timing: Timing, newest: Callable[[], int]) -> None:
        """Takes what is known; `start` begins. `usurper` is then who has taken over, or None.

        Args:
            store: where the run is.
            mine: the commit that the lease began with.
            timing: how often to beat.
            newest: gives the number of the writer's newest commit.
        """
        self._store = store
        self._mine = mine
        self._timing = timing
        self._newest = newest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud-heart", daemon=True)
        self.usurper: Mapping[str, Any] | None = None

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it."""
        self._stop.set()
        self._thread.join(self._timing.beat)

    def _run(self) -> None:
        # What fails is tried again at the next beat: whether the lease still holds is for the next commit to tell.
        once, count = Patience(0.0), 0
        while self.usurper is None:
            try:
                name = _beat_name(self._mine.fence)
                once.call(f"writing {name}", self._store.write, name, json.dumps({"beat": count}).encode())
                later = read_commit(self._store, self._newest() + 1, once)
                if later is not None and later.writer != self._mine.writer:
                    self.usurper = later.holder
            except (StorageError, OSError) as error:
                _log.warning("%s: a heartbeat was lost: %s", self._store.url, error)
            count += 1
            if self._stop.wait(self._timing.beat):
                return
