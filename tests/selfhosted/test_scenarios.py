"""The guide's three ways of starting a run, and what becomes of checkpoints that are gone."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.selfhosted.runs import assert_alike, dialogues_played, finished_rows
from tests.support.run_directories import make_its_own, states_by_batch

from socratic_distill import CheckpointNotFound, FreshStart, NoUsableCheckpoint, Resume, resolve_start, train
from socratic_distill.cli import main
from socratic_distill.run.journal import Journal

pytestmark = pytest.mark.selfhosted


@pytest.fixture
def own(whole, tmp_path):
    """A copy of the whole run's directory, to go on in."""
    run = shutil.copytree(whole, tmp_path / "own")
    make_its_own(run)
    return run


def delete(host: Any, *paths: str) -> None:
    import tinker

    rest = tinker.RestClient(base_url=host.url)
    for path in paths:
        rest.delete_checkpoint_from_tinker_path(path).result()


@pytest.mark.scenario("fresh run")
def test_a_run_is_trained_saved_and_complete(whole):
    metrics = finished_rows(whole)
    assert [row["step"] for row in metrics] == [row["version"] for row in metrics] == list(range(6))
    assert sorted(states_by_batch(whole)) == [2, 4, 6]
    assert all(row["drift/max"] < 0.01 for row in metrics), "sampler and trainer disagree on the tokens"
    assert len({row["teacher_kl"] for row in metrics}) == 6


@pytest.mark.scenario("resume")
def test_the_same_path_resumes_three_lives_long(make_config, own):
    for life, steps in enumerate((7, 8), start=2):
        start = resolve_start(own)
        assert isinstance(start, Resume) and start.batch == steps - 1
        assert train(make_config(log_path=own, max_steps=steps)).status == "completed"
        assert len(finished_rows(own, "server_runs")) == life
    assert [row["step"] for row in finished_rows(own)] == list(range(8))
    assert train(make_config(log_path=own, max_steps=8)).status == "already_complete"


@pytest.mark.scenario("a second fresh run is equal")
def test_a_different_path_starts_fresh_and_does_the_same(make_config, host, whole, tmp_path):
    assert isinstance(resolve_start(tmp_path / "run"), FreshStart)
    train(make_config())
    assert_alike(tmp_path / "run", whole, host.server.leeway)


@pytest.mark.scenario("start from a checkpoint")
@pytest.mark.parametrize("form", ["short", "full", "journal"])
def test_a_different_path_builds_on_a_checkpoint(make_config, whole, tmp_path, form):
    state = states_by_batch(whole)[4]
    server_run = state.removeprefix("tinker://").split("/")[0]
    given = {"short": f"tinker://{server_run}/000004", "full": state, "journal": f"{whole}/checkpoints.jsonl#000004"}
    train(make_config(load_checkpoint_path=given[form], max_steps=1))
    (row,) = finished_rows(tmp_path / "run")
    fresh = finished_rows(whole)[0]
    assert row["version"] == 0 and dialogues_played(tmp_path / "run") == dialogues_played(whole)[:4]
    assert row["teacher_kl"] != pytest.approx(fresh["teacher_kl"], abs=1e-3), "these are the weights of a fresh LoRA"


@pytest.mark.scenario("start from a checkpoint")
def test_the_newest_state_of_another_runs_journal_is_built_on(make_config, whole, tmp_path):
    train(make_config(load_checkpoint_path=whole / "checkpoints.jsonl", max_steps=1))
    origin = (tmp_path / "run" / "origin.json").read_text()
    assert states_by_batch(whole)[6] in origin


@pytest.mark.scenario("deleted states")
def test_a_deleted_state_is_passed_over_for_the_one_before(make_config, host, tmp_path, caplog):
    log_path = tmp_path / "run"
    train(make_config(max_steps=4))
    delete(host, states_by_batch(log_path)[4])
    with caplog.at_level(logging.WARNING, "socratic_distill"):
        train(make_config(max_steps=5))
    assert "Resuming at batch 2: 2 batches will be repeated" in caplog.text
    assert [row["step"] for row in finished_rows(log_path)] == list(range(5))
    delete(host, *states_by_batch(log_path).values())
    with pytest.raises(NoUsableCheckpoint, match="is gone from the service"):
        train(make_config(max_steps=6))
    assert len(finished_rows(log_path)) == 5, "a refused start changes nothing"


@pytest.mark.parametrize("name", ["weights/never", "never", "000003"])
def test_a_state_that_is_not_there_is_refused(make_config, whole, tmp_path, name):
    server_run = states_by_batch(whole)[2].rpartition("/weights/")[0]
    with pytest.raises(CheckpointNotFound, match="load_checkpoint_path") as caught:
        train(make_config(load_checkpoint_path=f"{server_run}/{name}"))
    assert not finished_rows(tmp_path / "run")
    # The server writes paths of sampler weights so; a state was not saved before that batch.
    sampler = f"There are sampler weights {server_run}/sampler_weights/000003"
    assert (sampler in str(caught.value)) == (name == "000003")


def test_sampler_weights_are_refused_with_the_state_of_their_name(make_config, whole):
    state = states_by_batch(whole)[2]
    with pytest.raises(CheckpointNotFound, match=state):
        train(make_config(load_checkpoint_path=state.replace("/weights/", "/sampler_weights/")))


@pytest.mark.scenario("prune")
def test_a_run_is_pruned_and_goes_on(make_config, host, tmp_path, capsys):
    log_path = tmp_path / "run"
    config = make_config(max_steps=3, save_every=1)
    train(config)
    server = ["--base-url", str(config.base_url)]
    # The server keeps no metadata, so that nothing says whose its saves are, until the user does.
    assert main(["checkpoints", str(log_path), "prune", "--yes", *server]) == 0
    assert "nothing to delete" in capsys.readouterr().out and not deleted(log_path)
    assert main(["checkpoints", str(log_path), "claim", "--yes"]) == 0
    assert main(["checkpoints", str(log_path), "prune", "--yes", *server]) == 0
    assert f"deleted {len(deleted(log_path))}" in capsys.readouterr().out
    # The first weights alone: of all others there is a state, or nothing newer.
    assert [path.rpartition("/")[2] for path in deleted(log_path)] == ["000000"]
    train(make_config(max_steps=4, save_every=1))
    assert [row["step"] for row in finished_rows(log_path)] == list(range(4))


def deleted(log_path: Path) -> frozenset[str]:
    return Journal.read(log_path / "checkpoints.jsonl").deleted
