"""The saver against the fake's training client: what is confirmed is recorded, what failed is tried again."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from socratic_distill import (
    CheckpointManager,
    InvalidAnswer,
    SaveError,
    TrainingError,
    load_checkpoints,
    train,
    train_async,
)
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.journal import Journal
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault
from socratic_distill.training.save_plan import SaveSchedule
from socratic_distill.training.saver import SaveFacts, Saver

HOUR, DAY = 3600, 24 * 3600
FACTS = SaveFacts(run_id="run-1", config_digest="d1", began=0)
TTL = {"sampler": 2 * DAY, "periodic": 3 * DAY, "rolling": HOUR, "interrupted": 4 * DAY, "final": None}
RUN = "tinker://fake-0001:train:0"


class Bench:
    """A saver on a fake service, its journal, and a step-by-step drive like the trainer's."""

    def __init__(self, path, faults=(), every=2, rolling=None, seconds=None, max_failed=3, rest=True, facts=FACTS):
        self.path = path
        self.service = FakeServiceClient(faults=faults)
        self.rest = FakeRestClient(self.service) if rest else None
        self.client = self.service.create_lora_training_client("small").result()
        self.failed = Counter()
        self.plan = SaveSchedule(every, seconds, rolling, TTL)
        self.journal = CheckpointManager(path)
        self.max_failed = max_failed
        self.facts = facts
        self.saver = self.reopen()

    def reopen(self, resumed=None, client=None, is_own=True):
        """A saver on another training client of the same process."""
        parts = (self.journal, self.rest, self.plan, self.facts, self.max_failed, self.failed, resumed)
        return Saver(client or self.client, *parts, is_own=is_own)

    async def steps(self, first, last):
        """Ends the steps before the batches `first` to `last`."""
        for batch in range(first, last + 1):
            self.saver.save_state_if_due(batch, batch)
            await settle()

    @property
    def states(self):
        return [record.name for record in load_checkpoints(self.path) if record.state_path]

    @property
    def submitted(self):
        return [call.arguments["name"] for call in self.service.calls if call.call == "save_state"]

    @property
    def kept(self):
        """What the service holds, by path."""
        listed = FakeRestClient(self.service).list_user_checkpoints().result().checkpoints
        return {one.tinker_path: one for one in listed}


async def settle():
    """Lets everything go on that need not wait for time to pass."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def bench(tmp_path):
    return lambda **fields: Bench(tmp_path, **fields)


@pytest.fixture
def clock(monkeypatch):
    """Moves the time of the running loop, by which the fake's late answers come."""

    class Clock:
        ahead = 0.0

        def start(self):
            loop = asyncio.get_running_loop()
            right = loop.time
            monkeypatch.setattr(loop, "time", lambda: right() + self.ahead)

    return Clock()


def answered(call, nth, times=1):
    return Fault(call, nth=nth, error="request_failed", times=times)


# --- failed saves -----------------------------------------------------------------------------------------------


async def test_failed_state_is_tried_at_the_next_step_under_a_new_name(bench, caplog):
    one = bench(faults=[answered("save_state", 1)], every=4)
    await one.steps(1, 7)
    assert one.submitted == ["000004", "000005"], "the next step, not batch 8"
    assert one.states == ["000005"]
    assert "the save '000004' (state_path) failed" in caplog.text
    (record,) = load_checkpoints(one.path)
    assert (record.batch, record.version, record.kind) == (5, 5, "periodic")


async def test_failed_state_is_tried_until_it_succeeds_and_the_cadence_stays(bench):
    one = bench(faults=[answered("save_state", 1, times=2)], every=4)
    await one.steps(1, 12)
    assert one.submitted == ["000004", "000005", "000006", "000008", "000012"]
    assert one.states == ["000006", "000008", "000012"]


async def test_a_try_that_meets_the_cadence_is_one_save(bench):
    one = bench(faults=[answered("save_state", 1)], every=1)
    await one.steps(1, 3)
    assert one.submitted == ["000001", "000002", "000003"]


async def test_a_failed_periodic_state_is_not_replaced_by_a_rolling_one(bench):
    one = bench(faults=[answered("save_state", 3)], every=3, rolling=1)
    await one.steps(1, 4)
    kinds = {record.name: record.kind for record in load_checkpoints(one.path) if record.state_path}
    assert kinds["000004"] == "periodic"


async def test_a_failed_rolling_state_is_tried_again_as_one(bench):
    one = bench(faults=[answered("save_state", 1)], every=None, rolling=3)
    await one.steps(1, 4)
    (record,) = load_checkpoints(one.path)
    assert (record.name, record.kind, one.submitted) == ("000004", "rolling", ["000003", "000004"])


async def test_sampler_save_that_failed_gives_no_path_and_the_next_a_new_name(bench):
    one = bench(faults=[answered("save_weights_for_sampler", 1)])
    assert await one.saver.confirm(one.saver.submit("sampler", 3, 3)) is None
    path = await one.saver.confirm(one.saver.submit("sampler", 3, 3))
    assert path == f"{RUN}/sampler_weights/000003-2"
    assert [(record.name, record.sampler_path) for record in load_checkpoints(one.path)] == [("000003-2", path)]


@pytest.mark.virtual_time
@pytest.mark.parametrize("path", [None, "", 7])
async def test_save_that_is_answered_without_a_path_is_recorded_nowhere(bench, path):
    async def answer():
        return SimpleNamespace(path=path)

    saver = bench().saver
    pending = replace(saver.submit("periodic", 2, 2), request=answer())
    with pytest.raises(InvalidAnswer, match="without a path"):
        await saver.confirm(pending)


@pytest.mark.parametrize("error", ["submission", "connection", "timeout", "lost_answer", "poisoned", 500, 409])
async def test_save_without_an_answer_is_a_lost_client(bench, error):
    one = bench(faults=[Fault("save_state", nth=1, error=error)])
    await one.steps(1, 2)
    await asyncio.wait([one.saver.trouble], timeout=5)
    with pytest.raises(TrainingError, match=r"the save '000002' \(state_path\) failed .* Start the same script again"):
        one.saver.check()
    assert load_checkpoints(one.path) == []


@pytest.mark.parametrize("kind", ["sampler", "periodic"])
async def test_request_that_cannot_even_be_made_is_a_lost_client(bench, kind):
    one = bench()

    def refuse(*arguments, **options):
        raise RuntimeError("the client is closed")

    saver = one.reopen(client=SimpleNamespace(save_state=refuse, save_weights_for_sampler=refuse))
    with pytest.raises(TrainingError, match="the client is closed"):
        saver.submit(kind, 2, 2)
    assert load_checkpoints(one.path) == []


@pytest.mark.virtual_time
async def test_what_is_behind_a_lost_request_is_never_recorded(bench):
    one = bench(faults=[Fault("save_state", nth=1, error="submission")], every=1)
    one.saver.save_state_if_due(1, 1)
    one.saver.save_state_if_due(2, 2)
    await asyncio.wait([one.saver.trouble], timeout=5)
    with pytest.raises(TrainingError):
        one.saver.check()
    one.saver.abandon()
    await settle()
    assert load_checkpoints(one.path) == [] and one.submitted == ["000001", "000002"]


@pytest.mark.parametrize("limit", [1, 3])
async def test_as_many_failures_in_a_row_as_configured_end_the_run(bench, limit):
    one = bench(faults=[answered("save_state", 1, times=9)], every=1, max_failed=limit)
    await one.steps(1, limit)
    with pytest.raises(SaveError, match=rf"number {limit} in a row, and max_failed_saves={limit}.*same script again"):
        one.saver.check()
    assert len(one.submitted) == limit


async def test_a_success_between_resets_the_count(bench):
    faults = [answered("save_state", nth) for nth in (1, 2, 4, 5, 7, 8)]
    one = bench(faults=faults, every=1, max_failed=3)
    await one.steps(1, 9)
    one.saver.check()
    assert one.states == ["000003", "000006", "000009"]


async def test_states_and_sampler_weights_are_counted_apart(bench):
    faults = [answered("save_state", 1, times=2), answered("save_weights_for_sampler", 1, times=2)]
    one = bench(faults=faults, every=1, max_failed=3)
    for batch in (1, 2):
        await one.steps(batch, batch)
        assert await one.saver.confirm(one.saver.submit("sampler", batch, batch)) is None
    assert one.failed == {"state_path": 2, "sampler_path": 2}
    await one.steps(3, 3)
    assert one.failed == {"state_path": 0, "sampler_path": 2}


async def test_failures_are_counted_over_the_training_clients_of_a_process(bench):
    one = bench(faults=[answered("save_state", 1), Fault("save_state", nth=2, error="connection")], max_failed=3)
    await one.steps(1, 3)
    with pytest.raises(TrainingError) as lost:
        one.saver.check()
    assert not isinstance(lost.value, SaveError) and one.failed["state_path"] == 2
    saver = one.reopen(client=SimpleNamespace(save_state=_refuse))
    with pytest.raises(SaveError, match="number 3 in a row"):
        saver.submit("periodic", 2, 2)


def _refuse(*arguments, **options):
    raise ConnectionError("no route")


# --- states and sampler weights are independent -----------------------------------------------------------------


async def test_a_failed_sampler_save_keeps_the_state_recorded_and_vice_versa(bench):
    one = bench(faults=[answered("save_weights_for_sampler", 1), answered("save_state", 2)])
    first = one.saver.submit("sampler", 2, 2)
    await one.steps(2, 2)
    assert await one.saver.confirm(first) is None
    second = one.saver.submit("sampler", 4, 4)
    await one.steps(4, 4)
    assert await one.saver.confirm(second) is not None
    recorded = [(record.name, bool(record.state_path), bool(record.sampler_path)) for record in one.journal.records]
    assert recorded == [("000002", True, False), ("000004", False, True)]


@pytest.mark.parametrize(("call", "kept"), [("save_weights_for_sampler", "state_path"), ("save_state", "sampler_path")])
async def test_final_save_keeps_its_confirmed_half_if_the_other_failed(bench, call, kept):
    one = bench(faults=[answered(call, 1)], max_failed=1)
    with pytest.raises(SaveError):
        await one.saver.save_final(6, 6, None, None)
    await settle()
    (record,) = one.journal.records
    assert record.final and record.paths == (getattr(record, kept),)


@pytest.mark.virtual_time
@pytest.mark.parametrize("error", ["submission", "connection"])
async def test_final_save_does_not_wait_for_what_is_behind_a_lost_request(bench, error):
    """Also where the loss is the one failure too many: behind a request that never arrived no answer comes."""
    one = bench(faults=[Fault("save_weights_for_sampler", error=error)], max_failed=1)
    async with asyncio.timeout(5):
        with pytest.raises(SaveError):
            await one.saver.save_final(6, 6, None, None)
    assert list(one.journal.records) == []


@pytest.mark.parametrize(
    ("call", "state", "sampler"), [("save_weights_for_sampler", 1, 2), ("save_state", 2, 1)], ids=["sampler", "state"]
)
async def test_final_save_tries_only_the_half_that_failed_again(bench, call, state, sampler):
    one = bench(faults=[answered(call, 1)])
    state_path, sampler_path = await one.saver.save_final(6, 6, None, None)
    assert state_path == f"{RUN}/weights/final" + ("-2" if state == 2 else "")
    assert sampler_path == f"{RUN}/sampler_weights/final" + ("-2" if sampler == 2 else "")
    assert (one.service.count("save_state"), one.service.count("save_weights_for_sampler")) == (state, sampler)
    assert {path for record in one.journal.records for path in record.paths} == {state_path, sampler_path}


async def test_final_half_that_is_known_is_not_saved_again(bench):
    one = bench()
    state_path, sampler_path = await one.saver.save_final(6, 6, "tinker://x:train:0/weights/final", None)
    assert state_path == "tinker://x:train:0/weights/final" and one.submitted == []
    assert [record.sampler_path for record in one.journal.records] == [sampler_path]


# --- rolling states ---------------------------------------------------------------------------------------------


async def test_rolling_state_is_deleted_once_the_next_is_recorded(bench):
    one = bench(every=None, rolling=2)
    await one.steps(1, 6)
    assert set(one.kept) == {f"{RUN}/weights/000006"}
    lines = [record.deleted_path or record.name for record in one.journal.records]
    assert lines == ["000002", "000004", f"{RUN}/weights/000002", "000006", f"{RUN}/weights/000004"]
    newest = Journal.read(one.journal.path).newest_state()
    assert newest is not None and newest.name == "000006"


async def test_rolling_state_stays_until_the_next_is_confirmed(bench, clock):
    clock.start()
    one = bench(faults=[Fault("save_state", nth=2, error="slow", seconds=60)], every=None, rolling=2)
    await one.steps(1, 5)
    assert f"{RUN}/weights/000002" in one.kept and one.states == ["000002"]
    clock.ahead = 61
    await settle()
    assert one.states == ["000002", "000004"]
    assert set(one.kept) == {f"{RUN}/weights/000004"}


@pytest.mark.parametrize("error", ["request_failed", "connection"])
async def test_rolling_state_stays_where_the_next_failed(bench, error):
    one = bench(faults=[Fault("save_state", nth=2, error=error)], every=None, rolling=2)
    await one.steps(1, 4)
    assert f"{RUN}/weights/000002" in one.kept
    assert one.service.count("delete_checkpoint_from_tinker_path") == 0
    newest = Journal.read(one.journal.path).newest_state()
    assert newest is not None and newest.name == "000002"


async def test_rolling_state_stays_if_the_next_record_cannot_be_written(bench, monkeypatch):
    one = bench(every=None, rolling=2)
    await one.steps(1, 3)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointManager, "append", lambda self, record: _refuse())
        await one.steps(4, 4)
    assert f"{RUN}/weights/000002" in one.kept
    with pytest.raises(ConnectionError):
        one.saver.check()


@pytest.mark.parametrize("error", [404, 500, "connection"])
async def test_deletion_that_fails_only_warns_and_is_not_recorded(bench, caplog, error):
    fault = Fault("delete_checkpoint_from_tinker_path", nth=1, error=error)
    one = bench(faults=[fault], every=None, rolling=2)
    await one.steps(1, 6)
    one.saver.check()
    assert "the old rolling state 000002 was not deleted and is left to expire" in caplog.text
    assert [record.deleted_path for record in one.journal.records if record.deleted_path] == [f"{RUN}/weights/000004"]
    assert one.states == ["000002", "000004", "000006"]


async def test_periodic_state_serves_as_the_rolling_one_and_stays(bench):
    one = bench(every=4, rolling=1)
    await one.steps(1, 6)
    kinds = {record.name: record.kind for record in one.journal.records if record.state_path}
    assert one.submitted == [f"{batch:06d}" for batch in range(1, 7)], "one state a batch, not two"
    assert kinds["000004"] == "periodic"
    assert set(one.kept) == {f"{RUN}/weights/000004", f"{RUN}/weights/000006"}


async def test_final_state_replaces_the_rolling_one(bench):
    one = bench(every=None, rolling=2)
    await one.steps(1, 3)
    await one.saver.save_final(3, 3, None, None)
    assert set(one.kept) == {f"{RUN}/weights/final", f"{RUN}/sampler_weights/final"}


@pytest.mark.parametrize("is_own", [True, False])
async def test_rolling_state_resumed_from_goes_if_it_is_the_runs_own(bench, is_own):
    one = bench(every=None, rolling=2)
    await one.steps(1, 2)
    resumed = Journal.read(one.journal.path).newest_state()
    assert resumed is not None and resumed.kind == "rolling"
    second = one.service.create_training_client_from_state_with_optimizer(resumed.state_path or "").result()
    one.saver = one.reopen(resumed, second, is_own)
    await one.steps(3, 4)
    others = set() if is_own else {resumed.state_path}
    assert set(one.kept) == {"tinker://fake-0001:train:1/weights/000004"} | others


async def test_without_a_rest_client_rolling_states_are_left_to_expire(bench):
    one = bench(every=None, rolling=2, rest=False)
    await one.steps(1, 4)
    assert set(one.kept) == {f"{RUN}/weights/000002", f"{RUN}/weights/000004"}
    assert one.states == ["000002", "000004"]


# --- saves in the background ------------------------------------------------------------------------------------


async def test_late_save_holds_up_nothing_and_is_recorded_when_it_comes(bench, clock):
    clock.start()
    one = bench(faults=[Fault("save_state", nth=1, error="slow", seconds=3600)])
    await one.steps(1, 4)
    assert one.states == ["000004"], "the later save is recorded while the earlier one is on its way"
    clock.ahead = 3601
    await settle()
    newest = Journal.read(one.journal.path).newest_state()
    assert newest is not None and newest.name == "000004", "the older state came later and is not gone on from"
    assert one.states[:2] == ["000004", "000002"]
    assert json.loads(one.journal.path.read_text().splitlines()[-1])["state_path"] == newest.state_path


async def test_late_rolling_state_never_replaces_a_newer_one(bench, clock):
    clock.start()
    one = bench(faults=[Fault("save_state", nth=1, error="slow", seconds=3600)], every=None, rolling=2)
    await one.steps(1, 4)
    clock.ahead = 3601
    await settle()
    assert set(one.kept) == {f"{RUN}/weights/000004"}
    newest = Journal.read(one.journal.path).newest_state()
    assert newest is not None and newest.name == "000004"


async def test_stop_waits_for_the_saves_on_their_way_and_saves_a_state_once(bench, clock):
    clock.start()
    one = bench(faults=[Fault("save_state", nth=1, error="slow", seconds=3600)])
    await one.steps(1, 2)
    stopping = asyncio.ensure_future(one.saver.save_now(2, 2))
    await settle()
    assert not stopping.done()
    clock.ahead = 3601
    assert await stopping == f"{RUN}/weights/000002"
    assert one.submitted == ["000002"]


async def test_stop_saves_a_failed_state_again_under_a_new_name(bench):
    one = bench(faults=[answered("save_state", 1)])
    await one.steps(1, 2)
    assert await one.saver.save_now(2, 2) == f"{RUN}/weights/000002-2"
    (record,) = one.journal.records
    assert (record.kind, record.batch) == ("interrupted", 2)


async def test_what_is_not_confirmed_when_the_client_is_given_up_is_not_recorded(bench, clock):
    clock.start()
    one = bench(faults=[Fault("save_state", nth=1, error="slow", seconds=60)])
    await one.steps(1, 2)
    one.saver.abandon()
    clock.ahead = 61
    await settle()
    assert list(one.journal.records) == []
    one.saver.check()


async def test_a_save_by_the_clock_is_due_once_an_interval(bench, clock):
    clock.start()
    one = bench(every=None, seconds=60.0)
    for batch, ahead in enumerate([30, 59, 61, 90, 119, 122], start=1):
        clock.ahead = ahead
        await one.steps(batch, batch)
    assert one.states == ["000003", "000006"]


async def test_run_goes_on_while_a_save_is_on_its_way(make_config, tmp_path, monkeypatch, clock):
    """The state of batch 2 is confirmed after that of batch 4, and a run that dies then goes on from batch 4."""
    clock.start()
    service = FakeServiceClient(faults=[Fault("save_state", nth=1, error="slow", seconds=3600)])
    right = RunDirectory.log_step
    seen = []

    def log_step(self, metrics, dialogues):
        right(self, metrics, dialogues)
        seen.append([record.name for record in self.checkpoints.records if record.state_path])
        if metrics["step"] == 4:
            clock.ahead = 3601

    monkeypatch.setattr(RunDirectory, "log_step", log_step)
    small = dict(groups_per_batch=1, num_envs=1, max_turns=1, max_tokens=4)
    task = asyncio.create_task(train_async(make_config(**small), service_client=service))
    assert (await task).status == "completed"
    assert seen == [[], [], [], [], ["000004"], seen[5]] and "000002" in seen[5]
    before_the_end = Journal.of(one for one in load_checkpoints(tmp_path / "run") if not one.final).newest_state()
    assert before_the_end is not None and before_the_end.name == "000004"


# --- names, metadata, lifetimes ---------------------------------------------------------------------------------


async def test_names_tell_the_batch_and_never_collide(bench):
    one = bench()
    pending = [one.saver.submit(kind, 20, 20) for kind in ("periodic", "rolling", "interrupted")]
    assert [await one.saver.confirm(save) for save in pending] == [
        f"{RUN}/weights/000020",
        f"{RUN}/weights/000020-2",
        f"{RUN}/weights/000020-3",
    ]
    samplers = [await one.saver.confirm(one.saver.submit("sampler", 20, 20)) for _ in range(2)]
    assert samplers == [f"{RUN}/sampler_weights/000020", f"{RUN}/sampler_weights/000020-2"]
    large = await one.saver.confirm(one.saver.submit("periodic", 1_234_567, 1))
    assert large == f"{RUN}/weights/1234567"


async def test_final_saves_are_named_so_and_never_expire(bench):
    one = bench()
    state_path, sampler_path = await one.saver.save_final(6, 5, None, None)
    assert (state_path, sampler_path) == (f"{RUN}/weights/final", f"{RUN}/sampler_weights/final")
    assert [listed.expires_at for listed in one.kept.values()] == [None, None]
    last = one.journal.records[-1]
    assert (last.final, last.kind, last.batch, last.version, last.expires_at) == (True, "final", 6, 5, None)
    assert last.paths == (state_path, sampler_path), "the last line names both"


@pytest.mark.parametrize("kind", ["sampler", "periodic", "rolling", "interrupted"])
async def test_lifetime_of_each_kind_arrives_at_the_service_and_in_the_record(bench, kind):
    one = bench()
    path = await one.saver.confirm(one.saver.submit(kind, 2, 2))
    listed, (record,) = one.kept[path], one.journal.records
    assert listed.expires_at is not None and record.expires_at is not None and record.created_at is not None
    assert (listed.expires_at - listed.time).total_seconds() == pytest.approx(TTL[kind])
    assert (record.expires_at - record.created_at).total_seconds() == TTL[kind]
    assert record.expires_at <= listed.expires_at, "by the record it is never usable for longer than on the service"


async def test_metadata_are_strings_from_which_the_record_can_be_made_again(bench):
    one = bench(facts=SaveFacts(run_id="run-7", config_digest="abc", began=4))
    state = await one.saver.confirm(one.saver.submit("rolling", 8, 11))
    sampler = await one.saver.confirm(one.saver.submit("final", 9, 12, "sampler_path"))
    expected = {"run_id": "run-7", "config_digest": "abc", "began": "4"}
    assert one.kept[state].user_metadata == {**expected, "batch": "8", "version": "11", "kind": "rolling"}
    assert one.kept[sampler].user_metadata == {**expected, "batch": "9", "version": "12", "kind": "final"}


async def test_record_holds_what_was_known_when_the_save_was_asked_for(bench, clock):
    clock.start()
    one = bench(faults=[Fault("save_state", nth=1, error="slow", seconds=60)])
    pending = one.saver.submit("periodic", 2, 3)
    confirming = asyncio.ensure_future(one.saver.confirm(pending))
    await settle()
    assert list(one.journal.records) == []
    clock.ahead = 61
    path = await confirming
    assert list(one.journal.records) == [pending.record.model_copy(update={"state_path": path})]
    assert (pending.record.config_digest, pending.record.version) == ("d1", 3)


# --- in a run ---------------------------------------------------------------------------------------------------


def test_run_whose_saves_fail_for_good_stops_and_can_be_resumed(make_config, tmp_path):
    small = dict(groups_per_batch=1, num_envs=1, max_turns=1, max_tokens=4, max_failed_saves=2)
    service = FakeServiceClient(faults=[answered("save_state", 2, times=2)])
    with pytest.raises(SaveError, match="max_failed_saves=2"):
        train(make_config(**small), service_client=service)
    assert [one.name for one in load_checkpoints(tmp_path / "run") if one.state_path] == ["000002"]
    assert service.count("create_lora_training_client") == 1, (
        "no client is reopened for what fails whenever it is tried"
    )
    assert train(make_config(**small), service_client=service).status == "completed"
