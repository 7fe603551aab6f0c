"""What a run directory holds, for its report. Reads alone; any file may be missing, empty or torn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socratic_distill.files import rows
from socratic_distill.files.rows import Line, step_of, whole
from socratic_distill.run.finding import check_run
from socratic_distill.run.layout import (
    BESIDE_ANOTHER,
    CONFIG,
    DIALOGUES,
    EVALUATIONS,
    METRICS,
    ORIGIN,
    SERVER_RUNS,
)
from socratic_distill.run.rollback import batch_files

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of a run.

    Attributes:
        path: its file, which holds its dialogues too.
        batch: the weights before this batch were measured.
        tutor: their sampler path.
        measures: by name, as the file has them.
        by_seed: sums of the measures by seed, as the file has them; None in files of older versions.
    """

    path: Path
    batch: int
    tutor: str
    measures: Row
    by_seed: object = None

    def dialogues(self) -> list[Row]:
        """Its dialogues, read anew each time: the run may hold many evaluations."""
        try:
            dialogues = (rows.parse_row(rows.read_file(self.path)) or {}).get("dialogues")
        except OSError:  # it has gone since
            return []
        return [row for row in dialogues if isinstance(row, dict)] if isinstance(dialogues, list) else []


@dataclass
class RunFiles:
    """The small files of a run, read whole, and where its dialogues are.

    Attributes:
        path: the directory, as it was given.
        name: its last folder.
        config: `config.json`; empty where there is none.
        origin: `origin.json`; None where there is none.
        server_runs: rows of `server_runs.jsonl`.
        metrics: rows of `metrics.jsonl` by step, in order; of a step that stands twice the later one.
        evaluations: those that can be read, in order of their batches.
        notes: what could not be read, in sentences.
    """

    path: Path
    name: str
    config: Row = field(default_factory=dict)
    origin: Row | None = None
    server_runs: list[Row] = field(default_factory=list)
    metrics: dict[int, Row] = field(default_factory=dict)
    evaluations: list[Evaluated] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def dialogues(self) -> Path:
        """The file of its dialogues; it need not exist."""
        return self.path / DIALOGUES


def read_run(path: Path) -> RunFiles:
    """Reads a run directory, its dialogues apart.

    Raises:
        ConfigError: the directory holds no run.
    """
    check_run(path)
    run = RunFiles(path, path.resolve().name or str(path))
    own = path / BESIDE_ANOTHER
    run.config = _read_object(own if own.is_file() else path / CONFIG, run.notes) or {}
    run.origin = _read_object(path / ORIGIN, run.notes)
    run.server_runs = [line.row for line in read_lines(path / SERVER_RUNS, run.notes)]
    lines = read_lines(path / METRICS, run.notes)
    steps = {step: line.row for line in lines if (step := step_of(line.row)) is not None}
    run.metrics = dict(sorted(steps.items()))
    run.evaluations = _read_evaluations(path / EVALUATIONS, run.notes)
    return run


def run_names(runs: Sequence[RunFiles]) -> list[str]:
    """The runs' folders, with the path where two are called alike."""
    names = [run.name for run in runs]
    return [run.name if names.count(run.name) == 1 else str(run.path) for run in runs]


def read_lines(path: Path, notes: list[str]) -> Iterator[Line]:
    """The objects of a JSONL file, one at a time; what is none is passed over and counted in `notes`."""
    skipped: list[int] = []
    try:
        yield from rows.read_lines(path, skipped)
    except FileNotFoundError:
        return
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {rows.reason_of(error)}.")
    if skipped:
        lines = "line" if len(skipped) == 1 else "lines"
        notes.append(f"{len(skipped)} {lines} of {path.name} cannot be read and are left out.")


def _read_object(path: Path, notes: list[str], root: Path | None = None) -> Row | None:
    try:
        row = rows.parse_row(rows.read_file(path, root))
    except FileNotFoundError:
        return None
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {rows.reason_of(error)}.")
        return None
    if row is None:
        notes.append(f"{path.name} holds no JSON object and is left out.")
    return row


def _read_evaluations(directory: Path, notes: list[str]) -> list[Evaluated]:
    evaluated: list[Evaluated] = []
    for path in batch_files(directory):
        row = _read_object(path, notes, directory.parent)
        if row is None:
            continue
        if "error" in row:
            notes.append(f"Evaluation {path.stem} failed: {row['error']}")
        elif isinstance(row.get("measures"), dict) and (batch := whole(row.get("batch"))) is not None:
            evaluated.append(Evaluated(path, batch, str(row.get("tutor", "")), row["measures"], row.get("by_seed")))
        else:
            notes.append(f"{EVALUATIONS}/{path.name} is no evaluation and is left out.")
    return sorted(evaluated, key=lambda evaluation: evaluation.batch)
