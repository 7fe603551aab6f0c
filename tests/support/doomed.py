"""A trainer in a process of its own that kills itself at a planned place, as SIGKILL would from outside."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The places that a crash must be survived in; `Doom.window` is one of them.
WINDOWS = (
    "in the middle of a journal line",
    "between the server's save and its record",
    "between the record and the rollback",
    "in the middle of a rollback's copy",
    "between a rollback's copy and its cut",
    "between the rollbacks of metrics and dialogues",
    "during the takeover of the lock",
    "in the middle of a row",
)


@dataclass(frozen=True)
class Doom:
    """When to die.

    Attributes:
        window: the place; None for none.
        nth: how often the place is passed before.
        events: the count of syncs, renames and service calls after which to die anyway; None is never.
        after: whether the last event still happens.
    """

    window: str | None = None
    nth: int = 0
    events: int | None = None
    after: bool = False


def train_doomed(fields: dict[str, Any], server: str | None, doom: Doom) -> None:
    """Trains until doom; where it struck stands in `<server or log_path>/../dooms`."""
    from socratic_distill import build_socratic_config, train
    from socratic_distill.testing import FakeRestClient, FakeServiceClient

    reaper = Reaper(doom, Path(fields["log_path"]).parent / "dooms")
    reaper.haunt()
    if server is None:
        train(build_socratic_config(**fields))
        return
    service = FakeServiceClient(server)
    train(build_socratic_config(**fields), service_client=service, rest_client=FakeRestClient(service))


class Reaper:
    """Wraps what a trainer calls on its way, and kills the process at its doom."""

    def __init__(self, doom: Doom, record: Path) -> None:
        self._doom, self._record = doom, record
        self._events = self._passed = 0

    def haunt(self) -> None:
        from socratic_distill.run import directory as run, journal_writer, lock as locks, rollback
        from socratic_distill.testing import FakeServiceClient

        self._kill_at(journal_writer, "append_durably", WINDOWS[0], half=True)
        self._kill_at(journal_writer.JournalWriter, "append", WINDOWS[1], only=lambda _, record: record.resumable)
        self._kill_at(run.RunDirectory, "roll_back", WINDOWS[2])
        self._kill_at(rollback, "append_durably", WINDOWS[3], half=True)
        self._kill_at(rollback, "truncate_durably", WINDOWS[4])
        self._kill_at(run, "roll_back", WINDOWS[5], only=lambda path, _: "dialogues" in path.name)
        self._kill_at(locks, "write_atomically", WINDOWS[6])
        self._kill_at(run, "append_durably", WINDOWS[7], half=True)
        for owner, name in ((os, "fsync"), (os, "replace"), (FakeServiceClient, "submit")):
            self._count(owner, name)

    def _kill_at(
        self, owner: Any, name: str, window: str, half: bool = False, only: Callable[..., bool] = lambda *_: True
    ) -> None:
        """Kills at the nth call that counts, before it; an append dies half-way through its text."""
        right = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            if self._doom.window == window and only(*given, **named):
                self._passed += 1
                if self._passed > self._doom.nth:
                    if half:
                        text = given[1].encode() if isinstance(given[1], str) else given[1]
                        right(given[0], text[: len(text) // 2])
                    self._die(window)
            return right(*given, **named)

        setattr(owner, name, call)

    def _count(self, owner: Any, name: str) -> None:
        right = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            self._events += 1
            due = self._events == self._doom.events
            if due and not self._doom.after:
                self._die(f"before {name}")
            result = right(*given, **named)
            if due:
                self._die(f"after {name}")
            return result

        setattr(owner, name, call)

    def _die(self, place: str) -> None:
        with self._record.open("a") as file:
            file.write(place + "\n")
        os.kill(os.getpid(), signal.SIGKILL)
