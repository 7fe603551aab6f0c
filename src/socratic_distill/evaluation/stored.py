"""Reads and writes the evaluations of a run, each in a file `evaluations/<batch>.json` that is complete or absent."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from socratic_distill.dialogues.dialogue import ModelRole, PromptUse
from socratic_distill.dialogues.stored import StoredDialogue
from socratic_distill.errors import StorageError
from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.measures_html import brief, measures_html
from socratic_distill.evaluation.paired import BySeed
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import number, read_object, step_of, to_line, whole
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.layout import EVALUATIONS
from socratic_distill.run.rollback import batch_files
from socratic_distill.text import get_logger, shown

_log = get_logger(__name__)


@dataclass(frozen=True, repr=False)
class StoredEvaluation:
    """An evaluation of a run, as its file holds it.

    Attributes:
        batch: the weights before this batch were measured; 0 is the tutor before its first step.
        tutor: sampler path of these weights.
        measures: by name; empty if the evaluation failed.
        dialogues: rows as in `dialogues.jsonl`, with the judge's `verdict` if there was a judge.
        error: what went wrong; None if nothing did.
        tokens: cost of its requests, by role.
        cost_usd: its estimated cost, USD; None if it is not known.
        by_seed: as of `Evaluation`; empty for one that was written by an older version.
    """

    batch: int
    tutor: str
    measures: dict[str, Measure]
    dialogues: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    tokens: dict[ModelRole, PromptUse] = field(default_factory=dict)
    cost_usd: float | None = None
    by_seed: dict[str, BySeed] = field(default_factory=dict)

    def __repr__(self) -> str:
        """What was measured, and the main measures or the error, in one line."""
        outcome = brief(self.measures) if self.error is None else f", error={shown(self.error)!r}"
        return f"StoredEvaluation(batch={self.batch}, dialogues={len(self.dialogues)}{outcome})"

    def _repr_html_(self) -> str:
        """The measures as a table, for notebooks."""
        notes = (self.tutor, f"{len(self.dialogues)} dialogues", *([self.error] if self.error else []))
        name = f"batch {self.batch}"
        return measures_html(f"Evaluation before {name}", {name: self.measures}, *notes)

    def dialogue(self, place: int) -> StoredDialogue:
        """One of its dialogues, to read.

        Args:
            place: number of the dialogue, from 0; a negative one counts from the end.
        """
        return StoredDialogue(self.dialogues[place])


def write_evaluation(
    log_path: Path, batch: int, evaluation: Evaluation, seconds: float, cost_usd: float | None
) -> None:
    """Writes an evaluation of the weights before a batch, with its duration and, if known, its cost.

    Raises:
        StorageError: the file cannot be written.
    """
    _write(_path(log_path, batch), evaluation.row() | {"batch": batch, "seconds": seconds, "cost_usd": cost_usd})


def write_failure(log_path: Path, batch: int, tutor: str, error: str) -> None:
    """Writes that an evaluation failed, with its error; the run's next start tries it again.

    Raises:
        StorageError: the file cannot be written.
    """
    _write(_path(log_path, batch), {"batch": batch, "name": f"batch {batch}", "tutor": tutor, "error": error})


def load_evaluations(log_path: str | os.PathLike[str]) -> list[StoredEvaluation]:
    """The evaluations of a run, in order of batch, without those of batches that ran again after a resume.

    A file that holds no evaluation is skipped with a warning.

    Args:
        log_path: directory of the run; it may be in a store.

    Raises:
        CloudExtraMissing: packages that the store needs are not installed.
        StorageError: the store fails.
    """
    directory = readable(log_path, lambda path: path.startswith(f"{EVALUATIONS}/"))
    evaluations = (_read(path, directory) for path in batch_files(directory / EVALUATIONS))
    return [evaluation for evaluation in evaluations if evaluation is not None]


def _path(log_path: Path, batch: int) -> Path:
    return log_path / EVALUATIONS / f"{batch:06d}.json"


def _read(path: Path, root: Path) -> StoredEvaluation | None:
    try:
        row = read_object(path, StorageError, "the evaluation is left out", lenient=True, root=root) or {}
    except StorageError as error:
        _log.warning("%s", error)
        return None
    batch, tutor, error = step_of({"step": row.get("batch")}), row.get("tutor"), row.get("error")
    measures, tokens, dialogues = row.get("measures", {}), row.get("tokens", {}), row.get("dialogues", [])
    is_valid = isinstance(measures, dict) and isinstance(tokens, dict) and isinstance(dialogues, list)
    if batch is None or not isinstance(tutor, str) or not isinstance(error, str | None) or not is_valid:
        _log.warning("%s is not an evaluation and is left out", path)
        return None
    return StoredEvaluation(
        batch,
        tutor,
        read_measures(measures),
        [dialogue for dialogue in dialogues if isinstance(dialogue, dict)],
        error,
        {role: _use(tokens[role]) for role in get_args(ModelRole) if isinstance(tokens.get(role), dict)},
        number(row.get("cost_usd")),
        read_by_seed(row.get("by_seed")),
    )


def read_measures(stored: object) -> dict[str, Measure]:
    """Measures by name, as a file holds them; what is none is left out.

    Args:
        stored: the value of `measures` in the file.
    """
    measures = stored if isinstance(stored, dict) else {}
    return {name: _measure(values) for name, values in measures.items() if isinstance(values, dict)}


def read_by_seed(stored: object) -> dict[str, BySeed]:
    """The sums of each measure by seed, as an evaluation's file holds them; what is none is left out.

    Args:
        stored: the value of `by_seed` in the file.
    """
    measures = stored if isinstance(stored, dict) else {}
    return {name: _sums(of_measure) for name, of_measure in measures.items() if isinstance(of_measure, dict)}


def _sums(row: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
    pairs = {seed: part for seed, part in row.items() if isinstance(part, list) and len(part) == 2}
    read = {seed: (number(total), whole(count) or 0) for seed, (total, count) in pairs.items()}
    return {seed: (total, count) for seed, (total, count) in read.items() if total is not None and count > 0}


def _measure(row: Mapping[str, Any]) -> Measure:
    value, low, high = (number(row.get(key)) for key in ("value", "low", "high"))
    return Measure(value, low, high, whole(row.get("count")) or 0)


def _use(row: Mapping[str, Any]) -> PromptUse:
    return PromptUse(*(max(whole(row.get(key)) or 0, 0) for key in ("sent", "cached", "sampled")))


def _write(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, to_line(row)[0])
