"""Runs in a store: like local ones, whatever becomes of the machine."""

import asyncio
import json
import signal
import tempfile
import threading
import uuid
from typing import Any

import pytest
from tests.support.killed_runs import assert_same_run_on_the_fake, fake_fields
from tests.support.mortal import Machines
from tests.support.on_the_fake import train_on_fake, train_on_fake_async
from tests.support.rows import rows_of_run
from tests.support.stores_in_tests import QUICK, FolderStore, MemoryStore

from socratic_distill import (
    CheckpointManager,
    CheckpointNotFound,
    CheckpointRecord,
    ConfigError,
    FreshStart,
    Resume,
    StorageError,
    build_socratic_config,
    load_checkpoints,
    load_evaluations,
    resolve_start,
    train_async,
)
from socratic_distill.cli import main
from socratic_distill.cli.conversation import chat
from socratic_distill.evaluation import compare
from socratic_distill.outputs.exports import export_csv, export_dataset, export_messages
from socratic_distill.outputs.report import write_report
from socratic_distill.run.cloud import mirror
from socratic_distill.run.cloud.commits import newest_commit
from socratic_distill.run.cloud.fetching import fetch_newest
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.directory import RunDirectory, load_config
from socratic_distill.testing import FakeRestClient, FakeServiceClient

pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "TIMING", QUICK)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/run-001"


def test_run_in_a_store_equals_a_local_one(make_config, url, tmp_path):
    changes = dict(rolling_save_every=1, eval_seeds=2, eval_every=2)
    train_on_fake(FakeServiceClient(), make_config(**changes))
    train_on_fake(FakeServiceClient(), make_config(**changes, log_path=url))
    assert rows_of_run(readable(url)) == rows_of_run(tmp_path / "run")
    copied = {path.name for path in readable(url).iterdir()}
    local = {path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")}
    assert copied == local
    assert not list(tmp_path.glob("socratic-distill-[!c]*")), "a mirror is left on the disk"


def test_run_that_is_killed_again_and_again_equals_one_that_is_not(seeds_file, tmp_path):
    fields: dict[str, Any] = fake_fields(seeds_file, 12) | {"save_every": 4}
    machines = Machines(fields | {"log_path": "folder://bucket/run"}, tmp_path, store=tmp_path / "store")
    for events in (60, 95):
        assert machines.live(events) == -signal.SIGKILL
    assert machines.live(None) == 0
    fetch_newest(FolderStore(tmp_path / "store"), tmp_path / "run", Patience(0.0))
    assert [one.batch for one in load_checkpoints(tmp_path / "run") if one.resumed_at], "no life went on with another's"
    train_on_fake(
        FakeServiceClient(tmp_path / "whole-server"), build_socratic_config(**fields, log_path=tmp_path / "whole")
    )
    assert_same_run_on_the_fake(tmp_path / "run", tmp_path / "server", tmp_path / "whole", tmp_path / "whole-server")


def test_run_that_lost_its_lease_stops_and_the_other_one_ends_it(make_config, monkeypatch, tmp_path):
    store = MemoryStore()
    monkeypatch.setattr(mirror, "FsspecStore", lambda url: store)
    config = make_config(log_path=store.url, max_steps=8)
    service = FakeServiceClient()
    log_step = RunDirectory.log_step

    def freeze(run, metrics, dialogues):
        log_step(run, metrics, dialogues)
        if metrics["step"] == 3 and run._mirror is not None:
            run._mirror._heart.stop()
            with RunDirectory(store.url):
                pass

    monkeypatch.setattr(RunDirectory, "log_step", freeze)
    with pytest.raises(Exception, match="was taken over by process") as caught:
        train_on_fake(service, config)
    assert type(caught.value).__name__ == "LeaseLost"
    monkeypatch.setattr(RunDirectory, "log_step", log_step)
    result = train_on_fake(service, config)
    assert (result.status, result.steps) == ("completed", 8)


def test_store_that_fails_for_good_stops_the_run(make_config, monkeypatch):
    store = MemoryStore()
    monkeypatch.setattr(mirror, "FsspecStore", lambda url: store)
    monkeypatch.setattr(mirror, "TIMING", mirror.Timing(lease=0.4, patience=0.1, opening=0.1))

    def down(call, name):
        if store.count("create", "commits") > 3:
            raise ConnectionError("down")

    store.before = down
    with pytest.raises(StorageError, match="ConnectionError: down"):
        train_on_fake(FakeServiceClient(), make_config(log_path=store.url, max_steps=400, save_every=2))


async def test_cancellation_while_a_lease_is_awaited_ends_the_waiting(make_config, monkeypatch):
    store = MemoryStore()
    monkeypatch.setattr(mirror, "FsspecStore", lambda url: store)
    monkeypatch.setattr(mirror, "TIMING", mirror.Timing(lease=60.0))
    dead = mirror.Mirror(store.url, store)
    dead.open()
    dead._heart.stop()
    task = asyncio.ensure_future(train_async(make_config(log_path=store.url), service_client=FakeServiceClient()))
    while not store.count("read", "beats"):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    newest = newest_commit(store, Patience(0.0))
    assert newest is not None and newest.writer == dead._last.writer, "the end of the lease was waited for"
    dead._hurry.set()
    await asyncio.to_thread(dead.close)


async def test_event_loop_goes_on_while_the_store_is_slow(make_config, monkeypatch):
    store = MemoryStore()
    monkeypatch.setattr(mirror, "FsspecStore", lambda url: store)
    main_thread = threading.get_ident()
    on_the_loop = []

    def slow(call, name):
        if threading.get_ident() == main_thread:
            on_the_loop.append((call, name))

    store.before = slow
    service = FakeServiceClient()
    await train_on_fake_async(service, make_config(log_path=store.url))
    assert store.calls and on_the_loop == []


def test_everything_that_reads_a_run_reads_one_in_a_store(make_config, url, tmp_path, capsys):
    config = make_config(log_path=url, eval_seeds=2, eval_every=3)
    train_on_fake(service := FakeServiceClient(), config)
    records = load_checkpoints(url)
    assert records == load_checkpoints(f"{url}/checkpoints.jsonl") == list(CheckpointManager(url).records)
    assert isinstance(start := resolve_start(url), Resume) and start.batch == 6
    assert load_config(url) == config
    assert [one.batch for one in load_evaluations(url)] == [0, 3, 6]
    assert compare(config, ["final"], service_client=service).keys() == {"final"}
    said: list[str] = []
    asked = iter(["17?", ""])
    chat(url, service_client=service, allow_files=True, read=lambda _: next(asked), write=said.append)
    assert said[-1].startswith("tutor> ")
    assert "run-001" in write_report(url, tmp_path / "report.html").read_text()
    assert export_csv(url, tmp_path / "metrics.csv") == 6
    assert export_messages(url, tmp_path / "messages.jsonl").written > 0
    assert export_dataset(url, tmp_path / "dataset").written > 0
    for command in (["checkpoints", url], ["export", url, "--trace", str(tmp_path / "trace.json")]):
        assert main(command) == 0
    assert f"{url}, begun from a fresh LoRA" in capsys.readouterr().out


def test_what_would_write_into_a_store_is_refused(make_config, url):
    train_on_fake(FakeServiceClient(), make_config(log_path=url, max_steps=2))
    with pytest.raises(ConfigError, match="where only its run writes; give out"):
        write_report(url)
    with pytest.raises(StorageError, match="Only its run writes it"):
        CheckpointManager(url).append(CheckpointRecord(name="mine"))


def test_run_begins_from_a_state_of_a_run_in_a_store(make_config, url):
    train_on_fake(service := FakeServiceClient(), make_config(log_path=url))
    for path in (url, f"{url}/checkpoints.jsonl", f"{url}/checkpoints.jsonl#000002", f"{url}#000002"):
        start = resolve_start("memory://nothing/there", path)
        assert start.state_path.endswith("000002" if "#" in path else "final")  # type: ignore[union-attr]
    other = f"memory://{uuid.uuid4().hex}/other"
    train_on_fake(service, make_config(log_path=other, load_checkpoint_path=f"{url}#000002", max_steps=1))
    origin = json.loads((readable(other) / "origin.json").read_text())
    assert origin["given"] == f"{url}#000002" and origin["resolved"].endswith("weights/000002")


def test_run_that_is_not_there_is_none(url):
    assert isinstance(resolve_start(url), FreshStart) and load_checkpoints(url) == []
    with pytest.raises(CheckpointNotFound, match=f"there is no file {url}"):
        resolve_start("memory://nothing/there", url)
    with pytest.raises(ConfigError):
        load_config(url)


def test_journal_of_a_run_in_a_store_is_rebuilt_there(make_config, url):
    train_on_fake(service := FakeServiceClient(), make_config(log_path=url))
    with RunDirectory(url) as run:
        lines = run.checkpoints.path.read_text().splitlines(keepends=True)
        run.checkpoints.path.write_text("".join(lines[:2]))
    assert len(load_checkpoints(url)) == 2
    assert CheckpointManager(url).rebuild(FakeRestClient(service)) > 0
    assert {one.state_path for one in load_checkpoints(url)} >= {json.loads(lines[-1])["state_path"]}


def test_secrets_in_the_environment_stay_out_of_a_run_in_a_store(make_config, url, monkeypatch, capfd):
    secrets = {"AWS_SECRET_ACCESS_KEY": "s3cret-of-the-store", "TINKER_API_KEY": "tml-s3cret-of-the-service"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    train_on_fake(FakeServiceClient(), make_config(log_path=url))
    import fsspec

    store = fsspec.filesystem("memory")
    objects = store.find(url.removeprefix("memory:/"))
    texts = b"".join(store.cat_file(one) for one in objects) + "".join(capfd.readouterr()).encode()
    assert len(objects) > 10
    assert not any(value.encode() in texts for value in secrets.values())
