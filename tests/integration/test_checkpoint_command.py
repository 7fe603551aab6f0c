"""`python -m socratic_distill checkpoints`: the list, prune, rebuild."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import read_rows

from socratic_distill import CheckpointRecord, load_checkpoints, service, train
from socratic_distill.cli import main
from socratic_distill.journal import Journal
from socratic_distill.locks import RunLock
from socratic_distill.pruning import select_surplus
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def fake(monkeypatch):
    """The service that commands open."""
    fake = FakeServiceClient()
    monkeypatch.setattr("socratic_distill.service.open_service", lambda _: service.Service(fake, FakeRestClient(fake)))
    return fake


@pytest.fixture
def run(fake, make_config, tmp_path):
    """A run of six batches that lost its client before batch 4, and so holds superseded saves."""
    fake._plan._faults = (Fault("forward_backward", nth=4),)
    train_on(fake, make_config())
    return tmp_path / "run"


def train_on(fake, config):
    return train(config, service_client=fake, rest_client=FakeRestClient(fake))


def on_the_service(fake):
    return {one.tinker_path for one in FakeRestClient(fake).list_user_checkpoints(limit=1000).result().checkpoints}


def command(*arguments):
    return main(["checkpoints", *map(str, arguments)])


def test_table_tells_every_save_once(run, capsys):
    assert command(run) == 0
    told = capsys.readouterr().out
    head, *body = [line for line in told.splitlines() if line.strip() and "─" not in line]
    assert "begun from a fresh LoRA" in head
    assert body[0].split() == ["batch", "kind", "state", "sampler", "age", "expiry", "superseded", "origin"]
    paths = {path for record in load_checkpoints(run) for path in record.paths}
    assert all(sum(path in line for line in body) == 1 for path in paths)
    (final,) = [line for line in body if "weights/final" in line]
    assert "never" in final and final.split()[:2] == ["6", "final"]
    (superseded,) = [line for line in body if "train:0/sampler_weights/000003" in line]
    assert "superseded" in superseded and superseded.split()[-1] == "saved"


def test_list_for_programs_is_complete(run, capsys):
    assert command(run, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["log_path"] == str(run) and told["origin"] == {"given": None, "resolved": None}
    paths = {path for record in load_checkpoints(run) for path in record.paths}
    listed = [one for row in told["checkpoints"] for key in ("state_path", "sampler_path") if (one := row.get(key))]
    assert sorted(listed) == sorted(paths)
    row = told["checkpoints"][-1]
    assert (row["batch"], row["kind"], row["superseded"], row["expired"], row["deleted"]) == (
        6,
        "final",
        False,
        False,
        False,
    )
    assert row["age_seconds"] >= 0


def test_list_of_another_tools_journal(tmp_path, capsys):
    line = {"name": "000020", "batch": 20, "state_path": "tinker://r/weights/000020", "loss": 0.5}
    (tmp_path / "checkpoints.jsonl").write_text(json.dumps(line) + "\n{torn")
    assert command(tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["origin"] is None
    (row,) = told["checkpoints"]
    assert row["origin"] == "other tool" and row["loss"] == 0.5 and row["age_seconds"] is None
    assert command(tmp_path) == 0
    assert "of unknown origin" in capsys.readouterr().out


def test_path_that_is_no_directory_is_an_error(tmp_path, capsys):
    assert command(tmp_path / "nowhere") == 1
    assert "expected the log_path of a run" in capsys.readouterr().err


def test_prune_deletes_what_is_superseded_and_surplus_and_nothing_else(run, fake, capsys, make_config, tmp_path):
    before = on_the_service(fake)
    assert command(run, "prune", "--yes") == 0
    told, deleted = capsys.readouterr().out, before - on_the_service(fake)
    assert all(f"{path}  (batch" in told for path in deleted) and f"deleted {len(deleted)}" in told
    last = "tinker://fake-0001:train:1"
    kept = on_the_service(fake)
    assert kept >= {
        f"{last}/weights/final",
        f"{last}/sampler_weights/final",
        "tinker://fake-0001:train:0/weights/000002",
    }
    assert "tinker://fake-0001:train:0/sampler_weights/000003" in deleted
    assert {record.deleted_path for record in load_checkpoints(run)} >= deleted
    calls = len(fake.calls)
    assert command(run, "prune", "--yes") == 0
    assert "nothing to delete" in capsys.readouterr().out
    assert not [call for call in fake.calls[calls:] if call.call.startswith("delete")]
    train_on(fake, make_config(max_steps=8, rolling_save_every=3))
    train_on(FakeServiceClient(), make_config(max_steps=8, log_path=tmp_path / "whole"))
    ours, whole = (read_rows(path / "dialogues.jsonl") for path in (run, tmp_path / "whole"))
    assert ours == whole


@pytest.mark.parametrize("answer", ["n", "", "nothing", EOFError])
def test_prune_asks_and_takes_no_for_an_answer(run, fake, capsys, monkeypatch, answer):
    def ask(question):
        assert question.startswith("Delete these")
        if answer is EOFError:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", ask)
    before, journal = on_the_service(fake), (run / "checkpoints.jsonl").read_bytes()
    assert command(run, "prune") == 0
    assert "nothing was deleted" in capsys.readouterr().out
    assert on_the_service(fake) == before and (run / "checkpoints.jsonl").read_bytes() == journal


def test_prune_keeps_the_newest_state_that_the_service_still_has(run, fake, monkeypatch):
    """The newest record is of a state that is gone: the one before it is what a resume needs."""
    rest = FakeRestClient(fake)
    states = [record.state_path for record in load_checkpoints(run) if record.state_path and record.resumed_at is None]
    newest = Journal.read(run / "checkpoints.jsonl").newest_state()
    assert newest is not None
    for path in {newest.state_path}:
        rest.delete_checkpoint_from_tinker_path(path).result()
    older = Journal.read(run / "checkpoints.jsonl").newest_state(lambda one: "gone" if one.batch == 6 else None)
    assert older is not None and older.state_path in states
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert command(run, "prune") == 0
    assert older.state_path in on_the_service(fake)


def test_prune_without_a_usable_state_deletes_nothing(run, fake, capsys):
    for record in load_checkpoints(run):
        if record.state_path and record.state_path in on_the_service(fake):
            FakeRestClient(fake).delete_checkpoint_from_tinker_path(record.state_path).result()
    before = on_the_service(fake)
    assert command(run, "prune", "--yes") == 0
    assert "nothing to delete" in capsys.readouterr().out and on_the_service(fake) == before


def test_prune_that_fails_half_way_records_what_it_did(run, fake, capsys):
    fake._plan._faults = (
        Fault(
            "delete_checkpoint_from_tinker_path",
            nth=1 + fake.count("delete_checkpoint_from_tinker_path") + 1,
            error=500,
        ),
    )
    before = on_the_service(fake)
    assert command(run, "prune", "--yes") == 1
    assert "TrainingError: deleting tinker://" in capsys.readouterr().err
    (gone,) = before - on_the_service(fake)
    assert gone in {record.deleted_path for record in load_checkpoints(run)}


def test_prune_is_refused_while_a_process_writes(run, fake, capsys):
    with RunLock(run):
        assert command(run, "prune", "--yes") == 1
    assert "RunLocked" in capsys.readouterr().err


def test_rebuild_restores_a_lost_journal(run, fake, capsys):
    newest = Journal.read(run / "checkpoints.jsonl").newest_state()
    (run / "checkpoints.jsonl").unlink()
    assert command(run, "rebuild") == 0
    assert "recorded" in capsys.readouterr().out
    again = Journal.read(run / "checkpoints.jsonl").newest_state()
    assert newest is not None and again is not None and again.state_path == newest.state_path


def test_module_runs_as_a_command(run):
    done = subprocess.run(
        [sys.executable, "-m", "socratic_distill", "checkpoints", str(run)], capture_output=True, text=True, check=True
    )
    assert "weights/final" in done.stdout


PATHS = st.sampled_from([f"tinker://r:train:{run}" for run in range(2)])
RECORDS = st.builds(
    lambda batch, run, kind, what, resumed, expires: CheckpointRecord(
        name=f"{batch:06d}",
        batch=batch,
        kind=kind,
        final=True if kind == "final" else None,
        state_path=f"{run}/weights/{batch}" if what != "sampler" else None,
        sampler_path=f"{run}/sampler_weights/{batch}" if what != "state" else None,
        resumed_at=NOW if resumed else None,
        expires_at=NOW + timedelta(hours=expires) if expires is not None else None,
    ),
    st.integers(0, 6),
    PATHS,
    st.sampled_from(["sampler", "periodic", "rolling", "interrupted", "final", None]),
    st.sampled_from(["state", "sampler", "both"]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([None, 1, -1]),
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.lists(RECORDS, max_size=12), st.sets(st.integers(0, 6), max_size=2))
def test_prune_never_takes_what_a_resume_or_a_user_needs(records, deleted):
    gone = [f"tinker://r:train:0/weights/{batch}" for batch in deleted]
    marks = [CheckpointRecord(name="x", batch=0, deleted_path=path) for path in gone]
    journal = Journal.of([*records, *marks])
    newest = journal.newest_state(lambda one: "expired" if one.expires_at and one.expires_at <= NOW else None)
    if newest is None:
        return
    surplus = {one.path for one in select_surplus(journal, newest, NOW)}
    current = [record for record, superseded in journal.lineage() if not superseded]
    needed = {newest.state_path, *gone}
    needed |= {path for record in current if record.final or record.kind == "final" for path in record.paths}
    needed |= {record.state_path for record in current if record.kind in ("periodic", None)}
    needed |= {record.state_path for record in current if (record.batch or 0) > (newest.batch or 0)}
    assert not surplus & needed
    assert surplus <= {path for record in records for path in record.paths}
