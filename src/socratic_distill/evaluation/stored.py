"""Evaluations as a run keeps them: one file each, `evaluations/<batch>.json`, there whole or not at all."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socratic_distill.cloud.reading import readable
from socratic_distill.costs import Role
from socratic_distill.dialogue import PromptUse
from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.files import write_atomically
from socratic_distill.rollback import batch_files
from socratic_distill.run import EVALUATIONS


@dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation of a run, as its file holds it.

    Attributes:
        batch: the weights before this batch were measured; 0 is the tutor before its first step.
        tutor: their sampler path.
        measures: by name; none where it failed.
        dialogues: rows as in `dialogues.jsonl`, with the judge's `verdict` where there was one.
        error: what went wrong; None where nothing did.
        tokens: what its requests cost, by role.
        cost_usd: its estimated cost, USD; None where that is not known.
    """

    batch: int
    tutor: str
    measures: dict[str, Measure]
    dialogues: list[dict[str, Any]] = field(default_factory=list, repr=False)
    error: str | None = None
    tokens: dict[Role, PromptUse] = field(default_factory=dict)
    cost_usd: float | None = None


def write_evaluation(
    log_path: Path, batch: int, evaluation: Evaluation, seconds: float, cost_usd: float | None
) -> None:
    """Writes an evaluation of the weights before a batch, how long it took and what it cost, as far as that is known.

    Raises:
        StorageError: it cannot be written.
    """
    _write(_path(log_path, batch), {"batch": batch, "seconds": seconds, "cost_usd": cost_usd} | evaluation.row())


def write_failure(log_path: Path, batch: int, tutor: str, error: str) -> None:
    """Writes that an evaluation is not there, and why; the run's next start tries it again.

    Raises:
        StorageError: it cannot be written.
    """
    _write(_path(log_path, batch), {"batch": batch, "name": f"batch {batch}", "tutor": tutor, "error": error})


def load_evaluations(log_path: str | os.PathLike[str]) -> list[StoredEvaluation]:
    """The evaluations of a run, in order of batch; those of batches that ran again after a resume are left out.

    Args:
        log_path: directory of the run; it may be in a store.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        StorageError: the store fails.
    """
    directory = readable(log_path, lambda path: path.startswith(f"{EVALUATIONS}/"))
    return [_read(path) for path in batch_files(directory / EVALUATIONS)]


def _path(log_path: Path, batch: int) -> Path:
    return log_path / EVALUATIONS / f"{batch:06d}.json"


def _read(path: Path) -> StoredEvaluation:
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    measures = {name: Measure(**one) for name, one in row.get("measures", {}).items()}
    tokens: dict[Role, PromptUse] = {role: PromptUse(**use) for role, use in row.get("tokens", {}).items()}
    return StoredEvaluation(
        row["batch"],
        row["tutor"],
        measures,
        row.get("dialogues", []),
        row.get("error"),
        tokens,
        row.get("cost_usd"),
    )


def _write(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, json.dumps(row) + "\n")
