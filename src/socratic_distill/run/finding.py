"""Whether a directory holds a run, and which runs are near it. Reads names and small files only; follows no links."""

import os
from collections import deque
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

from socratic_distill.config.log_path import is_url
from socratic_distill.errors import ConfigError
from socratic_distill.files.rows import read_part
from socratic_distill.run.layout import (
    BESIDE_ANOTHER,
    CONFIG,
    DIALOGUES,
    EVALUATIONS,
    JOURNAL,
    METRICS,
    RUN,
    is_foreign,
)

DEPTH = 4
# Entries of directories that one search looks at, so that a command on a home directory ends within a second.
_MOST_ENTRIES = 50_000
_MOST_NEARBY = 5_000
_NAMED = 5
_MOST_CONFIG_BYTES = 1 << 20
# Environments and caches: large, and no place for runs.
_SKIPPED = {"node_modules", "site-packages", "__pycache__"}
_MARKS = (RUN, JOURNAL, BESIDE_ANOTHER)
_PARTS = (METRICS, DIALOGUES, EVALUATIONS)


def check_run(
    log_path: str | os.PathLike[str], directory: Path | None = None, expected: str = "the directory of a run"
) -> None:
    """Returns if a directory holds a run, or parts of one, such as a journal alone.

    Args:
        log_path: the directory as it was given, for the message.
        directory: where its files are; None: log_path. Of a run in a store it is a copy.
        expected: what the caller takes, for the message.

    Raises:
        ConfigError: it does not exist, is a file, is empty, or holds something else. The message names runs nearby.
    """
    path = Path(log_path) if directory is None else directory
    if (fault := _fault(path)) is None:
        return
    nearby = [] if is_url(log_path) else _nearest(path)
    named = ", ".join(nearby[:_NAMED]) + (f" and {len(nearby) - _NAMED} more" if len(nearby) > _NAMED else "")
    known_runs = f". Runs found here: {named}" if named else ""
    raise ConfigError(f"{os.fspath(log_path)} {fault}; expected {expected}{known_runs}")


def find_runs(directory: Path, depth: int = DEPTH, most: int = _MOST_ENTRIES) -> Iterator[Path]:
    """The run directories at and below a directory, the nearest first, and by name within a level.

    Links are not followed, and the inside of a run is not searched. Hidden directories are left out.

    Args:
        directory: where to begin.
        depth: levels below it.
        most: entries to look at before the search ends.
    """
    waiting = deque([(directory, 0)])
    while waiting and most > 0:
        here, level = waiting.popleft()
        names, folders, looked = _entries(here, most)
        most -= looked
        if _is_run(here, names):
            yield here
        elif level < depth:
            waiting.extend((here / name, level + 1) for name in sorted(folders))


def shown_path(path: Path) -> str:
    """A path as a user of this working directory would type it."""
    absolute = os.path.abspath(path)
    try:
        short = os.path.relpath(absolute)
    except (OSError, ValueError):  # the working directory is gone, or on another drive
        return absolute
    return absolute if short.startswith(os.pardir) else short


def _fault(path: Path) -> str | None:
    """What is wrong with a directory; None for one that holds a run."""
    try:
        if not path.exists():
            return "is a link to nothing" if path.is_symlink() else "does not exist"
        if not path.is_dir():
            return "is a file"
        names = set(os.listdir(path))
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if _is_run(path, names) or names.intersection(_PARTS):
        return None
    return "holds no run" if names else "is empty"


def _is_run(path: Path, names: set[str]) -> bool:
    if names.intersection(_MARKS):
        return True
    if CONFIG not in names:
        return False
    try:
        return not is_foreign(read_part(path / CONFIG, _MOST_CONFIG_BYTES), has_run=False)
    except OSError:
        return False


def _entries(directory: Path, most: int) -> tuple[set[str], list[str], int]:
    """The names in a directory, those of them that are directories to search, and how many were looked at."""
    names, folders, looked = set[str](), list[str](), 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                names.add(entry.name)
                looked += 1
                if entry.is_dir(follow_symlinks=False) and entry.name not in _SKIPPED and entry.name[0] != ".":
                    folders.append(entry.name)
                if looked >= most:
                    break
    except (OSError, ValueError):  # it may not be read, or has gone since
        pass
    return names, folders, max(1, looked)


def _nearest(path: Path) -> list[str]:
    """Runs below the working directory, or else below the nearest parent that exists; those of a like name first."""
    try:
        parents = (parent for parent in path.absolute().parents if parent.is_dir())
        starts = [Path.cwd(), next(parents)]
    except (OSError, ValueError, StopIteration):
        return []
    for start in starts:
        if runs := list(find_runs(start, most=_MOST_NEARBY)):
            likeness = {run: SequenceMatcher(None, run.name, path.name).ratio() for run in runs}
            return [shown_path(run) for run in sorted(runs, key=lambda run: -likeness[run])]
    return []
