"""What a run that was killed must have in common with a whole one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.rows import NOT_REPEATED
from tests.support.run_directories import newest_state

from socratic_distill.testing.store import DirectoryStore


def fake_fields(seeds_file: Path, steps: int) -> dict[str, Any]:
    """The fields of a config, but for its log_path, that a process of its own can be given."""
    return dict(
        tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
        max_tokens=4, seeds_file=str(seeds_file), groups_per_batch=2, num_envs=1, max_turns=1, max_steps=steps,
        save_every=5, rolling_save_every=3, display="off",
    )  # fmt: skip


def texts_of_rows(run: Path, name: str) -> list[str]:
    """The rows' own text, but for what time, memory and recoveries put there."""
    kept = []
    for line in (run / name).read_text().splitlines():
        assert "://" not in line and str(run) not in line, "a row names a path on the service"
        row = json.loads(line)
        kept.append(json.dumps({key: row[key] for key in row if not key.startswith((*NOT_REPEATED, "recovery/"))}))
    return kept


def final_state(run: Path) -> str:
    """The path of the run's final state, which is its newest."""
    state = newest_state(run)
    assert state.state_path is not None and state.final
    return state.state_path


def assert_same_rows(run: Path, whole: Path) -> None:
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        assert texts_of_rows(run, name) == texts_of_rows(whole, name), f"{name} differs"


def assert_same_run_on_the_fake(run: Path, server: Path, whole: Path, whole_server: Path) -> None:
    """Both runs, on fake services in these directories, have the same rows and the same final weights."""
    assert_same_rows(run, whole)
    ours, theirs = _final_arrays(run, server), _final_arrays(whole, whole_server)
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)


def _final_arrays(run: Path, server: Path) -> dict[str, Any]:
    store = DirectoryStore(server)
    header = store.header(final_state(run))
    assert header is not None
    return store.arrays(header)
