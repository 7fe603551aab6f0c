"""Saves that the service holds and the journal lacks."""

import json
from pathlib import Path

import pytest
from tests.conftest import read_rows

from socratic_distill import (
    CheckpointManager,
    ServiceError,
    StartError,
    TrainingError,
    load_checkpoints,
    resolve_start,
    train,
)
from socratic_distill.start import Resume
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault


def train_on(service, config):
    return train(config, service_client=service, rest_client=FakeRestClient(service))


def lines(run):
    return [json.loads(line) for line in (run / "checkpoints.jsonl").read_text().splitlines()]


def keep(run, wanted):
    """Leaves the lines of the journal for which `wanted` is true."""
    text = "".join(json.dumps(line) + "\n" for line in lines(run) if wanted(line))
    (run / "checkpoints.jsonl").write_text(text)


def rows(run):
    return [read_rows(run / f"{name}.jsonl") for name in ("metrics", "dialogues")]


class PlainRest(FakeRestClient):
    """A REST client of a server that keeps no `user_metadata`."""

    async def list_checkpoints(self, training_run_id):  # pyright: ignore[reportIncompatibleMethodOverride]
        listed = await super().list_checkpoints(training_run_id)
        plain = [one.model_copy(update={"user_metadata": None}) for one in listed.checkpoints]
        return listed.model_copy(update={"checkpoints": plain})


@pytest.fixture
def whole(make_config, tmp_path):
    train_on(FakeServiceClient(), make_config(log_path=tmp_path / "whole", max_steps=8))
    return rows(tmp_path / "whole")


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.mark.parametrize("rest", [FakeRestClient, PlainRest])
def test_state_without_a_record_is_adopted_and_gone_on_from(make_config, run, whole, caplog, rest):
    service = FakeServiceClient()
    train_on(service, make_config(max_steps=6))
    keep(run, lambda line: not (line.get("state_path") and line["batch"] in (4, 6)))
    if rest is PlainRest:  # a name like "final" tells no batch
        keep(run, lambda line: line.get("name") != "final")
    before = service.count("forward_backward")
    train(make_config(max_steps=8), service_client=service, rest_client=rest(service))
    adopted = [record for record in load_checkpoints(run) if record.adopted and record.resumed_at is None]
    assert [record.batch for record in adopted] == ([4] if rest is PlainRest else [4, 6])
    assert "it had no record" in caplog.text
    assert service.count("forward_backward") - before == (4 if rest is PlainRest else 2)
    assert rows(run) == whole


def test_process_that_dies_between_save_and_record_loses_nothing(make_config, run, whole, tmp_path, monkeypatch):
    right = CheckpointManager.append

    def die(self, record):
        if record.state_path and record.batch == 4:
            raise KeyboardInterrupt
        right(self, record)

    monkeypatch.setattr(CheckpointManager, "append", die)
    with pytest.raises(KeyboardInterrupt):
        train_on(FakeServiceClient(tmp_path / "server"), make_config(max_steps=8))
    monkeypatch.undo()
    service = FakeServiceClient(tmp_path / "server")
    train_on(service, make_config(max_steps=8))
    assert service.count("forward_backward") == 4
    assert rows(run) == whole


def test_state_ahead_of_the_rows_is_not_of_the_run(make_config, run):
    """Its batches have no rows: to go on behind it would leave a gap in the metrics."""
    service = FakeServiceClient()
    train_on(service, make_config(max_steps=6))
    keep(run, lambda line: not line.get("state_path") or line["batch"] <= 2)
    metrics = run / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:3]))
    train_on(service, make_config(max_steps=6))
    assert [record.batch for record in load_checkpoints(run) if record.resumed_at] == [2]
    assert [row["step"] for row in read_rows(metrics)] == list(range(6))


def test_abandoned_and_deleted_states_are_not_adopted(make_config, run):
    service = FakeServiceClient()
    rest = FakeRestClient(service)
    train_on(service, make_config(max_steps=6, save_every=1))
    # The run goes back to batch 2, and leaves states 3 to 6 of its first life behind.
    for line in lines(run):
        if line.get("state_path") and line["batch"] > 2:
            rest.set_checkpoint_ttl_from_tinker_path(line["state_path"], 3600).result()
    keep(run, lambda line: not line.get("state_path") or line["batch"] <= 2)
    (run / "metrics.jsonl").write_text("".join((run / "metrics.jsonl").read_text().splitlines(keepends=True)[:2]))
    train_on(service, make_config(max_steps=4, save_every=1))
    first_life = "fake-0001:train:0"
    adopted = [record for record in load_checkpoints(run) if record.adopted]
    assert adopted == []
    train_on(service, make_config(max_steps=6, save_every=1))
    states = [record.state_path or "" for record in load_checkpoints(run) if record.batch and record.batch > 2]
    assert not [path for path in states if first_life in path]


def test_saves_of_another_run_are_left_alone(make_config, run, tmp_path):
    service = FakeServiceClient()
    train_on(service, make_config(log_path=tmp_path / "other", max_steps=6))
    train_on(service, make_config(max_steps=4))
    with (run / "server_runs.jsonl").open("a") as file:
        file.write((tmp_path / "other" / "server_runs.jsonl").read_text())
    train_on(service, make_config(max_steps=6))
    assert not [record for record in load_checkpoints(run) if record.adopted]


def test_service_that_cannot_be_asked_stops_the_start_and_loses_nothing(make_config, run, whole):
    service = FakeServiceClient(faults=[Fault("list_checkpoints", error=500, times=4)])
    train_on(service, make_config(max_steps=6))
    before = (run / "checkpoints.jsonl").read_bytes()
    with pytest.raises(TrainingError, match="listing the saves of fake-0001:train:0"):
        train_on(service, make_config(max_steps=8))
    assert (run / "checkpoints.jsonl").read_bytes() == before
    train_on(service, make_config(max_steps=8))
    assert rows(run) == whole


# -- A journal that was lost -------------------------------------------------------------------------------


@pytest.mark.parametrize("known", ["given", "in the directory", "by the run's id"])
def test_lost_journal_is_rebuilt(make_config, run, tmp_path, whole, known):
    service = FakeServiceClient()
    rest = FakeRestClient(service)
    train_on(
        service, make_config(log_path=tmp_path / "other", max_steps=45, groups_per_batch=1, num_envs=1, max_turns=1)
    )
    train_on(service, make_config(max_steps=4))
    train_on(service, make_config(max_steps=6))
    train_on(
        service, make_config(log_path=tmp_path / "third", max_steps=45, groups_per_batch=1, num_envs=1, max_turns=1)
    )
    assert len(rest.list_user_checkpoints(limit=1000).result().checkpoints) > 100, "more than one page"
    start, paths = resolve_start(run), {path for line in load_checkpoints(run) for path in line.paths}
    ids = [row["server_run"] for row in read_rows(run / "server_runs.jsonl")]
    (run / "checkpoints.jsonl").unlink()
    if known == "by the run's id":
        (run / "server_runs.jsonl").unlink()
    added = CheckpointManager(run).rebuild(rest, ids if known == "given" else None)
    assert added > 0 and CheckpointManager(run).rebuild(rest, ids if known == "given" else None) == 0
    assert {path for line in load_checkpoints(run) for path in line.paths} == paths
    again = resolve_start(run)
    assert isinstance(start, Resume) and isinstance(again, Resume)
    assert (again.state_path, again.batch) == (start.state_path, start.batch)
    train_on(service, make_config(max_steps=8))
    assert rows(run) == whole


def test_rebuilt_journal_leaves_out_what_was_abandoned(make_config, run, tmp_path):
    fault = Fault("forward_backward", nth=4)
    service = FakeServiceClient(faults=[fault])
    train_on(service, make_config())
    paths = {path for line in load_checkpoints(run) for path in line.paths}
    (run / "checkpoints.jsonl").unlink()
    CheckpointManager(run).rebuild(FakeRestClient(service))
    rebuilt = {path for line in load_checkpoints(run) for path in line.paths}
    assert "tinker://fake-0001:train:0/sampler_weights/000004" not in rebuilt
    assert rebuilt <= paths


def test_rebuild_of_a_directory_that_names_nothing_says_what_it_needs(tmp_path):
    with pytest.raises(StartError, match="pass the ids of its server runs"):
        CheckpointManager(tmp_path).rebuild(FakeRestClient(FakeServiceClient()))


def test_rebuild_from_a_server_run_that_is_gone_adds_nothing(tmp_path):
    assert CheckpointManager(tmp_path).rebuild(FakeRestClient(FakeServiceClient()), ["nobody:train:0"]) == 0
    with pytest.raises(ServiceError):
        failing = FakeServiceClient(faults=[Fault("list_checkpoints", error=403)])
        CheckpointManager(tmp_path).rebuild(FakeRestClient(failing), ["nobody:train:0"])
    assert not Path(tmp_path / "checkpoints.jsonl").exists()
