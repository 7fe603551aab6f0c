"""Keeps what trackers print off the terminal, where the live view is, or nothing at all."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Hush:
    """Drops what the threads that ask for it write to stdout and stderr; that of all others passes.

    Redirecting the streams for a moment, as contextlib does, would take what other threads write meanwhile along.
    """

    def __init__(self) -> None:
        """Begins with no thread to be quiet."""
        self._quiet: set[int] = set()
        self._valves: dict[str, _Valve] = {}

    def install(self) -> None:
        """Puts itself before both streams."""
        for name in ("stdout", "stderr"):
            self._valves[name] = _Valve(getattr(sys, name), self._quiet)
            setattr(sys, name, self._valves[name])

    def remove(self) -> None:
        """Takes itself away, unless something else has been put before it."""
        for name, valve in self._valves.items():
            if getattr(sys, name) is valve:
                setattr(sys, name, valve.stream)

    @contextmanager
    def here(self) -> Iterator[None]:
        """What this thread writes inside is dropped."""
        thread = threading.get_ident()
        self._quiet.add(thread)
        try:
            yield
        finally:
            self._quiet.discard(thread)


class _Valve:
    """A text stream that is closed to some threads."""

    def __init__(self, stream: Any, quiet: set[int]) -> None:
        self.stream = stream
        self._quiet = quiet

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() in self._quiet else self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
