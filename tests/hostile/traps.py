"""Traps for what a command on a stranger's run directory must not do, and a watchdog.

Python tells of every file it opens, connection it makes, module it imports and process it starts by audit events.
"""

import contextlib
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Of CPU time, since other processes may have the machine; of real time for what only waits.
CPU_SECONDS, REAL_SECONDS = 10.0, 120.0
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Of each event the arguments that are paths, and where the descriptor stands of the directory that they are in.
_PATHS = {
    "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)), "os.rmdir": ((0, 1),), "os.mkdir": ((0, 2),),
    "os.truncate": ((0, None),), "os.chmod": ((0, 2),), "os.link": ((0, 2), (1, 3)), "os.symlink": ((1, 2),),
    "shutil.rmtree": ((0, 1),), "shutil.move": ((0, None), (1, None)), "os.utime": ((0, 3),),
}  # fmt: skip
_NEVER = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg",
          "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.startfile",
          "urllib.Request", "webbrowser.open")  # fmt: skip


class Hang(BaseException):
    """A command took too long."""


@dataclass
class Traps:
    """What a command may touch, and what it did touch beyond that.

    Attributes:
        readable: files that may be read, and directories whose files may be.
        writable: directories in which files may be written, renamed and deleted.
        forbidden: names of modules that must not be imported.
        sprung: what happened, as sentences.
    """

    readable: Sequence[Path]
    writable: Sequence[Path]
    forbidden: Sequence[str]
    sprung: list[str] = field(default_factory=list)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Judges an audit event."""
        if event == "open":
            self._opened(arguments[0], arguments[2] if isinstance(arguments[2], int) else 0)
        elif event in _PATHS:
            for path, folder in _PATHS[event]:
                within = arguments[folder] if folder is not None and folder < len(arguments) else None
                self._check(event, arguments[path], self.writable, within)
        elif event == "import" and str(arguments[0]).split(".")[0] in self.forbidden:
            self.sprung.append(f"imported {arguments[0]}")
        elif event in _NEVER:
            self.sprung.append(f"{event} {arguments[1:2]}")

    def _opened(self, path: Any, flags: int) -> None:
        if not isinstance(path, int):  # a descriptor was opened before, by its path
            writes = bool(flags & _WRITING)
            self._check("written" if writes else "read", path, self.writable if writes else self.readable)

    def _check(self, what: str, path: Any, allowed: Sequence[Path], folder: Any = None) -> None:
        if isinstance(path, int) or path is None:
            return
        if isinstance(folder, int) and folder >= 0:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
        elif what == "read" and not os.path.isabs(path) and not os.path.lexists(path):
            return  # it is not there, or within a directory whose descriptor the event lacks
        with contextlib.suppress(ValueError, RecursionError):
            # A link's target counts for what is opened, its own place for what is renamed or deleted.
            given = os.path.abspath(os.fsdecode(path))
            real = os.path.realpath(given) if what in ("read", "written") else given
            if not any(Path(real).is_relative_to(place) for place in allowed):
                self.sprung.append(f"{what}: {os.fsdecode(path)!r}")


_armed: list[Traps] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _armed:
        traps = _armed.pop()
        try:
            traps.hear(event, arguments)
        finally:
            _armed.append(traps)


@contextlib.contextmanager
def armed(traps: Traps) -> Iterator[Traps]:
    """Within, the traps hear everything, also of other threads. Hooks cannot be taken away: one serves all."""
    if not getattr(sys, "_socratic_traps", False):
        sys.addaudithook(_hear)
        sys._socratic_traps = True  # pyright: ignore[reportAttributeAccessIssue]
    _armed.append(traps)
    try:
        yield traps
    finally:
        _armed.clear()


@contextlib.contextmanager
def watchdog() -> Iterator[None]:
    """Raises Hang within once the time is up."""

    def bark(number: int, frame: Any) -> None:
        raise Hang(f"{signal.Signals(number).name} after {CPU_SECONDS} s of CPU time or {REAL_SECONDS} s")

    before = {number: signal.signal(number, bark) for number in (signal.SIGPROF, signal.SIGALRM)}
    timeout = signal.getitimer(signal.ITIMER_REAL)  # pytest-timeout's
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, REAL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.setitimer(signal.ITIMER_REAL, *timeout)


def of_the_machine() -> list[Path]:
    """Directories of the interpreter, its packages and this library, and of what every process reads."""
    import socratic_distill

    places = [*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, *sys.path]
    places += [str(Path(socratic_distill.__file__).parent), str(Path(__file__).parents[1])]
    roots = {Path(os.path.realpath(place)) for place in places if place and Path(place).exists()}
    devices = [Path("/dev/null"), Path("/dev/urandom"), Path("/dev/tty"), Path("/proc"), Path("/sys")]
    texts = [Path("/etc/localtime"), Path("/usr/share/zoneinfo"), Path("/etc/mime.types"), Path("/usr/share/terminfo")]
    return [*roots, *devices, *texts]


def bytecode() -> list[Path]:
    """Directories where importing may write compiled modules."""
    return [place for place in of_the_machine() if place.is_dir() and "python" in str(place)]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory for temporary files, so that those of a command can be told from others."""
    before, path = tempfile.tempdir, tempfile.mkdtemp(prefix="hostile-")
    tempfile.tempdir = path
    try:
        yield Path(os.path.realpath(path))
    finally:
        tempfile.tempdir = before
        shutil.rmtree(path, ignore_errors=True)
