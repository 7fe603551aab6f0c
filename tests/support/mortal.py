"""A trainer in a process of its own, on a machine of its own: it is killed, and its disk is lost with it."""

import os
import shutil
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import processes
from tests.support.stores_in_tests import FolderStore

from socratic_distill.run.cloud import mirror
from socratic_distill.run.cloud.lease import Timing
from socratic_distill.run.cloud.stores import FsspecStore

# A lease that a busy machine keeps, and that a test can wait for.
TIMING = Timing(lease=1.0, patience=60.0, opening=30.0, commit=0.0)


@dataclass
class Machines:
    """Where a run is trained, one machine after another.

    Attributes:
        fields: of the config, its log_path in a store.
        outside: what survives a machine: the service's state, and the store where it is a folder.
        store: the folder; None where the URL's own store is asked.
        environment: of each machine.
    """

    fields: dict[str, Any]
    outside: Path
    store: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    lives: int = 0

    def live(self, events: int | None) -> int | None:
        """Trains on a new machine, until so many writes and calls to the service; gives how its process ended."""
        self.lives += 1
        disk = self.outside / f"disk-{self.lives}"
        disk.mkdir()
        child = processes.Process(target=train_mortal, args=(self, str(disk), events), daemon=True)
        child.start()
        child.join()
        shutil.rmtree(disk)
        return child.exitcode


def train_mortal(machines: Machines, disk: str, events: int | None) -> None:
    """Trains until its last event, which still happens or not, by turns."""
    from socratic_distill import build_socratic_config, train
    from socratic_distill.testing import FakeRestClient, FakeServiceClient

    os.environ |= machines.environment
    tempfile.tempdir = disk
    os.chdir(disk)
    mirror.TIMING = TIMING
    kind: type[Any] = FsspecStore
    if (folder := machines.store) is not None:
        kind = FolderStore
        mirror.FsspecStore = lambda url: FolderStore(folder)  # type: ignore[assignment]
    passed = 0

    def count(owner: Any, name: str) -> None:
        right = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            nonlocal passed
            passed += 1
            is_last = events is not None and passed >= events
            if is_last and events is not None and events % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = right(*given, **named)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        setattr(owner, name, call)

    for owner, name in ((kind, "create"), (kind, "write"), (kind, "delete"), (FakeServiceClient, "submit")):
        count(owner, name)
    service = FakeServiceClient(machines.outside / "server")
    train(build_socratic_config(**machines.fields), service_client=service, rest_client=FakeRestClient(service))
