"""Object stores that a test can look into and make fail: in memory, and in a folder that several processes share."""

import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from socratic_distill.run.cloud.lease import Timing

# A lease that runs out while a test waits.
QUICK = Timing(lease=0.4, patience=60.0, opening=60.0, commit=0.0)


class Lively(Timing):
    """Many heartbeats in a lease, so that a machine under load does not let it run out."""

    @property
    def beat(self) -> float:
        return self.lease / 200


LIVELY = Lively(lease=6.0, patience=60.0, opening=60.0, commit=0.0)


class VirtualClock:
    """Time that passes only while somebody waits: in place of `time`, and of the event that ends the waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False


class MemoryStore:
    """Objects in a dict. `before(call, name)` may raise, or wait; `lost` names a call whose answer is lost, once."""

    def __init__(self, url: str = "memory://bucket/run") -> None:
        self.url = url
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda call, name: None
        self.lost: str | None = None
        self._lock = threading.Lock()

    def create(self, name: str, data: bytes) -> None:
        self._pass("create", name)
        with self._lock:
            if name in self.objects:
                raise FileExistsError(name)
            self.objects[name] = data
        self._answer("create")

    def write(self, name: str, data: bytes) -> None:
        self._pass("write", name)
        self.objects[name] = data
        self._answer("write")

    def read(self, name: str) -> bytes:
        self._pass("read", name)
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def names(self, folder: str) -> list[str]:
        self._pass("names", folder)
        return sorted(name.rpartition("/")[2] for name in list(self.objects) if name.rpartition("/")[0] == folder)

    def delete(self, name: str) -> None:
        self._pass("delete", name)
        self.objects.pop(name, None)

    def count(self, call: str, part: str) -> int:
        return sum(one == call and part in name for one, name in self.calls)

    def _pass(self, call: str, name: str) -> None:
        self.calls.append((call, name))
        self.before(call, name)

    def _answer(self, call: str) -> None:
        if self.lost == call:
            self.lost = None
            raise TimeoutError("the answer is lost")


class FolderStore:
    """Objects as files of a folder; what is made appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.url = f"folder://{folder.name}/run"
        self._folder = folder

    def create(self, name: str, data: bytes) -> None:
        half = self._half(name, data)
        try:
            os.link(half, self._folder / name)
        finally:
            half.unlink()

    def write(self, name: str, data: bytes) -> None:
        self._half(name, data).replace(self._folder / name)

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def names(self, folder: str) -> list[str]:
        path = self._folder / folder
        return sorted(one.name for one in path.iterdir() if not one.name.startswith(".")) if path.exists() else []

    def delete(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def _half(self, name: str, data: bytes) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{uuid.uuid4().hex}")
        half.write_bytes(data)
        return half
