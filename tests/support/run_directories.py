"""Run directories after a run: what stands in them, and what befalls them between two runs."""

import json
from pathlib import Path

from socratic_distill import CheckpointRecord, load_checkpoints
from socratic_distill.run.journal import Journal


def newest_state(run: Path) -> CheckpointRecord:
    """The record of the run's newest state."""
    state = Journal.of(load_checkpoints(run)).newest_state()
    assert state is not None
    return state


def forget_checkpoint(run: Path, path: str) -> None:
    """Takes every line that names a path out of the journal."""
    journal = run / "checkpoints.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    kept = [line for line in lines if path not in line]
    assert len(kept) < len(lines)
    journal.write_text("".join(kept))


def file_contents(directory: Path) -> dict[str, bytes]:
    """The content of each file in and below a directory, by its path from there."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def make_its_own(run: Path) -> None:
    """Has a copied run directory count as the run itself, as if it had been moved."""
    path = run / "run.json"
    if path.exists():
        path.write_text(json.dumps({"run_id": json.loads(path.read_text())["run_id"]}))


def states_by_batch(run: Path) -> dict[int, str]:
    """The paths of all states that the journal names."""
    records = Journal.read(run / "checkpoints.jsonl").records()
    return {record.batch or 0: record.state_path for record in records if record.state_path}
