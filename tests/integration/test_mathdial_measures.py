"""On all conversations of MathDial's sample, Success@k and Telling@k are those of the dataset's own script.

`SOCRATIC_DATA` names a folder with `mathdial_sample.jsonl`, the first 100 rows of MathDial's test split as published.
`scripts/record_mathdial.py` recorded the figures and documents how.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_published_data import MATHDIAL, MATHDIAL_ROWS, published
from tests.support.rows import read_rows

from socratic_distill import load_seeds
from socratic_distill.dialogues.recordings import load_recordings, parse_conversation
from socratic_distill.evaluation.mathdial import success_at_k, telling_at_k

pytestmark = pytest.mark.data

FILE = Path(__file__).parents[1] / "data_samples" / "mathdial_recorded.json"
RECORDED: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))["sample"]


def figures(turns: list[tuple[str, str]], answer: str) -> str:
    measures = ((measure(turns, answer, k) for k in range(1, 8)) for measure in (success_at_k, telling_at_k))
    return " ".join("".join(str(int(one)) for one in each) for each in measures)


def as_published(row: dict[str, Any]) -> list[tuple[str, str]]:
    parts = [part.partition(":") for part in row["conversation"].split("|EOM|")]
    return [("tutor" if name == "Teacher" else "student", text) for name, _, text in parts]


def test_measures_of_published_conversations_equal_the_datasets_script():
    path = published(MATHDIAL)
    found = {
        seed.id: figures(as_published(row), row["ground_truth"].split("\n")[-1].strip())
        for seed, row in zip(load_seeds(path), read_rows(path, without=()), strict=True)
    }
    assert len(found) == MATHDIAL_ROWS and found == RECORDED
    assert len(set(found.values())) > 10, "the figures hardly differ, so that equal ones say little"


def test_conversations_as_recordings_are_read_give_the_same_figures():
    """But for those in which one side speaks twice in a row: the reader makes one turn of them, which shifts k."""
    path, same = published(MATHDIAL), 0
    for recording, row in zip(load_recordings([path]), read_rows(path, without=()), strict=True):
        turns = [(turn.role, turn.text) for turn in parse_conversation(row["conversation"])]
        if len(turns) == len(as_published(row)):
            assert figures(turns, recording.seed.expected_answer) == RECORDED[recording.id]
            same += 1
    assert same > 90
