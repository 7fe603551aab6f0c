"""The names of the files in a run directory, and directories that belong to something else."""

import os
from dataclasses import dataclass
from pathlib import Path

from socratic_distill.config.log_path import is_url
from socratic_distill.config.paths import resolved
from socratic_distill.errors import ForeignDirectory, StartError
from socratic_distill.files.rows import parse, read_file, read_object
from socratic_distill.run.cloud.reading import readable

CONFIG = "config.json"
BESIDE_ANOTHER = "socratic_config.json"
"""Name of a run's config in a directory whose `config.json` is another tool's."""
RUN = "run.json"
ORIGIN = "origin.json"
FINGERPRINT = "fingerprint.json"
SERVER_RUNS = "server_runs.jsonl"
JOURNAL = "checkpoints.jsonl"
METRICS = "metrics.jsonl"
DIALOGUES = "dialogues.jsonl"
EVALUATIONS = "evaluations"
STUDENTS = "students.json"
"""How selectively the simulated students change their minds, where that was measured."""
SUITES = "suites"
"""Results of published suites, a file each, and the answers to their items in a folder each."""
_ROLES = ("tutor_model_name", "student_model_name", "teacher_model_name")


def config_file(directory: Path) -> Path:
    """The file that holds a run's config, or would hold it: `config.json` unless that is another tool's."""
    own = directory / BESIDE_ANOTHER
    return own if own.is_file() or _is_foreign(directory) else directory / CONFIG


def check_directory(log_path: str | os.PathLike[str]) -> None:
    """Returns if a run may be written to a directory. Reads only.

    Next to a journal of tinker-cookbook a foreign `config.json` is no obstacle: it is kept. URLs are checked when the
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
        has_run: whether a `run.json` lies next to it: then a text that cannot be read counts as a damaged one of the
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


def journal_file(log_path: str | os.PathLike[str]) -> Path:
    """The journal of a run directory; a path that names a `.jsonl` file is taken as it is.

    Of a run in a store it is a copy.
    """
    if is_url(log_path):
        url, slash, name = os.fspath(log_path).rpartition("/")
        directory = readable(url if name == JOURNAL else url + slash + name, JOURNAL.__eq__)
        return directory / JOURNAL
    path = Path(resolved(log_path))
    return path if path.suffix == ".jsonl" else path / JOURNAL


@dataclass(frozen=True)
class Origin:
    """What a run began from, as it was given and as it was resolved; both None for a fresh LoRA."""

    given: str | None = None
    resolved: str | None = None


def read_origin(directory: Path) -> Origin | None:
    """What the run in a directory began from; None where nothing tells, as in another tool's directory."""
    advice = "it says what the run began from. Mend it, or delete it to resume whatever load_checkpoint_path says"
    stored = read_object(directory / ORIGIN, StartError, advice)
    if stored is None:
        return None
    given, resolved = (stored.get(key, 0) for key in ("given", "resolved"))
    if not isinstance(given, str | None) or not isinstance(resolved, str | None):
        raise StartError(f"{directory / ORIGIN} cannot be read: 'given' or 'resolved' is no text; {advice}")
    return Origin(given=given, resolved=resolved)
