"""Rows of a run's files, read one by one while the run may be writing, and files written so that none stands half."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from socratic_distill.errors import ConfigError, StorageError
from socratic_distill.files.durable import sync_directory
from socratic_distill.files.rows import number, read_rows, step_of, whole
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.finding import check_run
from socratic_distill.run.layout import (
    BESIDE_ANOTHER,
    CONFIG,
    DIALOGUES,
    FINGERPRINT,
    JOURNAL,
    METRICS,
    ORIGIN,
    RUN,
    SERVER_RUNS,
)
from socratic_distill.run.rollback import next_step
from socratic_distill.text import get_logger

_log = get_logger(__name__)


_OF_THE_RUN = {BESIDE_ANOTHER, CONFIG, DIALOGUES, FINGERPRINT, JOURNAL, METRICS, ORIGIN, RUN, SERVER_RUNS}


def run_directory(log_path: str | os.PathLike[str]) -> Path:
    """The directory of a run to export from; of a run in a store, a copy.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        ConfigError: there is no run.
        StorageError: the store fails.
    """
    directory = readable(log_path)
    check_run(log_path, directory)
    return directory


def read_file(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of the run, as `socratic_distill.files.rows.read_rows`.

    Raises:
        ConfigError: there is no file.
        StorageError: the file cannot be read.
    """
    if not path.exists() and not path.is_symlink():
        raise ConfigError(f"{path} does not exist; expected the directory of a run that did a step")
    return read_rows(path)


def read_dialogues(log_path: Path) -> Iterator[dict[str, Any]]:
    """The dialogues of a run's finished steps, in order: those that a row of metrics.jsonl vouches for.

    Dialogues of a later step stand there where the run is just writing them, or was killed meanwhile; they are played
    again.

    Raises:
        ConfigError: the directory holds no dialogues.
        StorageError: they cannot be read.
    """
    finished = next_step(log_path / METRICS)
    strangers = 0
    for row in read_file(log_path / DIALOGUES):
        if not _is_dialogue(row):
            strangers += 1
        elif finished is None or row["step"] < finished:
            yield row
    if strangers:
        _log.warning("%s: left out %d rows that are no dialogues as this version writes them", log_path, strangers)


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """A file to write text to, on disk at the end.

    Raises:
        OSError: it cannot be written.
    """
    path.unlink(missing_ok=True)  # what a crash left; a link there would be followed out of the directory
    with path.open("x", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file to write text to, which takes its place when it is whole; after an error nothing has changed.

    Raises:
        StorageError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with new_file(partial) as file:
            yield file
        os.replace(partial, path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        reason = error.strerror or error
        raise StorageError(f"{path} cannot be written: {reason}. Make room, or give another place") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check_file(out: Path, log_path: Path) -> None:
    """Refuses a place where no file can be, or where the run has one of its own.

    Raises:
        ConfigError: it is such a place.
    """
    if out.is_dir():
        raise ConfigError(f"{out} is a directory; expected the file to write")
    if out.name in _OF_THE_RUN and out.resolve().parent == log_path.resolve():
        raise ConfigError(f"{out} is a file of the run itself; give another name")


def _is_dialogue(row: dict[str, Any]) -> bool:
    turns, teachers = row.get("turns"), row.get("teachers")
    return (
        step_of(row) is not None
        and all(row.get(key) is None or isinstance(row[key], str) for key in ("initial_error", "student_profile"))
        and (row.get("number") is None or whole(row["number"]) is not None)
        and (row.get("reward") is None or number(row["reward"]) is not None)
        and (teachers is None or (isinstance(teachers, list) and all(isinstance(name, str) for name in teachers)))
        and all(isinstance(row.get(key), str) for key in ("seed", "question", "expected_answer", "ending"))
        and isinstance(turns, list)
        and all(isinstance(turn, dict) and isinstance(turn.get("text"), str) for turn in turns)
        and all(turn.get("role") in ("student", "tutor") for turn in turns)
    )
