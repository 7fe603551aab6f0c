"""Saves that the service holds and the journal lacks: adopted at the next start, or recorded again by `rebuild`."""

import json
import logging
import shutil
from datetime import timedelta

import pytest
from tests.support.on_the_fake import small_config, train_on_fake, train_until_it_dies
from tests.support.rows import read_rows, rows_but_recoveries
from tests.support.run_directories import forget_checkpoint

from socratic_distill import (
    CheckpointManager,
    Resume,
    RunLocked,
    ServiceError,
    StartError,
    load_checkpoints,
    resolve_start,
)
from socratic_distill.in_process import ServiceFuture
from socratic_distill.run.journal_writer import JournalWriter
from socratic_distill.run.lock import RunLock
from socratic_distill.run.record import deletion
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

pytestmark = pytest.mark.thinned

FIRST, SECOND, THIRD = (f"fake-{number:04d}:train:0" for number in (1, 2, 3))


class ForgetfulRest(FakeRestClient):
    """Of a server that keeps no user_metadata, and does not say how many checkpoints there are."""

    def list_checkpoints(self, training_run_id):
        return self._forget(super().list_checkpoints(training_run_id).result())

    def list_user_checkpoints(self, limit=100, offset=0):
        return self._forget(super().list_user_checkpoints(limit, offset).result())

    def _forget(self, answer):
        bare = [one.model_copy(update={"user_metadata": None}) for one in answer.checkpoints]
        return ServiceFuture.of(answer.model_copy(update={"checkpoints": bare, "cursor": None}))


def check_times(record, old):
    """The service saves a moment after it was asked, by its own clock, and lets live for as long as it was asked to."""
    created, expires, asked, until = record.created_at, record.expires_at, old.created_at, old.expires_at
    assert created is not None and asked is not None and created >= asked, "it was saved before it was asked for"
    assert expires is not None and until is not None
    # The journal keeps whole seconds.
    assert abs((expires - created) - (until - asked)) <= timedelta(seconds=1)


def adopted(run):
    return [record for record in load_checkpoints(run) if record.adopted]


def plant(server, run, name, facts=None):
    """A state in the first server run that carries these facts."""
    saved = FakeServiceClient(server).checkpoints
    header, arrays = saved.load(f"tinker://{FIRST}/weights/000002", "weights")
    assert header.path in {record.state_path for record in load_checkpoints(run)}
    return saved.save(header.info, "weights", name, arrays, None, facts).path


def facts_of(batch, run_id):
    names = ("run_id", "batch", "version", "kind", "config_digest", "began")
    return dict(zip(names, (run_id, str(batch), str(batch), "interrupted", "x", "0"), strict=True))


def run_id(run):
    return json.loads((run / "run.json").read_text())["run_id"]


def began(run):
    return [json.loads(line)["batch"] for line in (run / "server_runs.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def rows_of_whole_runs(tmp_path_factory):
    """Rows of uninterrupted runs, by their number of steps."""
    directory = tmp_path_factory.mktemp("whole")
    for steps in (6, 8):
        train_on_fake(FakeServiceClient(), small_config(directory, str(steps), max_steps=steps))
    return {steps: rows_but_recoveries(directory / str(steps)) for steps in (6, 8)}


@pytest.fixture
def whole_rows(rows_of_whole_runs):
    return rows_of_whole_runs[6]


@pytest.fixture(scope="module")
def dead_run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dead")
    train_until_it_dies(directory / "server", small_config(directory), steps=5)
    return directory


@pytest.fixture
def config(tmp_path):
    """The config of the run that the tests are about."""
    return small_config(tmp_path)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def server(tmp_path):
    """Where the fake service keeps what it holds, so that every life of a run meets it without earlier faults."""
    return tmp_path / "server"


@pytest.fixture
def died(dead_run, tmp_path):
    """The run has died in its step 5; states of batches 2 and 4 are recorded."""
    shutil.copytree(dead_run, tmp_path, dirs_exist_ok=True)


# --- adoption ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [FakeRestClient, ForgetfulRest], ids=["metadata", "names"])
def test_state_without_its_record_is_adopted_and_gone_on_from(died, config, run, server, whole_rows, caplog, rest):
    orphan = f"tinker://{FIRST}/weights/000004"
    (before,) = [record for record in load_checkpoints(run) if record.state_path == orphan]
    forget_checkpoint(run, orphan)
    assert train_on_fake(FakeServiceClient(server), config, rest).status == "completed"
    assert f"adopted {orphan}, saved before batch 4: it had no record" in caplog.text
    assert began(run) == [0, 4]
    assert rows_but_recoveries(run) == whole_rows
    record, *again = adopted(run)
    assert all(one.state_path == orphan for one in again)
    assert (record.name, record.batch, record.kind, record.state_path) == ("000004", 4, "periodic", orphan)
    if rest is FakeRestClient:
        assert (record.version, record.config_digest) == (before.version, before.config_digest)
        assert record.expires_at is not None and before.expires_at is not None
        check_times(record, before)


def test_state_of_a_process_that_died_before_its_record_is_adopted(config, run, server, whole_rows, monkeypatch):
    class Died(BaseException):
        pass

    right, dead = JournalWriter.append, []

    def append(self, record):
        if dead or (record.state_path and record.batch == 4):
            dead.append(record)
            raise Died
        right(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(JournalWriter, "append", append)
        with pytest.raises(Died):
            train_on_fake(FakeServiceClient(server), config)
    assert {record.batch for record in load_checkpoints(run) if record.state_path} == {2}
    train_on_fake(FakeServiceClient(server), config)
    assert {record.state_path for record in adopted(run)} >= {f"tinker://{FIRST}/weights/000004"}
    assert began(run) == [0, 4]
    assert rows_but_recoveries(run) == whole_rows


def test_state_is_adopted_after_a_torn_line_in_the_server_runs(config, run, server, whole_rows, monkeypatch):
    train_until_it_dies(server, config, steps=3)
    with (run / "server_runs.jsonl").open("ab") as file:
        file.write(b'{"server_run": "fake-0002:tr')  # a start that died as it noted its server run

    class Died(BaseException):
        pass

    right, dead = JournalWriter.append, []

    def append(self, record):
        if dead or (record.resumable and record.batch == 4):
            dead.append(record)
            raise Died
        right(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(JournalWriter, "append", append)
        with pytest.raises(Died):
            train_on_fake(FakeServiceClient(server), config)
    train_on_fake(FakeServiceClient(server), config)
    assert {record.state_path for record in adopted(run)} == {f"tinker://{SECOND}/weights/000004"}
    assert rows_but_recoveries(run) == whole_rows


def test_adoption_takes_place_once(died, config, run, server):
    forget_checkpoint(run, f"tinker://{FIRST}/weights/000002")
    train_on_fake(FakeServiceClient(server), config)
    assert [record.batch for record in adopted(run)] == [2]
    train_on_fake(FakeServiceClient(server), config.model_copy(update=dict(max_steps=7)))
    assert [record.batch for record in adopted(run)] == [2]


def test_older_orphan_does_not_take_the_newest_states_place(died, config, run, server):
    newest = resolve_start(run)
    forget_checkpoint(run, f"tinker://{FIRST}/weights/000002")
    train_on_fake(service := FakeServiceClient(server), config)
    assert isinstance(newest, Resume) and newest.batch == 4
    opened = [call.arguments["path"] for call in service.calls if call.call.endswith("with_optimizer")]
    assert opened == [newest.state_path]


@pytest.mark.parametrize("lost", ["/weights/final", "/sampler_weights/final"])
def test_final_save_without_its_record_ends_the_run_without_another_step(config, run, server, lost):
    ended = train_on_fake(FakeServiceClient(server), config)
    forget_checkpoint(run, lost)
    train_on_fake(service := FakeServiceClient(server), config)
    again = train_on_fake(service, config)
    assert (again.status, again.state_path, again.steps) == ("already_complete", ended.state_path, 6)
    assert service.count("forward_backward") == service.count("save_state") == 0
    assert service.count("sample") == 0 and len(read_rows(run / "metrics.jsonl")) == 6


def test_without_a_rest_client_nothing_is_adopted_and_the_run_goes_on(died, config, run, server, whole_rows):
    forget_checkpoint(run, f"tinker://{FIRST}/weights/000004")
    train_on_fake(FakeServiceClient(server), config, rest=None)
    assert adopted(run) == [] and rows_but_recoveries(run) == whole_rows


@pytest.mark.parametrize("rest", [FakeRestClient, ForgetfulRest], ids=["metadata", "names"])
def test_state_ahead_of_the_rows_is_not_adopted(died, config, run, server, whole_rows, rest):
    forget_checkpoint(run, f"tinker://{FIRST}/weights/000004")
    for name in ("metrics", "dialogues"):
        path = run / f"{name}.jsonl"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if json.loads(line)["step"] < 3))
    train_on_fake(FakeServiceClient(server), config, rest)
    assert adopted(run) == [] and rows_but_recoveries(run) == whole_rows


@pytest.mark.parametrize("rest", [FakeRestClient, ForgetfulRest], ids=["metadata", "names"])
def test_state_of_an_abandoned_window_is_not_adopted(died, config, run, server, whole_rows, rest):
    """The run went on from batch 2 without knowing of the first life's state of batch 4."""
    forget_checkpoint(run, f"tinker://{FIRST}/weights/000004")
    train_until_it_dies(server, config.model_copy(update=dict(save_every=None)), steps=3, rest=None)
    assert len(read_rows(run / "metrics.jsonl")) == 5, "by its rows alone it could be of this lineage"
    train_on_fake(FakeServiceClient(server), config, rest)
    assert began(run) == [0, 2, 2] and adopted(run) == []
    assert rows_but_recoveries(run) == whole_rows


def test_state_that_carries_another_runs_id_is_not_adopted(died, config, run, server, whole_rows):
    plant(server, run, "000005", facts_of(5, "another"))
    train_on_fake(FakeServiceClient(server), config)
    assert adopted(run) == [] and rows_but_recoveries(run) == whole_rows


def test_state_of_this_runs_id_is_adopted_whatever_its_name(died, config, run, server):
    mine = plant(server, run, "by-hand", facts_of(5, run_id(run)))
    nameless = plant(server, run, "best-so-far")
    train_on_fake(FakeServiceClient(server), config)
    assert {(record.state_path, record.batch, record.kind) for record in adopted(run)} == {(mine, 5, "interrupted")}
    assert began(run) == [0, 5]
    assert nameless not in {record.state_path for record in load_checkpoints(run)}


def test_deleted_state_that_the_service_still_lists_is_not_adopted(died, config, run, server, whole_rows):
    gone = f"tinker://{FIRST}/weights/000004"
    (record,) = [record for record in load_checkpoints(run) if record.state_path == gone]
    forget_checkpoint(run, gone)
    CheckpointManager(run).append(deletion(record, gone))
    train_on_fake(FakeServiceClient(server), config)
    assert adopted(run) == [] and rows_but_recoveries(run) == whole_rows


def test_sampler_weights_are_not_adopted_by_a_start(died, config, run, server):
    forget_checkpoint(run, f"tinker://{FIRST}/sampler_weights/000003")
    train_on_fake(FakeServiceClient(server), config)
    assert adopted(run) == []


def test_server_run_that_the_service_forgot_holds_nothing_to_adopt(died, config, run, server, whole_rows):
    service = FakeServiceClient(server, faults=[Fault("list_checkpoints", error=404, times=9)])
    train_on_fake(service, config)
    assert service.count("list_checkpoints") > 0 and rows_but_recoveries(run) == whole_rows


@pytest.mark.parametrize("error", [500, 401, "connection"])
def test_start_that_cannot_ask_for_orphans_is_refused_and_loses_nothing(died, config, run, server, whole_rows, error):
    orphan = f"tinker://{FIRST}/weights/000004"
    forget_checkpoint(run, orphan)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    service = FakeServiceClient(server, faults=[Fault("list_checkpoints", error=error)])
    with pytest.raises(ServiceError, match=f"listing the saves of {FIRST} failed"):
        train_on_fake(service, config.model_copy(update=dict(max_recoveries=0)))
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    train_on_fake(FakeServiceClient(server), config)
    assert {record.state_path for record in adopted(run)} == {orphan}
    assert rows_but_recoveries(run) == whole_rows


# --- rebuild ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_of_three_lives(tmp_path_factory):
    directory = tmp_path_factory.mktemp("lives")
    server, run, longer = directory / "server", directory / "run", small_config(directory, max_steps=8)
    train_until_it_dies(server, small_config(directory), steps=5)
    FakeServiceClient(server).checkpoints.delete(f"tinker://{FIRST}/weights/000004")
    train_until_it_dies(server, longer, steps=3)
    train_until_it_dies(server, longer, steps=3)
    assert began(run) == [0, 2, 4]
    return directory, plant(server, run, "000004-2", facts_of(4, run_id(run)))


@pytest.fixture
def lives(run_of_three_lives, tmp_path, run, server):
    """The service of a run of three lives, where its next start resumes, and a state that the first one abandoned."""
    directory, abandoned = run_of_three_lives
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    before = resolve_start(run)
    assert isinstance(before, Resume) and before.state_path == f"tinker://{THIRD}/weights/000006"
    return FakeServiceClient(server), before, abandoned


def lose(run, *names):
    for name in names:
        (run / name).unlink()


def check_rebuilt(run, before, abandoned):
    after = resolve_start(run)
    assert isinstance(after, Resume)
    assert (after.state_path, after.batch) == (before.state_path, before.batch)
    assert abandoned not in {path for record in load_checkpoints(run) for path in record.paths}


@pytest.mark.parametrize("rest", [FakeRestClient, ForgetfulRest], ids=["metadata", "names"])
@pytest.mark.parametrize("ids", [None, [FIRST, SECOND, THIRD]], ids=["noted ids", "given ids"])
def test_rebuilt_journal_resumes_from_the_same_state(config, run, lives, rows_of_whole_runs, rest, ids):
    service, before, abandoned = lives
    kept = {path for record in load_checkpoints(run) for path in record.paths}
    lose(run, "checkpoints.jsonl")
    added = CheckpointManager(run).rebuild(rest(service), ids)
    check_rebuilt(run, before, abandoned)
    paths = {path for record in load_checkpoints(run) for path in record.paths}
    assert added == len(paths) and paths <= kept
    assert {f"tinker://{FIRST}/weights/000002", f"tinker://{SECOND}/weights/000004", before.state_path} <= paths
    assert any("/sampler_weights/" in path for path in paths)
    train_on_fake(service, config.model_copy(update=dict(max_steps=8)))
    assert rows_but_recoveries(run) == rows_of_whole_runs[8]


def test_rebuild_without_the_noted_server_runs_goes_by_the_ids_given(run, lives):
    service, before, abandoned = lives
    lose(run, "checkpoints.jsonl", "server_runs.jsonl")
    CheckpointManager(run).rebuild(FakeRestClient(service), [FIRST, SECOND, THIRD])
    check_rebuilt(run, before, abandoned)


def test_rebuild_by_given_ids_and_names_alone_keeps_the_older_lives_states(run, lives):
    """Nothing says when each life began but its first save: the last one may have died before its first state."""
    service, before, abandoned = lives
    service.checkpoints.delete(before.state_path)
    lose(run, "checkpoints.jsonl", "server_runs.jsonl")
    CheckpointManager(run).rebuild(ForgetfulRest(service), [FIRST, SECOND, THIRD])
    after = resolve_start(run)
    assert isinstance(after, Resume) and after.state_path == f"tinker://{SECOND}/weights/000004"
    states = {record.state_path for record in load_checkpoints(run) if record.state_path}
    assert f"tinker://{FIRST}/weights/000002" in states and abandoned not in states


def save_others(service, count):
    other = service.create_lora_training_client("small").result()
    for number in range(count):
        facts = {"run_id": "another", "batch": str(number), "kind": "periodic", "began": "0", "version": str(number)}
        other.save_state(f"{number:06d}", user_metadata=facts if number % 2 else None).result()


def test_rebuild_without_any_ids_pages_the_users_checkpoints(config, run, lives, rows_of_whole_runs):
    service, before, abandoned = lives
    save_others(service, 230)
    lose(run, "checkpoints.jsonl", "server_runs.jsonl")
    added = CheckpointManager(run).rebuild(FakeRestClient(service))
    assert service.count("list_user_checkpoints") == 3, "a hundred a page"
    check_rebuilt(run, before, abandoned)
    records = load_checkpoints(run)
    assert added == len(records)
    assert {record.state_path.split("/")[2] for record in records if record.state_path} == {FIRST, SECOND, THIRD}
    train_on_fake(service, config.model_copy(update=dict(max_steps=8)))
    assert rows_but_recoveries(run) == rows_of_whole_runs[8]


@pytest.mark.parametrize("others", [0, 75, 101])
def test_paging_ends_where_the_service_does_not_say_how_many_there_are(run, lives, others):
    class UncountedRest(FakeRestClient):
        def list_user_checkpoints(self, limit=100, offset=0):
            answer = super().list_user_checkpoints(limit, offset).result()
            return ServiceFuture.of(answer.model_copy(update={"cursor": None}))

    service, before, abandoned = lives
    save_others(service, others)
    lose(run, "checkpoints.jsonl", "server_runs.jsonl")
    CheckpointManager(run).rebuild(UncountedRest(service))
    check_rebuilt(run, before, abandoned)


@pytest.mark.parametrize("noted", [True, False], ids=["noted ids", "no ids"])
def test_rebuilding_again_adds_nothing(run, lives, noted):
    service, before, abandoned = lives
    lose(run, "checkpoints.jsonl", *(() if noted else ("server_runs.jsonl",)))
    assert CheckpointManager(run).rebuild(FakeRestClient(service)) > 0
    journal = (run / "checkpoints.jsonl").read_bytes()
    assert CheckpointManager(run).rebuild(FakeRestClient(service)) == 0
    assert (run / "checkpoints.jsonl").read_bytes() == journal
    check_rebuilt(run, before, abandoned)


def test_rebuilding_a_whole_journal_changes_nothing_but_for_what_it_lacks(run, lives):
    service, before, abandoned = lives
    journal = (run / "checkpoints.jsonl").read_bytes()
    forget_checkpoint(run, f"tinker://{FIRST}/weights/000002")
    assert CheckpointManager(run).rebuild(FakeRestClient(service)) == 1
    assert f"tinker://{FIRST}/weights/000002" in {record.state_path for record in load_checkpoints(run)}
    check_rebuilt(run, before, abandoned)
    (run / "checkpoints.jsonl").write_bytes(journal)
    assert CheckpointManager(run).rebuild(FakeRestClient(service)) == 0
    assert (run / "checkpoints.jsonl").read_bytes() == journal


def test_rebuilt_records_say_what_the_lost_ones_did(run, lives):
    service, _, _ = lives
    lost = {path: record for record in load_checkpoints(run) for path in record.paths}
    lose(run, "checkpoints.jsonl")
    CheckpointManager(run).rebuild(FakeRestClient(service))
    for record in load_checkpoints(run):
        (path,) = record.paths
        old = lost[path]
        assert record.adopted
        for key in ("name", "batch", "version", "kind", "config_digest", "final"):
            assert getattr(record, key) == getattr(old, key), (path, key)
        check_times(record, old)


@pytest.mark.parametrize("ids", [[THIRD], [SECOND, THIRD], [THIRD, SECOND, FIRST]], ids=["last", "two", "reversed"])
def test_ids_given_in_part_or_in_another_order_find_the_same_newest_state(run, lives, ids):
    service, before, abandoned = lives
    lose(run, "checkpoints.jsonl")
    CheckpointManager(run).rebuild(FakeRestClient(service), ids)
    check_rebuilt(run, before, abandoned)


def test_id_given_twice_records_nothing_twice(run, lives):
    service, _, _ = lives
    lose(run, "checkpoints.jsonl")
    added = CheckpointManager(run).rebuild(FakeRestClient(service), [FIRST, SECOND, THIRD, THIRD])
    paths = [path for record in load_checkpoints(run) for path in record.paths]
    assert len(paths) == len(set(paths)) == added


def test_rebuild_by_given_ids_works_where_the_runs_own_id_was_lost_too(run, lives):
    """The error for a directory that names neither says to give the ids: that must help."""
    service, before, abandoned = lives
    lose(run, "checkpoints.jsonl", "server_runs.jsonl", "run.json")
    with pytest.raises(StartError, match="pass the ids of its server runs"):
        CheckpointManager(run).rebuild(FakeRestClient(service))
    assert not (run / "checkpoints.jsonl").exists()
    CheckpointManager(run).rebuild(FakeRestClient(service), [FIRST, SECOND, THIRD])
    check_rebuilt(run, before, abandoned)


def test_server_run_that_the_service_forgot_is_left_out_of_the_rebuild(run, server, lives):
    _, before, abandoned = lives
    lose(run, "checkpoints.jsonl")
    service = FakeServiceClient(server, faults=[Fault("list_checkpoints", error=404)])
    assert CheckpointManager(run).rebuild(FakeRestClient(service)) > 0
    check_rebuilt(run, before, abandoned)
    states = {record.state_path for record in load_checkpoints(run) if record.state_path}
    assert states == {f"tinker://{SECOND}/weights/000004", before.state_path}


@pytest.mark.parametrize("error", [500, 402, "timeout"])
@pytest.mark.parametrize("call", ["list_checkpoints", "list_user_checkpoints"])
def test_service_that_cannot_be_asked_leaves_the_journal_as_it_was(run, server, lives, call, error):
    service, _, _ = lives
    if call == "list_user_checkpoints":
        lose(run, "server_runs.jsonl")
        save_others(service, 101)
    forget_checkpoint(run, f"tinker://{FIRST}/weights/000002")
    journal = (run / "checkpoints.jsonl").read_bytes()
    service = FakeServiceClient(server, faults=[Fault(call, nth=2, error=error)])
    with pytest.raises(ServiceError, match="listing the"):
        CheckpointManager(run).rebuild(FakeRestClient(service))
    assert (run / "checkpoints.jsonl").read_bytes() == journal
    assert CheckpointManager(run).rebuild(FakeRestClient(service)) == 1


def test_rebuild_from_a_server_run_that_nobody_knows_writes_nothing(run):
    service = FakeServiceClient()
    assert CheckpointManager(run).rebuild(FakeRestClient(service), ["nobody:train:0"]) == 0
    assert not (run / "checkpoints.jsonl").exists()


def test_rebuild_while_a_process_writes_is_refused(run, lives):
    service, _, _ = lives
    lose(run, "checkpoints.jsonl")
    with RunLock(run), pytest.raises(RunLocked):
        CheckpointManager(run).rebuild(FakeRestClient(service))
    assert not (run / "checkpoints.jsonl").exists()


def test_rebuild_of_a_run_without_rows_takes_what_the_service_holds(run, lives):
    service, before, abandoned = lives
    lose(run, "checkpoints.jsonl", "metrics.jsonl", "dialogues.jsonl")
    CheckpointManager(run).rebuild(FakeRestClient(service))
    check_rebuilt(run, before, abandoned)


def test_lines_of_server_runs_that_a_crash_tore_are_told_and_passed_over(run, lives, caplog):
    service, before, abandoned = lives
    lose(run, "checkpoints.jsonl")
    with (run / "server_runs.jsonl").open("a") as file:
        file.write('\n[1]\n{"server_run": "x"}\n{"server_ru')
    with caplog.at_level(logging.WARNING):
        CheckpointManager(run).rebuild(FakeRestClient(service))
    assert caplog.text.count("server_runs.jsonl: skipped") >= 1
    check_rebuilt(run, before, abandoned)


def test_copied_directory_never_adopts_later_states_of_the_original(config, run, server, tmp_path):
    """What the original saves after the copy is in a server run that the copy lacks."""
    train_until_it_dies(server, config, steps=3)
    shutil.copytree(run, tmp_path / "copy")
    train_on_fake(FakeServiceClient(server), config)
    before = resolve_start(tmp_path / "copy")
    train_on_fake(FakeServiceClient(server), small_config(tmp_path, "copy"))
    assert isinstance(before, Resume) and before.batch == 2
    assert adopted(tmp_path / "copy") == []
    assert rows_but_recoveries(tmp_path / "copy") == rows_but_recoveries(run)
