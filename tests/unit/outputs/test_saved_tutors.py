import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.rows import write_rows

from socratic_distill import CheckpointNotFound
from socratic_distill.outputs.exports.tutors import newer_samplers, saved_tutors

PAST, FUTURE = ((datetime.now(UTC) + timedelta(days=days)).isoformat() for days in (-1, 1))


def state(batch: int | None, name: str | None = None, **more: Any) -> dict[str, Any]:
    name = name or f"n{batch}"
    return {"name": name, "batch": batch, "state_path": f"tinker://r/weights/{name}"} | more


def sampler(batch: int, **more: Any) -> dict[str, Any]:
    return {"name": f"s{batch}", "batch": batch, "sampler_path": f"tinker://r/sampler_weights/s{batch}"} | more


def names(run: Path, *rows: dict[str, Any], name: str | None = None) -> list[str]:
    write_rows(run / "checkpoints.jsonl", *rows)
    return [tutor.record.name for tutor in saved_tutors(run, run, name)]


def test_the_newest_comes_first_by_batch_and_not_by_line(tmp_path):
    assert names(tmp_path, state(2), state(6), sampler(7), state(4)) == ["n6", "n4", "n2"]
    assert names(tmp_path, state(3, epoch=0), state(1, epoch=1)) == ["n1", "n3"]
    assert names(tmp_path, state(None, "other"), state(0)) == ["n0", "other"]


def test_of_one_batch_the_later_line_comes_first(tmp_path):
    assert names(tmp_path, state(2, "a"), state(2, "b")) == ["b", "a"]


def test_deleted_expired_and_superseded_states_are_left_out(tmp_path):
    rows = [state(1), state(2, expires_at=FUTURE), state(3, expires_at=PAST), state(4), state(5)]
    gone = {"name": "n4", "batch": 4, "deleted_path": "tinker://r/weights/n4"}
    went_on = state(1, resumed_at=FUTURE)
    assert names(tmp_path, *rows, gone) == ["n5", "n2", "n1"]
    assert set(names(tmp_path, *rows, went_on)) == {"n1"}


def test_weights_after_a_step_that_is_not_finite_are_left_out_unless_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 2, "teacher_kl": NaN}\n')
    assert names(tmp_path, state(2), state(3)) == ["n2"]
    assert names(tmp_path, state(2), state(3), name="n3") == ["n3"]
    with pytest.raises(CheckpointNotFound, match=r"figures of step 2 are not finite. Name a checkpoint"):
        names(tmp_path, state(3))


def test_local_weights_are_the_samplers_before_the_state(tmp_path):
    row = {"name": "a", "batch": 1, "state_path": "/l/weights/a", "sampler_path": "/l/sampler_weights/a"}
    write_rows(tmp_path / "checkpoints.jsonl", row)
    for name in (None, "a"):
        tutors = saved_tutors(tmp_path, tmp_path, name)
        assert [tutor.path for tutor in tutors] == ["/l/sampler_weights/a", "/l/weights/a"]
        assert all(tutor.is_local for tutor in tutors)


@pytest.mark.parametrize(
    ("rows", "name", "message"),
    [
        ([], None, "it saved none yet"),
        ([state(1, expires_at=PAST)], None, "all of them have expired"),
        ([sampler(1)], None, "sampler weights alone, which the service does not give out.*save_every"),
        ([sampler(1)], "s1", "sampler weights alone"),
        ([sampler(1), state(2)], "s1", "only training states can be downloaded; those that can be exported are n2"),
        ([state(1)], "x", "no checkpoint named 'x'; those that can be exported are n1"),
        ([state(batch) for batch in range(8)], "x", "are n7, n6, n5, n4, n3 and 3 more"),
        ([state(1), {"name": "n1", "batch": 1, "deleted_path": "tinker://r/weights/n1"}], "n1", "was deleted"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path, rows, name, message):
    with pytest.raises(CheckpointNotFound, match=message):
        names(tmp_path, *rows, name=name)


def test_sampler_weights_that_are_newer_are_told(tmp_path):
    write_rows(tmp_path / "checkpoints.jsonl", state(2), sampler(1), sampler(5), sampler(4))
    tutor = saved_tutors(tmp_path, tmp_path, None)[0]
    newer = newer_samplers(tmp_path, tutor)
    assert newer is not None and newer.name == "s5" and tutor.when == "after 2 steps"
    write_rows(tmp_path / "checkpoints.jsonl", state(5), sampler(5))
    assert newer_samplers(tmp_path, saved_tutors(tmp_path, tmp_path, None)[0]) is None


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    (tmp_path / "checkpoints.jsonl").write_text(f"garbage\n{json.dumps(state(1))}\n[]\n")
    assert [tutor.record.name for tutor in saved_tutors(tmp_path, tmp_path, None)] == ["n1"]
