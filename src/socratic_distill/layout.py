"""Which file of a directory holds a run's config, and directories that belong to something else."""

import os
from pathlib import Path

from socratic_distill.cloud.urls import is_url
from socratic_distill.errors import ForeignDirectory
from socratic_distill.paths import resolved
from socratic_distill.rows import parse, read_file

CONFIG = "config.json"
BESIDE_ANOTHER = "socratic_config.json"
"""Name of a run's config in a directory whose `config.json` is another tool's."""
RUN = "run.json"
JOURNAL = "checkpoints.jsonl"
_ROLES = ("tutor_model_name", "student_model_name", "teacher_model_name")


def config_file(directory: Path) -> Path:
    """The file that holds a run's config, or would hold it: `config.json` unless that is another tool's."""
    own = directory / BESIDE_ANOTHER
    return own if own.is_file() or _is_foreign(directory) else directory / CONFIG


def check_directory(log_path: str | os.PathLike[str]) -> None:
    """Returns if a run may be written to a directory. Reads only.

    Beside a journal of tinker-cookbook a foreign `config.json` is no obstacle: it is kept. URLs are checked when the
    store is opened.

    Raises:
        ForeignDirectory: it holds a `config.json` that no run wrote, and no journal.
    """
    directory = Path(resolved(log_path))
    if not is_url(log_path) and not (directory / JOURNAL).exists() and _is_foreign(directory):
        raise ForeignDirectory(
            f"log_path={os.fspath(log_path)!r} is the directory of something else: its {CONFIG} is not a run's. "
            "Expected a new or empty directory, or that of a run. Take another log_path"
        )


def is_foreign(data: bytes, has_run: bool) -> bool:
    """Whether the text of a `config.json` is a model's or another tool's, and not a run's.

    Args:
        data: the text.
        has_run: whether a `run.json` lies beside it: then a text that cannot be read counts as a damaged one of the
            run's.
    """
    try:
        stored = parse(data)
    except ValueError:
        return not has_run
    return not isinstance(stored, dict) or not all(name in stored for name in _ROLES)


def _is_foreign(directory: Path) -> bool:
    path = directory / CONFIG
    if not os.path.lexists(path):
        return False
    try:
        data = read_file(path)
    except OSError:
        data = b""
    return is_foreign(data, (directory / RUN).is_file())
