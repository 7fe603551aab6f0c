"""A run in one row: its status, its newest figures, its cost. Reads the ends of files; any file may be damaged.

Nothing is changed. Neither a service nor the process that writes to the run is asked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic_core import from_json

from socratic_distill.files.rows import number, parse, parse_row, read_part, reason_of, step_of, whole
from socratic_distill.run.finding import shown_path
from socratic_distill.run.journal import Journal
from socratic_distill.run.journal_lines import bad_lines
from socratic_distill.run.layout import CONFIG, DIALOGUES, EVALUATIONS, JOURNAL, METRICS, ORIGIN, RUN, config_file
from socratic_distill.run.lock import is_locked
from socratic_distill.run.rollback import batch_files

Status = Literal["complete", "interrupted", "running", "damaged"]

# A row of metrics takes some 3 kB, a record of the journal 0.5 kB; the measures of an evaluation stand first in it.
_PART_BYTES = 1 << 18
_MEASURES = {"teacher_kl": "teacher_kl", "tells": "first_reply/tells", "asks": "first_reply/asks", "solved": "solved"}
_EVALUATED = _MEASURES | {"solved_untold": "solved/untold"}
_MOST_EVALUATIONS = 20


@dataclass(frozen=True)
class Overview:
    """What a run directory says in short.

    Attributes:
        path: the directory, as a user of this working directory would type it.
        status: "running" if another process holds its lock; "complete" if its last step was done; "damaged" if one of
            its files cannot be read; else "interrupted".
        problem: why it is damaged; None if it is not.
        steps: finished steps; None if unknown.
        total: steps that were asked for; None if the config does not say, or is unknown.
        step: measures of the last step: `teacher_kl` in nats a token, `tells`, `asks` and `solved` as shares.
        evaluation: those of the last evaluation, with its `batch` and the share `solved_untold`; empty without one.
        cost_usd: estimated cost so far, USD; None if it is unknown.
        started_from: the `load_checkpoint_path` that the run began from; None for a fresh LoRA, or if unknown.
        changed: when a file of it last changed; None if unknown.
    """

    path: str
    status: Status
    problem: str | None = None
    steps: int | None = None
    total: int | None = None
    step: Mapping[str, float | None] = field(default_factory=dict)
    evaluation: Mapping[str, float | None] = field(default_factory=dict)
    cost_usd: float | None = None
    started_from: str | None = None
    changed: datetime | None = None

    def row(self) -> dict[str, Any]:
        """The same as JSON."""
        return asdict(self) | {"changed": self.changed.isoformat() if self.changed else None}


def overview_of(directory: Path) -> Overview:
    """A run's row. Never an error: what cannot be read makes the run "damaged"."""
    path = shown_path(directory)
    try:
        return _read(directory, path)
    except Exception as error:  # whatever a stranger put there must not hide the other runs
        return Overview(path, "damaged", f"{type(error).__name__}: {error}", changed=_changed(directory))


def _read(directory: Path, path: str) -> Overview:
    problems: list[str] = []
    config = _object(config_file(directory), problems)
    if not config and not problems and (directory / RUN).exists():
        problems.append(f"{CONFIG} is missing")
    origin = _object(directory / ORIGIN, problems)
    last = _last_metrics(directory / METRICS, problems)
    has_ended = _has_ended(directory / JOURNAL, problems)
    steps = step_of(last)
    started_from = origin.get("given")
    status: Status = "running" if is_locked(directory) else "complete" if has_ended else "interrupted"
    return Overview(
        path,
        "damaged" if problems else status,
        "; ".join(problems) or None,
        0 if steps is None else steps + 1,
        whole(config.get("max_steps")),
        {short: number(last.get(name)) for short, name in _MEASURES.items()} if last else {},
        _last_evaluation(directory / EVALUATIONS),
        number(last.get("cost/total_usd")),
        started_from if isinstance(started_from, str) else None,
        _changed(directory),
    )


def _object(path: Path, problems: list[str]) -> dict[str, Any]:
    """A small JSON object; empty if there is no file, or it cannot be read."""
    with _noting(path, problems):
        value = parse(read_part(path, _PART_BYTES), lenient=True)
        if isinstance(value, dict):
            return value
        raise ValueError("it holds no JSON object")
    return {}


def _last_metrics(path: Path, problems: list[str]) -> dict[str, Any]:
    """The row of the last step; empty before the first."""
    with _noting(path, problems):
        lines = [line for line in read_part(path, _PART_BYTES, from_end=True).split(b"\n") if line.strip()]
        rows = (parse_row(line) for line in reversed(lines))
        if row := next((row for row in rows if row is not None and step_of(row) is not None), None):
            return row
        if lines:
            raise ValueError("its last lines hold no step")
    return {}


def _has_ended(path: Path, problems: list[str]) -> bool:
    """Whether the newest state in the journal is the one of a completed run."""
    with _noting(path, problems):
        data = read_part(path, _PART_BYTES, from_end=True)
        start = data.find(b"\n") + 1 if len(data) == _PART_BYTES else 0  # the first line may have been cut
        journal = Journal(data[start:])
        if wrong := sum(bool(line.bad) and not line.torn for line in bad_lines(journal.data)):
            raise ValueError(f"{wrong} of its last lines hold no record")
        current = [record for record, is_superseded in journal.lineage() if not is_superseded]
        states = [record for record in current if record.state_path or record.final]
        return bool(states) and bool(states[-1].final)
    return False


def _last_evaluation(directory: Path) -> dict[str, float | None]:
    """Measures of the newest evaluation that did not fail; empty without one."""
    with suppress(OSError):
        for path in batch_files(directory)[: -_MOST_EVALUATIONS - 1 : -1]:
            with suppress(OSError, ValueError):
                # The file may be large: its dialogues come after its measures, and are cut off.
                row = from_json(read_part(path, _PART_BYTES, directory.parent), allow_partial=True)
                if isinstance(row, dict) and isinstance(measures := row.get("measures"), dict) and measures:
                    values = {short: _value(measures.get(name)) for short, name in _EVALUATED.items()}
                    return {"batch": whole(row.get("batch"))} | values
    return {}


@contextmanager
def _noting(path: Path, problems: list[str]) -> Iterator[None]:
    """Adds to the problems why a file cannot be read; a missing file is none."""
    try:
        yield
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read: {reason_of(error)}")


def _value(measure: object) -> float | None:
    return number(measure.get("value")) if isinstance(measure, dict) else None


def _changed(directory: Path) -> datetime | None:
    times = []
    for name in (CONFIG, METRICS, DIALOGUES, JOURNAL):
        with suppress(OSError, ValueError):
            times.append((directory / name).lstat().st_mtime)
    with suppress(OverflowError, OSError, ValueError):  # a time that no calendar has
        return datetime.fromtimestamp(max(times), UTC)
    return None
