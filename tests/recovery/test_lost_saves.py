"""Saves that are lost late or out of sight: nothing waits for ever for what is behind them, and no state is lost."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.on_the_fake import train_on_fake, train_on_fake_async
from tests.support.rows import rows_but_recoveries
from tests.support.run_directories import newest_state

from socratic_distill import (
    LocalEngineError,
    NoUsableCheckpoint,
    StorageError,
    build_socratic_config,
    load_checkpoints,
    train,
)
from socratic_distill.run.journal_writer import JournalWriter
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

pytestmark = pytest.mark.thinned


@pytest.fixture
def whole_rows(whole_run):
    return rows_but_recoveries(whole_run())


@pytest.mark.virtual_time
@pytest.mark.parametrize(("nth", "every"), [(1, 2), (2, 2), (5, 1)])
async def test_state_save_that_never_arrives_does_not_hold_up_the_run(make_config, tmp_path, whole_rows, nth, every):
    # The SDK tries for a while before it gives up; the steps submitted meanwhile stand behind a hole.
    service = FakeServiceClient(faults=[Fault("save_state", nth=nth, error="submission", seconds=0.2)])
    running = train_on_fake_async(service, make_config(save_every=every))
    result = await asyncio.wait_for(running, timeout=20)
    assert result.status == "completed" and rows_but_recoveries(tmp_path / "run") == whole_rows
    assert any(call.outcome == "unanswered" for call in service.calls), "nothing stood behind the hole"


@pytest.mark.virtual_time
async def test_cancellation_does_not_wait_for_a_save_behind_a_hole(make_config, tmp_path, whole_rows):
    faults = [
        Fault("forward_backward", nth=3, error="slow", seconds=0.2),
        Fault("save_weights_for_sampler", nth=4, error="submission"),
    ]
    service = FakeServiceClient(tmp_path / "server", faults=faults)
    task = asyncio.create_task(train_on_fake_async(service, make_config()))
    while service.count("save_weights_for_sampler") < 4:
        await asyncio.sleep(0)
    task.cancel()
    assert (await asyncio.wait([task], timeout=20))[0], "the cancelled run hangs"
    with pytest.raises(asyncio.CancelledError, match="the newest recorded one is resumed from"):
        await task
    again = FakeServiceClient(tmp_path / "server")
    await train_on_fake_async(again, make_config())
    assert rows_but_recoveries(tmp_path / "run") == whole_rows


async def interrupt(config, service, steps):
    task = asyncio.create_task(train_on_fake_async(service, config))
    begun = service.count("optim_step")
    while service.count("optim_step") < begun + steps:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_interrupted_run_with_rolling_states_keeps_one_for_days(make_config, tmp_path):
    service = FakeServiceClient(tmp_path / "server")
    config = make_config(save_every=100, rolling_save_every=1)
    await interrupt(config, service, 3)
    state = newest_state(tmp_path / "run")
    assert state.kind == "interrupted" and state.expires_at is not None and state.created_at is not None
    assert state.expires_at - state.created_at == timedelta(days=7)
    rolling = [one.tinker_path for one in FakeRestClient(service).list_user_checkpoints().result().checkpoints]
    assert len([path for path in rolling if "/weights/" in path]) == 1, "the rolling one of that batch is deleted"


async def test_run_resumed_from_a_rolling_state_and_stopped_keeps_a_lasting_one(make_config, tmp_path):
    """A rolling state lasts hours, the one saved on a stop lasts days."""
    config = make_config(save_every=100, rolling_save_every=2)
    faults = [Fault("forward_backward", nth=nth, error=401) for nth in (4, 5, 6, 7)]
    with pytest.raises(Exception, match="key"):
        first = FakeServiceClient(tmp_path / "server", faults=faults)
        await train_on_fake_async(first, config)
    assert newest_state(tmp_path / "run").kind == "rolling"
    service = FakeServiceClient(tmp_path / "server")
    task = asyncio.create_task(train_on_fake_async(service, config))
    while not service.count("sample"):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError, match="2 batches are done"):
        await task
    assert (newest_state(tmp_path / "run").kind, newest_state(tmp_path / "run").batch) == ("interrupted", 2)


def test_state_without_a_record_is_found_once_recorded_ones_expired(make_config, tmp_path, monkeypatch, whole_rows):
    config = make_config(save_every=4, rolling_save_every=1)
    append = JournalWriter.append

    def fail_on_the_periodic_one(self, record):
        if record.kind == "periodic":
            raise StorageError("no space left on the device")
        append(self, record)

    monkeypatch.setattr(JournalWriter, "append", fail_on_the_periodic_one)
    with pytest.raises(StorageError):
        train_on_fake(FakeServiceClient(tmp_path / "server"), config)
    monkeypatch.undo()
    journal = tmp_path / "run" / "checkpoints.jsonl"
    records = [one for one in load_checkpoints(tmp_path / "run") if one.batch is not None and one.batch <= 4]
    late = datetime.now(UTC) - timedelta(hours=1)
    expired = [one.model_copy(update={"expires_at": late} if one.state_path else {}) for one in records]
    journal.write_text("".join(one.to_line() for one in expired))
    (tmp_path / "kept").mkdir()
    os.replace(journal, tmp_path / "kept" / "checkpoints.jsonl")
    journal.write_text((tmp_path / "kept" / "checkpoints.jsonl").read_text())
    with pytest.raises(NoUsableCheckpoint):
        train(config, service_client=FakeServiceClient())  # nobody to ask
    train_on_fake(FakeServiceClient(tmp_path / "server"), config)
    assert (
        any(one.adopted for one in load_checkpoints(tmp_path / "run"))
        and rows_but_recoveries(tmp_path / "run") == whole_rows
    )


def test_base_model_that_cannot_be_loaded_for_once_costs_no_state(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    def config(steps):
        return build_socratic_config(
            tutor_model_name="tiny", student_model_name="tiny", teacher_model_name="tiny", learning_rate=1e-3,
            max_tokens=4, log_path=tmp_path / "run", groups_per_batch=1, num_envs=1, max_turns=1, max_steps=steps,
            save_every=1, display="off", base_url="local",
        )  # fmt: skip

    train(config(2))
    before = Path(tmp_path / "run" / "checkpoints.jsonl").read_text()

    def refuse(*arguments, **options):
        raise OSError("no connection to the hub")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
    with pytest.raises(LocalEngineError, match="no connection to the hub"):
        train(config(3))
    assert Path(tmp_path / "run" / "checkpoints.jsonl").read_text() == before
    monkeypatch.undo()
    train(config(3))
    assert [one.batch for one in load_checkpoints(tmp_path / "run") if one.resumed_at] == [2]
