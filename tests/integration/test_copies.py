"""Copied run directories on the fake service: neither touches what the other saved."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.support.on_the_fake import checkpoints_kept_by, small_config, train_on_fake, train_until_it_dies
from tests.support.rows import rows_but_recoveries
from tests.support.run_directories import forget_checkpoint

from socratic_distill import CheckpointRecord, Resume, load_checkpoints, resolve_start
from socratic_distill.cli import main
from socratic_distill.run.journal_writer import JournalWriter
from socratic_distill.service.connect import Service
from socratic_distill.testing import FakeRestClient, FakeServiceClient

ROLLING = dict(save_every=None, save_every_seconds=9999.0, rolling_save_every=2, max_steps=8)


def kept_on(server: Path) -> set[str]:
    return checkpoints_kept_by(FakeServiceClient(server))


def identity(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


@pytest.fixture
def server(tmp_path):
    return tmp_path / "server"


@pytest.fixture
def original(tmp_path, server):
    """A run that died after step 4; its only state is a rolling one."""
    train_until_it_dies(server, small_config(tmp_path, "original", **ROLLING), steps=5)
    return tmp_path / "original"


@pytest.fixture
def copy(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def whole_rows(tmp_path):
    """The rows of a run that nothing interrupted."""
    train_on_fake(FakeServiceClient(), small_config(tmp_path, "whole", **ROLLING))
    return rows_but_recoveries(tmp_path / "whole")


def go_on(server: Path, run: Path, **changes: Any) -> None:
    result = train_on_fake(FakeServiceClient(server), small_config(run.parent, run.name, **(ROLLING | changes)))
    assert result.status == "completed"


def test_copy_and_then_the_original_go_on_bit_for_bit(original, copy, server, whole_rows):
    """The original's only state is a rolling one, which the copy has no right to replace."""
    start = resolve_start(original)
    assert isinstance(start, Resume)
    go_on(server, copy)
    assert rows_but_recoveries(copy) == whole_rows and start.state_path in kept_on(server)
    go_on(server, original)
    assert rows_but_recoveries(original) == whole_rows and start.state_path not in kept_on(server)
    assert identity(copy)["run_id"] != identity(original)["run_id"]


def test_original_and_then_the_copy_go_on_bit_for_bit(server, tmp_path, whole_rows):
    kept = ROLLING | dict(save_every=2)
    train_until_it_dies(server, small_config(tmp_path, "original", **kept), steps=5)
    copy = Path(shutil.copytree(tmp_path / "original", tmp_path / "copy"))
    for run in (tmp_path / "original", copy):
        go_on(server, run, **kept)
        assert rows_but_recoveries(run) == whole_rows


def test_copy_deletes_its_own_rolling_states_and_none_of_the_originals(original, copy, server):
    before = kept_on(server)
    go_on(server, copy)
    after = kept_on(server)
    assert before <= after, "the copy deleted what it did not save"
    states = {path for path in after - before if "/weights/" in path}
    assert {path.rpartition("/")[2] for path in states} == {"final"}


def test_copy_takes_an_id_of_its_own_and_keeps_it(original, copy, server):
    go_on(server, copy)
    first = identity(copy)
    assert first["copied_from"] == [{"run_id": identity(original)["run_id"], "path": str(original.resolve())}]
    go_on(server, copy, max_steps=10)
    assert identity(copy) == first
    listed = FakeRestClient(FakeServiceClient(server)).list_checkpoints("fake-0002:train:0").result().checkpoints
    assert {(one.user_metadata or {})["run_id"] for one in listed} == {first["run_id"]}


def test_moved_run_is_the_same_and_replaces_its_rolling_state(original, server, tmp_path):
    before, state = identity(original), resolve_start(original)
    assert isinstance(state, Resume)
    moved = original.rename(tmp_path / "moved")
    go_on(server, moved)
    assert identity(moved) == before | {"path": str(moved.resolve())}
    assert state.state_path not in kept_on(server)


def test_run_of_an_older_version_is_the_same_and_then_knows_its_place(original, server):
    before = identity(original)
    (original / "run.json").write_text(json.dumps({"run_id": before["run_id"]}))
    go_on(server, original)
    assert identity(original) == before


def test_copy_adopts_what_the_original_saved_before_the_copy(original, server, tmp_path, whole_rows):
    start = resolve_start(original)
    assert isinstance(start, Resume)
    forget_checkpoint(original, start.state_path)
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    before = kept_on(server)
    go_on(server, copy)
    assert {record.state_path for record in load_checkpoints(copy) if record.adopted} == {start.state_path}
    assert rows_but_recoveries(copy) == whole_rows and before <= kept_on(server)


# --- pruning and claiming ---------------------------------------------------------------------------------------


@pytest.fixture
def opened(server, monkeypatch):
    """The commands open the fake service."""

    def open_service(config: Any) -> Service:
        service = FakeServiceClient(server)
        return Service(service, FakeRestClient(service))

    monkeypatch.setattr("socratic_distill.service.connect.open_service", open_service)


def test_prune_in_a_copy_deletes_nothing_and_says_so(opened, copy, server, capsys):
    before = kept_on(server)
    assert main(["checkpoints", str(copy), "prune", "--yes"]) == 0
    told = capsys.readouterr().out
    assert "not ours" in told and "claim" in told and told.endswith("nothing to delete\n")
    assert kept_on(server) == before
    assert identity(copy)["run_id"] == identity(copy.parent / "original")["run_id"], "pruning begins nothing"


def test_prune_in_a_copy_that_went_on_deletes_its_own(opened, original, copy, server, capsys):
    before = kept_on(server)
    go_on(server, copy)
    assert main(["checkpoints", str(copy), "prune", "--yes"]) == 0
    told, after = capsys.readouterr().out, kept_on(server)
    assert before <= after and "not ours" in told
    assert {path for path in after - before if "sampler" in path} == {
        "tinker://fake-0002:train:0/sampler_weights/final"
    }
    go_on(server, original)


@pytest.mark.parametrize("begins", [False, True])
def test_claimed_copy_prunes_what_the_original_saved(opened, original, copy, server, capsys, begins):
    if begins:
        go_on(server, copy)
    assert main(["checkpoints", str(copy), "claim", "--yes"]) == 1
    assert f"{original.resolve()} still holds the run" in capsys.readouterr().err
    before = kept_on(server)
    shutil.rmtree(original)
    assert main(["checkpoints", str(copy), "claim", "--yes"]) == 0
    assert kept_on(server) == before, "a claim deletes nothing"
    assert main(["checkpoints", str(copy), "prune", "--yes"]) == 0
    assert "not ours" not in capsys.readouterr().out
    assert len(kept_on(server)) < len(before)
    go_on(server, copy, max_steps=9)


@pytest.mark.parametrize("given_answer", ["n\n", "", "\n"])
def test_claim_asks_and_takes_nothing_without_a_yes(original, copy, capsys, monkeypatch, given_answer):
    shutil.rmtree(original)
    before = (copy / "run.json").read_bytes()
    monkeypatch.setattr("sys.stdin", io.StringIO(given_answer))
    assert main(["checkpoints", str(copy), "claim"]) == 0
    assert capsys.readouterr().out.endswith("nothing was claimed\n") and (copy / "run.json").read_bytes() == before


def test_states_of_another_run_in_the_journal_are_never_deleted(opened, original, server, tmp_path, capsys):
    """A stranger's journal: it names them as rolling, as superseded, and as sampler weights."""
    go_on(server, original)
    victims = kept_on(server)
    train_on_fake(FakeServiceClient(server), small_config(tmp_path, "stranger", **ROLLING))
    journal = JournalWriter(tmp_path / "stranger")
    for path in sorted(victims):
        key = "sampler_path" if "sampler" in path else "state_path"
        kind = "sampler" if "sampler" in path else "rolling"
        journal.append(CheckpointRecord.model_validate({"name": "x", "batch": 1, "kind": kind, key: path}))
    assert main(["checkpoints", str(tmp_path / "stranger"), "prune", "--yes"]) == 0
    assert victims <= kept_on(server)
    told = capsys.readouterr().out
    assert sum(line.endswith("(batch 1, not ours: this directory did not save it)") for line in told.splitlines()) > 0


def test_rolling_state_of_another_run_that_a_journal_ends_with_stays(original, server, tmp_path):
    state = resolve_start(original)
    assert isinstance(state, Resume)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    record = CheckpointRecord(name="x", batch=4, state_path=state.state_path, kind="rolling")
    JournalWriter(stranger).append(record)
    go_on(server, stranger)
    assert state.state_path in kept_on(server)
