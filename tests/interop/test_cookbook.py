"""The journal, with the tinker-cookbook that is installed as its other reader and writer; `make test-interop`."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from tests.interop.record import RUNS, SAMPLES, CookbookClients, cookbook, journal_of
from tests.support.on_the_fake import train_on_fake

from socratic_distill import CheckpointManager, CheckpointRecord, Resume, load_checkpoints, resolve_start, train
from socratic_distill.run.journal import Journal
from socratic_distill.run.record import deletion
from socratic_distill.testing import FakeRestClient, FakeServiceClient

pytestmark = pytest.mark.interop

JOURNAL = "checkpoints.jsonl"


def last(log_path: Path, key: str = "state_path") -> str | None:
    """The path that the cookbook goes on from."""
    found = cookbook().get_last_checkpoint(str(log_path), required_key=key)
    return None if found is None else found.get(key)


def newest(log_path: Path) -> str | None:
    """The path that we go on from."""
    found = Journal.read(log_path / JOURNAL).newest_state()
    return None if found is None else found.state_path


# --- the cookbook writes, we read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_sample_is_what_the_cookbook_writes(tmp_path, name):
    assert (SAMPLES / f"{name}.jsonl").read_bytes() == journal_of(name, tmp_path)


def test_every_sample_is_recorded_and_tested():
    assert {path.stem for path in SAMPLES.glob("*.jsonl")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_records_of_the_cookbook_are_read_as_it_reads_them(tmp_path, name):
    journal_of(name, tmp_path)
    theirs, ours = cookbook().load_checkpoints_file(str(tmp_path)), load_checkpoints(tmp_path)
    assert len(theirs) == len(ours) > 0
    for their, our in zip(theirs, ours, strict=True):
        for key in ("name", "batch", "epoch", "final", "state_path", "sampler_path"):
            assert getattr(their, key) == getattr(our, key)
        # Keys that the record has no use for; the others are ours, and none of the runs means what we mean by them.
        ours_too = {key: value for key, value in their.extra.items() if key not in CheckpointRecord.model_fields}
        assert our.model_extra == ours_too


@pytest.mark.parametrize("name", ["reinforced", "cut_off", "supervised", "extra_keys"])
def test_both_go_on_from_the_same_state_of_the_cookbooks_which_exists(tmp_path, name):
    clients = CookbookClients()
    journal_of(name, tmp_path, clients)
    state = newest(tmp_path)
    assert state is not None and state == last(tmp_path)
    assert clients.rest.get_weights_info_by_tinker_path(state).result().base_model == "small"


def test_late_record_is_the_last_to_the_cookbook_and_not_the_newest_to_us(tmp_path):
    clients = CookbookClients()
    journal_of("late", tmp_path, clients)
    assert [Path(path or "").name for path in (last(tmp_path), newest(tmp_path))] == ["000004", "000005"]
    assert clients.rest.get_weights_info_by_tinker_path(newest(tmp_path) or "").result().base_model == "small"


# --- we write, the cookbook reads ---------------------------------------------------------------------------------


def ready(make_config: Any, **changes: Any) -> Any:
    """A config whose saves are all of the kinds that there are."""
    return make_config(**(dict(save_every=4, rolling_save_every=1, max_steps=6) | changes))


def test_run_of_ours_at_every_stage(tmp_path, make_config):
    service, log_path = FakeServiceClient(), tmp_path / "run"
    for steps in (3, 6):  # the second one resumes the first
        result = train_on_fake(service, ready(make_config, max_steps=steps))
        assert result.steps == steps
        found = cookbook().get_last_checkpoint(str(log_path))
        assert (found.name, found.batch, found.final) == ("final", steps, True)
        assert found.state_path == newest(log_path)
        # One line holds both, as in the cookbook's own last line.
        assert found.sampler_path is not None and found.sampler_path == last(log_path, "sampler_path")
        assert found.extra["kind"] == "final" and found.extra["version"] == steps
    assert sum(record.has("resumed_at") for record in cookbook().load_checkpoints_file(str(log_path))) == 1
    assert any(record.has("deleted_path") for record in cookbook().load_checkpoints_file(str(log_path)))


def test_run_of_ours_cut_off_after_any_line(tmp_path, make_config):
    service, log_path = FakeServiceClient(), tmp_path / "run"
    train_on_fake(service, ready(make_config))
    lines = (log_path / JOURNAL).read_text().splitlines(keepends=True)
    sampler_batches = []
    for count in range(1, len(lines) + 1):
        part = tmp_path / str(count)
        part.mkdir()
        (part / JOURNAL).write_text("".join(lines[:count]))
        assert last(part) == newest(part)
        sampler_batches.append(cookbook().get_last_checkpoint(str(part), required_key="sampler_path").batch)
    # The weights to sample with are at no time older than the ones before them.
    assert sampler_batches == sorted(sampler_batches) and sampler_batches[-1] == 6


def test_run_of_ours_that_went_back(tmp_path, make_config):
    service, log_path = FakeServiceClient(), tmp_path / "run"
    rest = FakeRestClient(service)
    changes: dict[str, Any] = dict(save_every=2, rolling_save_every=None)
    train(ready(make_config, **changes), service_client=service, rest_client=rest)
    for record in load_checkpoints(log_path):
        if record.state_path and (record.batch or 0) > 2:
            rest.delete_checkpoint_from_tinker_path(record.state_path).result()
    train(ready(make_config, **changes, max_steps=8), service_client=service, rest_client=rest)
    lineage = Journal.read(log_path / JOURNAL).lineage()
    assert any(superseded and record.name == "final" for record, superseded in lineage)
    state = newest(log_path)
    assert state is not None and state == last(log_path)
    assert rest.get_weights_info_by_tinker_path(state).result().base_model == "small"
    current = [record.sampler_path for record, superseded in lineage if record.sampler_path and not superseded]
    assert last(log_path, "sampler_path") == current[-1]


def state(batch: int, name: str, **more: Any) -> CheckpointRecord:
    return CheckpointRecord.model_validate(
        {"name": name, "batch": batch, "state_path": f"tinker://run/weights/{name}", "kind": "periodic", **more}
    )


def sampler(batch: int, name: str) -> CheckpointRecord:
    path = f"tinker://run/sampler_weights/{name}"
    return CheckpointRecord(name=name, batch=batch, sampler_path=path, kind="sampler")


def test_marker_of_a_resumed_run_supersedes_lines_for_the_cookbook_too(tmp_path):
    manager = CheckpointManager(tmp_path)
    for batch in (2, 4):
        manager.append(sampler(batch, f"{batch:06d}"))
        manager.append(state(batch, f"{batch:06d}"))
    manager.mark_resumed(2, manager.records[1])
    assert last(tmp_path) == newest(tmp_path) == "tinker://run/weights/000002"
    assert cookbook().get_last_checkpoint(str(tmp_path)).batch == 2
    manager.append(sampler(2, "000002-2"))
    assert last(tmp_path, "sampler_path") == "tinker://run/sampler_weights/000002-2"
    manager.append(state(4, "000004-2"))
    assert last(tmp_path) == newest(tmp_path) == "tinker://run/weights/000004-2"


def test_late_and_deleted_states(tmp_path):
    manager = CheckpointManager(tmp_path)
    for batch in (4, 2):
        manager.append(state(batch, f"{batch:06d}"))
    assert last(tmp_path) == newest(tmp_path) == "tinker://run/weights/000004"
    manager.append(deletion(manager.records[0], manager.records[0].state_path))
    assert last(tmp_path) == newest(tmp_path) == "tinker://run/weights/000002"


def test_the_cookbook_can_read_a_torn_journal_after_the_next_save(tmp_path):
    manager = CheckpointManager(tmp_path)
    manager.append(state(2, "000002"))
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"name": "0000')
    with pytest.raises(json.JSONDecodeError):
        last(tmp_path)
    CheckpointManager(tmp_path).append(sampler(3, "000003"))
    assert last(tmp_path) == newest(tmp_path) == "tinker://run/weights/000002"


actions = st.tuples(
    st.sampled_from(["state", "state", "both", "sampler", "resume", "begin", "delete", "reopen"]), st.integers(0, 9)
)


@given(st.lists(actions, max_size=14))
@example([("state", 4), ("state", 2), ("delete", 0), ("reopen", 0), ("state", 1)])
@example([("both", 3), ("state", 6), ("resume", 0), ("sampler", 3), ("delete", 0), ("begin", 0), ("state", 1)])
@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_both_go_on_from_the_same_state_after_any_appends(tmp_path_factory, sequence):
    log_path = tmp_path_factory.mktemp("run")
    manager = CheckpointManager(log_path)
    with mock.patch.object(os, "fsync"):
        for place, (what, number) in enumerate(sequence):
            journal, name = Journal.read(log_path / JOURNAL), f"{number}-{place}"
            live = [
                record
                for record, superseded in journal.lineage()
                if record.resumable and not superseded and record.state_path not in journal.deleted
            ]
            one = live[number % len(live)] if live else None
            if what == "state":
                manager.append(state(number, name))
            elif what == "both":
                manager.append(state(number, name, sampler_path=f"tinker://run/sampler_weights/{name}"))
            elif what == "sampler":
                manager.append(sampler(number, name))
            elif what == "reopen":
                manager = CheckpointManager(log_path)
            elif what == "resume" and one is not None:
                manager.mark_resumed(one.batch or 0, one)
            elif what == "begin" and one is None:  # a run begins anew only where it has nothing to go on from
                manager.mark_resumed(0, None)
            elif what == "delete" and one is not None:
                manager.append(deletion(one, one.state_path))
            ours, theirs = newest(log_path), last(log_path)
            if ours is not None:
                assert theirs == ours
            elif theirs is not None:
                # The cookbook knows neither of deletions nor of lines that no longer count: without any usable
                # state it names one that is gone, and the service refuses it.
                assert theirs not in {record.state_path for record in live_states(log_path)}
    assert len(cookbook().load_checkpoints_file(str(log_path))) == len(load_checkpoints(log_path))


def live_states(log_path: Path) -> list[CheckpointRecord]:
    journal = Journal.read(log_path / JOURNAL)
    return [
        record
        for record, superseded in journal.lineage()
        if record.resumable and not superseded and record.state_path not in journal.deleted
    ]


# --- one run, both of them in turn --------------------------------------------------------------------------------


def test_run_that_the_cookbook_began_and_we_end_and_it_goes_on(tmp_path, make_config):
    log_path, clients = tmp_path / "run", CookbookClients()
    log_path.mkdir()
    asyncio.run(save_each(clients, log_path, range(1, 4)))
    rolling = newest(log_path)
    start = resolve_start(log_path)
    assert isinstance(start, Resume) and start.batch == 3

    config = ready(make_config, max_steps=5)
    result = train(config, service_client=clients.service, rest_client=clients.rest)
    assert result.steps == 5
    resumed = [call for call in clients.service.calls if call.call.endswith("from_state_with_optimizer")]
    assert [call.arguments["path"] for call in resumed] == [rolling]
    assert last(log_path) == newest(log_path)
    assert cookbook().get_last_checkpoint(str(log_path)).batch == 5

    other = CookbookClients(clients.service)
    asyncio.run(save_each(other, log_path, range(6, 8)))
    assert last(log_path) == newest(log_path)
    start = resolve_start(log_path)
    assert isinstance(start, Resume) and start.batch == 7


async def save_each(clients: CookbookClients, log_path: Path, steps: range) -> None:
    """Saves of the cookbook's at these steps, and then no more."""
    manager = clients.manager(log_path, save_every=4, rolling_save_every=1)
    for step in steps:
        await manager.maybe_save_async(step, {"batch": step})
    await manager.maybe_save_rolling_async(0, {})
