"""What a run began from and saved."""

from datetime import UTC, datetime

import pytest
from tests.support.written_runs import write_run

from socratic_distill.outputs.report.lineage import began, lives, read_lineage
from socratic_distill.outputs.report.reading import read_run
from socratic_distill.run.journal import Journal
from socratic_distill.run.record import CheckpointRecord

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def record(batch, kind, **changes):
    name = f"{batch:06d}"
    state, sampler = f"tinker://x/weights/{name}" if kind != "sampler" else None, f"tinker://x/{name}"
    return CheckpointRecord(name=name, batch=batch, kind=kind, state_path=state, sampler_path=sampler, **changes)


def lineage_of(tmp_path, *records):
    run = read_run(write_run(tmp_path))
    (tmp_path / "checkpoints.jsonl").write_bytes(Journal.of(records).data)
    return read_lineage(run), run


def test_states_are_rows_and_sampler_weights_are_counted(tmp_path):
    saved, _ = lineage_of(
        tmp_path, record(0, "sampler"), record(1, "sampler"), record(2, "periodic", created_at=NOON, expires_at=NOON)
    )
    assert (saved.samplers, saved.states_of, saved.status, saved.resumed) == (2, 1, "not finished", ())
    assert saved.states == [
        {
            "batch": 2, "kind": "periodic", "state": "tinker://x/weights/000002", "sampler": "tinker://x/000002",
            "saved": "2026-05-04 12:00 UTC", "expires": "2026-05-04 12:00 UTC", "marks": "",
        }
    ]  # fmt: skip


def test_what_a_resume_left_behind_is_superseded(tmp_path):
    resumed = record(2, "periodic", resumed_at=NOON)
    final = record(3, "final", final=True)
    saved, _ = lineage_of(tmp_path, record(2, "periodic"), record(4, "interrupted"), resumed, final)
    assert (saved.resumed, saved.status) == ((2,), "complete")
    assert [(row["batch"], row["marks"]) for row in saved.states] == [(2, ""), (4, "superseded"), (3, "")]


@pytest.mark.parametrize(("kind", "status"), [("interrupted", "interrupted"), ("periodic", "not finished")])
def test_the_last_state_tells_the_status(tmp_path, kind, status):
    assert lineage_of(tmp_path, record(2, kind))[0].status == status


def test_deleted_and_adopted_saves_are_marked(tmp_path):
    gone = CheckpointRecord(name="x", deleted_path="tinker://x/weights/000002")
    saved, _ = lineage_of(tmp_path, record(2, "periodic", adopted=True), gone)
    assert saved.states[0]["marks"] == "found on the service, deleted"


def test_very_many_states_are_cut_to_the_newest(tmp_path):
    saved, _ = lineage_of(tmp_path, *(record(batch, "rolling") for batch in range(300)))
    assert (saved.states_of, len(saved.states), saved.states[-1]["batch"]) == (300, 200, 299)


def test_a_journal_that_cannot_be_read_is_noted(tmp_path):
    run = read_run(write_run(tmp_path))
    (tmp_path / "checkpoints.jsonl").mkdir()
    assert read_lineage(run).states == []
    assert len(run.notes) == 1 and "checkpoints.jsonl cannot be read" in run.notes[0]


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (None, "unknown: the directory holds no origin.json"),
        ({"given": None, "resolved": None}, "a fresh LoRA"),
        ({"given": "tinker://a/weights/1", "resolved": "tinker://a/weights/1"}, "the weights of tinker://a/weights/1"),
        (
            {"given": "runs/1", "resolved": "tinker://a/weights/1"},
            "the weights of tinker://a/weights/1, given as runs/1",
        ),
        ({"given": "runs/1"}, "the weights of runs/1"),
    ],
)
def test_the_beginning_is_told_in_words(origin, told):
    assert began(origin) == told


def test_lives_on_the_service_are_told_in_words():
    assert lives([{"server_run": "a", "batch": 0}, {"server_run": "b", "batch": 4}]) == "a from batch 0; b from batch 4"
    assert lives([]) == "none recorded"
