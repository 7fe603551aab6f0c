"""Runs under s3://, on a real S3 server."""

import os
import random
import signal
import tempfile
import threading
import uuid
from typing import Any

import pytest
from tests.support.killed_runs import assert_same_run_on_the_fake, fake_fields
from tests.support.mortal import TIMING, Machines
from tests.support.on_the_fake import train_on_fake

from socratic_distill import (
    LeaseLost,
    RunLocked,
    StorageError,
    build_socratic_config,
    load_checkpoints,
    resolve_start,
    train,
)
from socratic_distill.cli import main
from socratic_distill.files.durable import append_durably
from socratic_distill.run.cloud import mirror
from socratic_distill.run.cloud.lease import Timing
from socratic_distill.run.cloud.mirror import Mirror
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.cloud.stores import FsspecStore, check_store
from socratic_distill.testing import FakeServiceClient

pytestmark = pytest.mark.cloud


@pytest.fixture(autouse=True)
def disk(tmp_path, monkeypatch, server):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(mirror, "TIMING", TIMING)


@pytest.fixture
def url(server) -> str:
    return server.url(uuid.uuid4().hex)


def test_store_has_conditional_writes(url):
    check_store(FsspecStore(url), Patience(10.0))


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_run_resumed_on_an_empty_disk_equals_an_uninterrupted_one(
    seeds_file, tmp_path, server, url, seed, capfd
):
    fields: dict[str, Any] = fake_fields(seeds_file, 60) | {"eval_seeds": 2, "eval_every": 20}
    machines = Machines(fields | {"log_path": url}, tmp_path, environment=server.environment)
    chance = random.Random(seed)
    kills = 0
    while kills < 6:
        code = machines.live(chance.randint(90, 200))
        assert code == -signal.SIGKILL, f"the run ended ({code}) after {kills} kills"
        kills += 1
    assert machines.live(None) == 0
    service = FakeServiceClient(tmp_path / "whole-server")
    config = build_socratic_config(**fields, log_path=tmp_path / "whole")
    train_on_fake(service, config)
    run = readable(url)
    assert len([one for one in load_checkpoints(url) if one.resumed_at]) >= 2, "hardly a life went on with another's"
    assert_same_run_on_the_fake(run, tmp_path / "server", tmp_path / "whole", tmp_path / "whole-server")
    evaluations = {path.name for path in (run / "evaluations").iterdir() if "superseded" not in path.name}
    assert evaluations == {"000000.json", "000020.json", "000040.json", "000060.json"}
    told = "".join(capfd.readouterr()).encode() + b"".join(path.read_bytes() for path in run.rglob("*.json*"))
    assert server.environment["AWS_SECRET_ACCESS_KEY"].encode() not in told


def test_second_writer_is_refused_then_takes_over_from_a_frozen_first_one(url):
    """The first one cannot write any more after that."""
    first = Mirror(url, timing=TIMING)
    first.open()
    with pytest.raises(RunLocked):
        Mirror(url, timing=TIMING).open()
    first._heart.stop()  # as where a machine is frozen
    second = Mirror(url, timing=TIMING)
    second.open()
    append_durably(first.path / "metrics.jsonl", "stale\n")
    first.request()
    with pytest.raises(LeaseLost):
        first.wait()
    with pytest.raises(LeaseLost):
        first.close()
    append_durably(second.path / "metrics.jsonl", "good\n")
    second.close()
    assert (readable(url) / "metrics.jsonl").read_text() == "good\n"


def test_server_that_does_not_answer_for_a_while_is_waited_for(make_config, server, url):
    service = FakeServiceClient()
    config = make_config(log_path=url, max_steps=60, save_every=1)
    stop = threading.Timer(0.5, lambda: os.kill(server.process.pid, signal.SIGSTOP))
    go_on = threading.Timer(4.5, lambda: os.kill(server.process.pid, signal.SIGCONT))
    for one in (stop, go_on):
        one.start()
    try:
        result = train_on_fake(service, config)
    finally:
        go_on.join()
    assert (result.status, result.steps) == ("completed", 60)
    assert len((readable(url) / "metrics.jsonl").read_text().splitlines()) == 60


def test_file_of_many_pieces_comes_back_as_it_was(url):
    text = random.Random(0).randbytes(50 << 20)
    one = Mirror(url, timing=TIMING)
    one.open()
    append_durably(one.path / "dialogues.jsonl", text[: 40 << 20])
    one.request()
    one.wait()
    append_durably(one.path / "dialogues.jsonl", text[40 << 20 :])
    one.close()
    assert (readable(url) / "dialogues.jsonl").read_bytes() == text


def test_missing_bucket_and_missing_server_are_one_message_each(make_config, monkeypatch, capsys):
    s3fs: Any = pytest.importorskip("s3fs")
    monkeypatch.setattr(mirror, "TIMING", Timing(lease=1.0, opening=1.0))
    service = FakeServiceClient()
    with pytest.raises(StorageError, match=r"The specified bucket does not exist\. Make the bucket"):
        train(make_config(log_path="s3://no-such-bucket/run"), service_client=service)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match="Once the store answers again"):
        train(make_config(log_path="s3://elsewhere/run"), service_client=service)
    assert main(["checkpoints", "s3://elsewhere/run"]) == 1
    assert capsys.readouterr().err.startswith("StorageError: ")
    s3fs.S3FileSystem.clear_instance_cache()


def test_command_line_reads_a_run(make_config, url, tmp_path, capsys):
    service = FakeServiceClient()
    train_on_fake(service, make_config(log_path=url))
    assert main(["checkpoints", url]) == 0
    assert main(["report", url, "--out", str(tmp_path / "report.html")]) == 0
    assert url in capsys.readouterr().out
    assert resolve_start(url).batch == 6  # type: ignore[union-attr]
