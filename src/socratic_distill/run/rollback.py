"""Rows of batches that run again, moved aside, so that a plot of metrics.jsonl never goes backwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from socratic_distill.errors import StorageError
from socratic_distill.files.durable import append_durably, end_line, open_regular, truncate_durably
from socratic_distill.files.rows import lines_from_end, parse_row, reason_of, step_of
from socratic_distill.text import get_logger

_log = get_logger(__name__)


_BLOCK_BYTES = 1 << 20


def roll_back(path: Path, batch: int) -> None:
    """Moves the rows of steps >= `batch`, which stand at the end, to `<name>.superseded.jsonl`.

    Rows are read from the end, since those of a long run fill gigabytes. A line that a crash tore goes with
    them. A crash in between leaves the rows in both files, and the next rollback moves them again.

    Raises:
        StorageError: a file cannot be read or written.
    """
    if not path.exists():
        return
    size, cut, count = path.stat().st_size, path.stat().st_size, 0
    with _explaining(path):
        for offset, line in lines_from_end(path):
            if line.strip():
                step = _step_of(line)
                if step is not None and step < batch:
                    break
                count += 1
            cut = offset
    if cut == size:
        end_line(path)
        return
    superseded = path.with_suffix(".superseded.jsonl")
    end_line(superseded)
    with open_regular(path) as file:
        file.seek(cut)
        while block := file.read(_BLOCK_BYTES):
            append_durably(superseded, block)
    end_line(superseded)
    truncate_durably(path, cut)
    _log.info("%s: %d rows from batch %d on moved to %s", path, count, batch, superseded.name)


def set_aside(directory: Path, batch: int) -> None:
    """Renames the files of later weights than those before `batch`, which are made again."""
    for path in batch_files(directory):
        if int(path.stem) > batch:
            path.replace(path.with_suffix(f".superseded{path.suffix}"))


def batch_files(directory: Path) -> list[Path]:
    """A directory's files that are named after a batch, in order; what was set aside or half written is not.

    Of a link that leads out of the run, none.
    """
    if directory.is_symlink() and not directory.resolve().is_relative_to(directory.parent.resolve()):
        _log.warning("%s is a link that leads out of the run; it is not read", directory)
        return []
    return sorted((path for path in directory.glob("*.json") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def next_step(path: Path) -> int | None:
    """The step after the last row, which is the number of steps with rows; None if there is no file.

    Raises:
        StorageError: the file cannot be read.
    """
    if not path.exists():
        return None
    with _explaining(path):
        steps = (_step_of(line) for _, line in lines_from_end(path))
        return next((step + 1 for step in steps if step is not None), 0)


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. Restore the file or delete it") from error


def _step_of(line: bytes) -> int | None:
    """The step of a row; None for what is no row."""
    row = parse_row(line)
    return None if row is None else step_of(row)
