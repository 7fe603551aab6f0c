"""What is left of a run: what counts as its end."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.on_the_fake import train_on_fake

from socratic_distill import CheckpointManager, CheckpointRecord, Resume, SaveError, ServiceError
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.plan import final_paths
from socratic_distill.run.start import FreshStart
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def state(name: str, batch: int = 6, **extra: Any) -> CheckpointRecord:
    path = f"tinker://run/weights/{name}"
    return CheckpointRecord.model_validate({"name": name, "batch": batch, "state_path": path, **extra})


def sampler(name: str, batch: int = 6, final: bool | None = True) -> CheckpointRecord:
    return CheckpointRecord(name=name, batch=batch, sampler_path=f"tinker://run/sampler_weights/{name}", final=final)


def deletion(path: str | None) -> CheckpointRecord:
    return CheckpointRecord(name="gone", batch=6, deleted_path=path)


def finals_of(directory: Path, *records: CheckpointRecord) -> tuple[str | None, str | None]:
    """The names of the final state and sampler weights that a run has that goes on from the newest of its states."""
    manager = CheckpointManager(directory)
    for record in records:
        manager.append(record)
    run = RunDirectory(directory)
    last = [record for record in records if record.resumable][-1]
    assert last.state_path is not None and last.batch is not None
    found = final_paths(run, Resume(last.state_path, last.batch, last))
    return tuple(path and path.rsplit("/", 1)[-1] for path in found)  # pyright: ignore[reportReturnType]


END, PERIODIC = state("final", final=True), state("000006")
WENT_BACK = state("000004", 4, resumed_at=NOW)


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ((sampler("final"), END), ("final", "final")),
        ((sampler("000006", final=None), PERIODIC), (None, None)),
        ((sampler("final"), PERIODIC), (None, "final")),
        ((sampler("first"), sampler("second"), END), ("final", "second")),
        ((sampler("early", 5), END), ("final", None)),
        ((sampler("final"), END, WENT_BACK, PERIODIC), (None, None)),
        ((sampler("old"), END, WENT_BACK, sampler("new"), PERIODIC), (None, "new")),
        ((sampler("first"), sampler("second"), deletion(sampler("second").sampler_path), END), ("final", "first")),
        ((sampler("final"), END, deletion(sampler("final").sampler_path)), ("final", None)),
        ((sampler("final"), END, END.model_copy(update={"resumed_at": NOW})), ("final", "final")),
    ],
    ids=[
        "both", "none", "sampler weights alone", "two", "of an earlier batch", "superseded", "superseded, then new",
        "the newest deleted", "deleted", "resumed from the end",
    ],
)  # fmt: skip
def test_the_end_of_a_run_is_of_its_lineage_and_was_not_deleted(tmp_path, records, found):
    assert finals_of(tmp_path, *records) == found


def test_a_run_that_does_not_resume_has_no_end(tmp_path):
    CheckpointManager(tmp_path).append(sampler("final"))
    assert final_paths(RunDirectory(tmp_path), FreshStart()) == (None, None)


def test_final_sampler_weights_of_an_abandoned_lineage_are_not_handed_out(make_config, tmp_path):
    server = tmp_path / "server"

    def life(*faults: Fault, **changes: Any) -> Any:
        service = FakeServiceClient(server, faults=faults)
        return train_on_fake(service, make_config(**changes))

    first = life()
    rest = FakeRestClient(FakeServiceClient(server))
    for path in (first.state_path, first.sampler_path):
        rest.delete_checkpoint_from_tinker_path(path).result()
    # Goes on from batch 4: the end of the first life is superseded.
    with pytest.raises(ServiceError):
        life(Fault("forward_backward", error=401, times=99), max_steps=8)
    # Comes to an end of its own, whose sampler weights the service fails to save.
    with pytest.raises(SaveError):
        life(Fault("save_weights_for_sampler", nth=3, error="request_failed"), max_failed_saves=1)
    last = life()
    listed = FakeRestClient(FakeServiceClient(server)).list_user_checkpoints().result().checkpoints
    assert {last.state_path, last.sampler_path} <= {one.tinker_path for one in listed}
    assert last.sampler_path != first.sampler_path
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 5
    assert life().status == "already_complete"
