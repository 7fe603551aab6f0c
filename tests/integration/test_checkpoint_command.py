"""`python -m socratic_distill checkpoints`: listing, pruning and rebuilding, on a run on the fake service."""

import builtins
import io
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples
from tests.support.on_the_fake import checkpoints_kept_by, small_config
from tests.support.rows import read_rows, rows_of_run, write_rows
from tests.support.run_directories import make_its_own

from socratic_distill import (
    CheckpointManager,
    CheckpointRecord,
    Resume,
    ServiceError,
    load_checkpoints,
    resolve_start,
    train as train_run,
)
from socratic_distill.cli import main
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.journal import Journal
from socratic_distill.run.pruning import select_surplus
from socratic_distill.run.record import deletion
from socratic_distill.service.connect import Service
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

NOW = datetime.now(UTC).replace(microsecond=0)
FIRST, SECOND = "fake-0001:train:0", "fake-0002:train:0"


# --- listing ----------------------------------------------------------------------------------------------------


def path_of(name, kind="weights"):
    return f"tinker://aaaa-bbbb:train:0/{kind}/{name}"


@pytest.fixture
def listed(tmp_path):
    """A directory with a record of every sort."""
    manager = CheckpointManager(tmp_path)
    hour = timedelta(hours=1)
    week = {"expires_at": NOW + 168 * hour}
    sampler = {"sampler_path": path_of("000002", "sampler_weights"), "kind": "sampler"}
    rows = [
        {"name": "000001", "batch": 1, "state_path": path_of("000001"), "epoch": 0, "kl": 0.5},
        {"name": "000002", "batch": 2, **sampler, "created_at": NOW - 72 * hour, **week},
        {"name": "000002", "batch": 2, "state_path": path_of("000002"), "kind": "periodic", "version": 2,
         "created_at": NOW - 5 * hour, **week},
        {"name": "000003", "batch": 3, "state_path": path_of("000003"), "kind": "rolling", "version": 3,
         "created_at": NOW - 4 * hour, "expires_at": NOW - hour},
        {"name": "000004", "batch": 4, "state_path": path_of("000004"), "kind": "interrupted", "version": 4,
         "created_at": NOW - 3 * hour, "adopted": True},
        {"name": "000005", "batch": 5, "state_path": path_of("000005"), "kind": "periodic", "version": 5,
         "created_at": NOW - 2 * hour},
        {"name": "000005", "batch": 5, "kind": "periodic", "deleted_path": path_of("000005")},
    ]  # fmt: skip
    for row in rows:
        manager.append(CheckpointRecord.model_validate(row))
    resumed = next(record for record in manager.records if record.state_path == path_of("000004"))
    manager.mark_resumed(4, resumed)
    half_an_hour_ago = datetime.now(UTC) - hour / 2  # shown in minutes, and NOW may be some ago
    final = {"name": "final", "batch": 6, "final": True, "kind": "final", "created_at": half_an_hour_ago}
    manager.append(CheckpointRecord.model_validate(final | {"sampler_path": path_of("final", "sampler_weights")}))
    both = {"state_path": path_of("final"), "sampler_path": path_of("final", "sampler_weights")}
    manager.append(CheckpointRecord.model_validate(final | both))
    (tmp_path / "origin.json").write_text('{"given": "../sft", "resolved": "tinker://x:train:0/weights/final"}')
    return tmp_path


def test_table_shows_each_checkpoint_once_with_all_that_is_known(listed, capsys):
    assert main(["checkpoints", str(listed)]) == 0
    title, header, *lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip("─ \n")]
    assert title == f"{listed}, begun from tinker://x:train:0/weights/final"
    columns = ["batch", "kind", "state", "sampler", "age", "expiry", "superseded", "origin"]
    assert re.split(r"\s{2,}", header) == columns
    week = f"{NOW + timedelta(hours=168):%Y-%m-%d %H:%M} UTC"
    assert [re.split(r"\s{2,}", line) for line in lines] == [
        ["1", path_of("000001"), "other tool"],
        ["2", "sampler", path_of("000002", "sampler_weights"), "3 d", week, "saved"],
        ["2", "periodic", path_of("000002"), "5 h", week, "saved"],
        ["3", "rolling", path_of("000003"), "4 h", "expired", "saved"],
        ["5", "periodic", path_of("000005"), "2 h", "deleted", "superseded", "saved"],
        ["4", "interrupted", path_of("000004"), "3 h", "never", "adopted"],
        ["6", "final", path_of("final"), path_of("final", "sampler_weights"), "30 min", "never", "saved"],
    ]


@pytest.mark.parametrize("name", ["a[/b]", "run[lr]", "[red]x", "run:fire:", "a[link=x]y", "\\[x]"])
def test_table_shows_every_character_of_a_path(tmp_path, capsys, name):
    directory = tmp_path / name
    directory.mkdir(parents=True)
    rows = [
        {"name": "000006", "batch": 6, "state_path": f"/runs/{name}/weights/000006"},
        {"name": "000007", "batch": 7, "sampler_path": f"tinker://{name}/sampler_weights/000007"},
    ]
    write_rows(directory / "checkpoints.jsonl", *rows)
    (directory / "origin.json").write_text(json.dumps({"given": name, "resolved": f"tinker://{name}/weights/x"}))
    assert main(["checkpoints", str(directory)]) == 0
    title, _, *lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip("─ \n")]
    assert title == f"{directory}, begun from tinker://{name}/weights/x"
    assert [re.split(r"\s{2,}", line)[1] for line in lines] == [
        f"{directory.name}/weights/000006", f"tinker://{name}/sampler_weights/000007"
    ]  # fmt: skip


def test_json_holds_everything_that_the_records_do(listed, capsys):
    assert main(["checkpoints", str(listed), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["log_path"] == str(listed)
    assert summary["origin"] == {"given": "../sft", "resolved": "tinker://x:train:0/weights/final"}
    rows = {row.get("state_path") or row["sampler_path"]: row for row in summary["checkpoints"]}
    assert len(rows) == len(summary["checkpoints"]) == 7
    named = {path for row in rows.values() for path in (row.get("state_path"), row.get("sampler_path")) if path}
    assert named == {path for record in load_checkpoints(listed) for path in record.paths}
    for record in load_checkpoints(listed):
        for path in record.paths:
            row = rows.get(path) or rows[path_of("final")]
            for key, value in json.loads(record.to_line()).items():
                shown = row[key]
                if key.endswith("_at") and shown is not None:
                    shown, value = datetime.fromisoformat(shown), datetime.fromisoformat(value)
                assert shown == value, (path, key)
    assert rows[path_of("000001")]["kl"] == 0.5 and rows[path_of("000001")]["age_seconds"] is None
    age = rows[path_of("000002")]["age_seconds"]
    assert 5 * 3600 <= age < 5 * 3600 + 600
    told = {path.rsplit("/", 1)[-1]: row for path, row in rows.items() if "/weights/" in path}
    assert {name for name, row in told.items() if row["expired"]} == {"000003"}
    assert {name for name, row in told.items() if row["deleted"]} == {"000005"}
    assert {name for name, row in told.items() if row["superseded"]} == {"000005"}
    origins = {name: row["origin"] for name, row in told.items()}
    assert (origins["000001"], origins["000004"], origins["final"]) == ("other tool", "adopted", "saved")


def test_listing_of_another_tools_directory_says_the_origin_is_unknown(tmp_path, capsys):
    line = {"name": "000020", "batch": 20, "state_path": path_of("000020"), "loss": 0.5}
    write_rows(tmp_path / "checkpoints.jsonl", line)
    assert main(["checkpoints", str(tmp_path)]) == 0
    assert f"{tmp_path}, of unknown origin" in capsys.readouterr().out
    assert main(["checkpoints", str(tmp_path), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    ours = {"age_seconds": None, "expired": False, "deleted": False, "superseded": False, "origin": "other tool"}
    assert summary["origin"] is None and summary["checkpoints"] == [line | ours]


def test_listing_changes_nothing_and_needs_no_service_nor_the_lock(listed, capsys, monkeypatch):
    def refuse(config):
        raise AssertionError("a listing opens no service")

    monkeypatch.setattr("socratic_distill.service.connect.open_service", refuse)
    before = {path.name: path.read_bytes() for path in listed.iterdir()}
    assert main(["checkpoints", str(listed)]) == 0
    assert {path.name: path.read_bytes() for path in listed.iterdir()} == before
    with RunDirectory(listed):
        assert main(["checkpoints", str(listed), "list"]) == 0


def test_listing_of_a_damaged_journal_names_bad_lines_and_shows_the_rest(listed, capsys, caplog):
    with (listed / "checkpoints.jsonl").open("a") as file:
        file.write('{"name": "0000')
    assert main(["checkpoints", str(listed), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["checkpoints"]) == 7
    assert "checkpoints.jsonl: skipped line" in caplog.text


def test_command_runs_as_a_module(listed):
    command = [sys.executable, "-m", "socratic_distill", "checkpoints", str(listed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert path_of("final", "sampler_weights") in done.stdout and done.stderr == ""


# --- a wrong directory or wrong usage ---------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["list", "prune", "rebuild"])
def test_directory_that_does_not_exist_is_an_error_that_names_it(tmp_path, capsys, action):
    assert main(["checkpoints", str(tmp_path / "nowhere"), action]) == 1
    told = capsys.readouterr()
    assert f"ConfigError: {tmp_path / 'nowhere'} does not exist; expected the directory of a run" in told.err
    assert told.out == "" and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("action", ["list", "prune", "rebuild"])
def test_directory_of_no_run_is_an_error_that_names_it_and_stays_empty(tmp_path, capsys, action):
    (tmp_path / "other").mkdir()
    assert main(["checkpoints", str(tmp_path / "other"), action, "--yes"]) == 1
    told = capsys.readouterr()
    assert (
        "ConfigError: " in told.err
        and str(tmp_path / "other") in told.err
        and "expected the directory of a run" in told.err
    )
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["checkpoints"], ["checkpoints", "x", "burn"]], ids=" ".join)
def test_wrong_usage_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and "usage: socratic-distill" in capsys.readouterr().err


# --- pruning ----------------------------------------------------------------------------------------------------


def train(server, config, steps=None, rest=False):
    """Trains to the end, or until, after some steps, a training call is lost and with it what is queued behind it."""
    faults = [] if steps is None else [Fault("optim_step", nth=steps + 1, error="submission")]
    service = FakeServiceClient(server, faults=faults)
    # Without a REST client a run leaves its old rolling states where they are.
    clients: dict[str, Any] = dict(service_client=service, rest_client=FakeRestClient(service) if rest else None)
    if steps is None:
        assert train_run(config, **clients).status == "completed"
    else:
        with pytest.raises(ServiceError, match="the training step of batch"):
            train_run(config.model_copy(update={"max_recoveries": 0}), **clients)
    return service


def states(server_run, *batches):
    return {f"tinker://{server_run}/weights/{batch:06d}" for batch in batches}


def samplers(server_run, *batches):
    return {f"tinker://{server_run}/sampler_weights/{batch:06d}" for batch in batches}


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def server(tmp_path):
    return tmp_path / "server"


def rolling_config(directory, name="run"):
    """The config of a run in a directory that takes a tenth of a second."""
    return small_config(directory, name, max_steps=8, save_every=3, rolling_save_every=1)


@pytest.fixture
def config(tmp_path):
    """The config of the run that the tests are about."""
    return rolling_config(tmp_path)


@pytest.fixture(scope="module")
def run_of_two_lives(tmp_path_factory):
    directory = tmp_path_factory.mktemp("lives")
    train(directory / "server", rolling_config(directory), steps=5)
    FakeServiceClient(directory / "server").checkpoints.delete(f"tinker://{FIRST}/weights/000005")
    train(directory / "server", rolling_config(directory), steps=2)
    return directory


@pytest.fixture
def service(run_of_two_lives, tmp_path, server, monkeypatch):
    """The service of a run of two lives.

    The first saved states of batches 1 to 5, 3 of them to keep; that of 5 was lost, so that the second one went
    on from 4, and died after it had saved states of 5 and, to keep, 6.
    """
    shutil.copytree(run_of_two_lives, tmp_path, dirs_exist_ok=True)
    make_its_own(tmp_path / "run")
    return command_opens(server, monkeypatch)


def command_opens(server, monkeypatch, faults=()):
    """A fake service that the command opens, whatever the config says."""
    fake = FakeServiceClient(server, faults=faults)
    monkeypatch.setattr(
        "socratic_distill.service.connect.open_service", lambda config: Service(fake, FakeRestClient(fake))
    )
    return fake


SURPLUS = (
    states(FIRST, 1, 2, 4, 5)
    | samplers(FIRST, 0, 1, 2, 4, 5)
    | states(SECOND, 5)
    | samplers(SECOND, 4, 5)
)  # fmt: skip
KEPT = states(FIRST, 3) | samplers(FIRST, 3) | states(SECOND, 6) | samplers(SECOND, 6)


def answer(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def refuse_to_be_asked(monkeypatch):
    def ask(question):
        raise AssertionError(f"asked {question!r}")

    monkeypatch.setattr(builtins, "input", ask)


@pytest.mark.parametrize("given_answer", ["n\n", "\n", "", "no\n", "nay, yes\n"], ids=repr)
def test_prune_lists_asks_and_deletes_nothing_without_a_yes(service, run, capsys, monkeypatch, given_answer):
    held, journal = checkpoints_kept_by(service), (run / "checkpoints.jsonl").read_bytes()
    answer(monkeypatch, given_answer)
    assert main(["checkpoints", str(run), "prune"]) == 0
    told = capsys.readouterr().out
    listed = re.findall(r"(?m)^(tinker://\S+)  \(batch \d+, (.+)\)$", told)
    assert {path for path, _ in listed} == SURPLUS and len(listed) == len(SURPLUS)
    assert f"Delete these {len(SURPLUS)} checkpoints on the service? [y/N] " in told
    assert told.endswith("nothing was deleted\n")
    assert checkpoints_kept_by(service) == held and (run / "checkpoints.jsonl").read_bytes() == journal
    assert service.count("delete_checkpoint_from_tinker_path") == 0


def test_prune_says_why_of_each(service, run, capsys, monkeypatch):
    answer(monkeypatch, "n\n")
    main(["checkpoints", str(run), "prune"])
    reasons = dict(re.findall(r"(?m)^(tinker://\S+)  \((batch \d+, .+)\)$", capsys.readouterr().out))
    assert reasons[f"tinker://{FIRST}/weights/000005"] == "batch 5, superseded"
    assert reasons[f"tinker://{FIRST}/sampler_weights/000005"] == "batch 5, superseded"
    assert reasons[f"tinker://{SECOND}/weights/000005"] == "batch 5, older than the newest state"
    assert reasons[f"tinker://{SECOND}/sampler_weights/000005"] == "batch 5, older than the newest sampler weights"


@pytest.mark.parametrize("way", ["y\n", " Yes \n", "--yes"], ids=repr)
def test_prune_deletes_what_is_superseded_or_surplus_and_keeps_the_rest(service, run, capsys, monkeypatch, way):
    if way == "--yes":
        refuse_to_be_asked(monkeypatch)
    else:
        answer(monkeypatch, way)
    assert main(["checkpoints", str(run), "prune", *(["--yes"] if way == "--yes" else [])]) == 0
    assert capsys.readouterr().out.endswith(f"deleted {len(SURPLUS)}\n")
    assert checkpoints_kept_by(service) == KEPT
    journal = Journal.read(run / "checkpoints.jsonl")
    assert journal.deleted == SURPLUS, "one that was gone before counts as deleted too"
    newest = journal.newest_state()
    assert newest is not None and {newest.state_path} == states(SECOND, 6)


def test_prune_twice_has_nothing_to_delete(service, run, capsys, monkeypatch):
    refuse_to_be_asked(monkeypatch)
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 0
    journal, deletions = (run / "checkpoints.jsonl").read_bytes(), service.count("delete_checkpoint_from_tinker_path")
    capsys.readouterr()
    assert main(["checkpoints", str(run), "prune"]) == 0
    assert capsys.readouterr().out == "nothing to delete\n"
    assert (run / "checkpoints.jsonl").read_bytes() == journal
    assert service.count("delete_checkpoint_from_tinker_path") == deletions


def test_pruned_run_resumes_and_equals_one_never_interrupted(service, config, server, run, tmp_path):
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 0
    after = train(server, config, rest=True)
    train(tmp_path / "other", rolling_config(tmp_path, "whole"))
    assert rows_of_run(run) == rows_of_run(tmp_path / "whole")
    opened_states = {call.arguments["path"] for call in after.calls if call.call.endswith("with_optimizer")}
    assert opened_states == states(SECOND, 6)


@pytest.mark.parametrize("rest", [True, False], ids=["asks first", "cannot ask"])
def test_deleted_states_are_never_tried_by_a_later_resume(service, config, server, run, rest):
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 0
    service.checkpoints.delete(f"tinker://{SECOND}/weights/000006")
    after = train(server, config, rest=rest)
    tried = [call.arguments["path"] for call in after.calls if call.call.endswith(("with_optimizer", "by_tinker_path"))]
    tried = [path for path in tried if path.startswith((f"tinker://{FIRST}/", f"tinker://{SECOND}/"))]
    assert set(tried) == states(SECOND, 6) | states(FIRST, 3)


def test_prune_keeps_the_older_state_if_the_service_lost_the_newest(service, config, server, run):
    service.checkpoints.delete(f"tinker://{SECOND}/weights/000006")
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 0
    assert checkpoints_kept_by(service) == (KEPT | states(SECOND, 5)) - states(SECOND, 6)
    after = train(server, config, rest=True)
    opened_states = {call.arguments["path"] for call in after.calls if call.call.endswith("with_optimizer")}
    assert opened_states == states(SECOND, 5)


def test_prune_deletes_nothing_where_no_state_can_be_used(service, run, capsys, monkeypatch):
    refuse_to_be_asked(monkeypatch)
    for path in states(FIRST, 1, 2, 3, 4) | states(SECOND, 5, 6):
        service.checkpoints.delete(path)
    held = checkpoints_kept_by(service)
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 0
    assert capsys.readouterr().out == "nothing to delete\n" and checkpoints_kept_by(service) == held


def test_prune_keeps_the_final_checkpoints_of_a_complete_run(service, config, server, run):
    train(server, config)
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 0
    third = "fake-0003:train:0"
    final = {f"tinker://{third}/{kind}/final" for kind in ("weights", "sampler_weights")}
    assert checkpoints_kept_by(service) == KEPT | samplers(third, 6) | final
    again = FakeServiceClient(server)
    assert train_run(config, service_client=again, rest_client=FakeRestClient(again)).status == "already_complete"


@pytest.mark.parametrize("error", [500, 403, "connection"])
def test_prune_stopped_by_the_service_recorded_deletions_and_can_go_on(
    service, server, run, capsys, monkeypatch, error
):
    service = command_opens(server, monkeypatch, [Fault("delete_checkpoint_from_tinker_path", nth=4, error=error)])
    held = checkpoints_kept_by(service)
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 1
    assert re.search(r"(Training|Service)Error: deleting tinker://\S+ failed on the service", capsys.readouterr().err)
    deleted = Journal.read(run / "checkpoints.jsonl").deleted
    assert len(deleted) == 3 and checkpoints_kept_by(service) == held - deleted
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 0
    assert capsys.readouterr().out.endswith(f"deleted {len(SURPLUS) - 3}\n")
    assert checkpoints_kept_by(service) == KEPT


def test_prune_that_cannot_ask_for_the_newest_state_deletes_nothing(service, server, run, capsys, monkeypatch):
    service = command_opens(server, monkeypatch, [Fault("get_weights_info_by_tinker_path", error=500)])
    held = checkpoints_kept_by(service)
    assert main(["checkpoints", str(run), "prune", "--yes"]) == 1
    assert "asking for tinker://" in capsys.readouterr().err and checkpoints_kept_by(service) == held


@pytest.mark.parametrize("action", ["prune", "rebuild"])
def test_run_that_another_process_writes_is_left_alone(service, run, capsys, action):
    held, journal = checkpoints_kept_by(service), (run / "checkpoints.jsonl").read_bytes()
    with RunDirectory(run):
        assert main(["checkpoints", str(run), action, "--yes"]) == 1
    assert f"RunLocked: {run} is being written by process " in capsys.readouterr().err
    assert checkpoints_kept_by(service) == held and (run / "checkpoints.jsonl").read_bytes() == journal


def test_moved_directory_is_opened_where_it_is(service, run, tmp_path, monkeypatch):
    """A local engine keeps its weights in the run directory."""
    run.rename(tmp_path / "moved")
    asked = []

    def open_service(config):
        asked.append(config.log_path)
        return Service(service, FakeRestClient(service))

    monkeypatch.setattr("socratic_distill.service.connect.open_service", open_service)
    assert main(["checkpoints", str(tmp_path / "moved"), "prune", "--yes"]) == 0
    assert asked == [str(tmp_path / "moved")] and checkpoints_kept_by(service) == KEPT and not run.exists()


# --- rebuilding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [(), ("--server-run", FIRST, "--server-run", SECOND)], ids=["noted", "given"])
def test_rebuild_restores_a_lost_journal_and_says_how_much(service, config, server, run, capsys, ids):
    before = resolve_start(run)
    (run / "checkpoints.jsonl").unlink()
    assert main(["checkpoints", str(run), "rebuild", *ids]) == 0
    records = load_checkpoints(run)
    assert capsys.readouterr().out == f"recorded {len(records)} checkpoints\n"
    after = resolve_start(run)
    assert isinstance(before, Resume) and isinstance(after, Resume)
    assert (after.state_path, after.batch) == (before.state_path, before.batch)
    assert main(["checkpoints", str(run), "rebuild", *ids]) == 0
    assert capsys.readouterr().out == "recorded 0 checkpoints\n"
    assert main(["checkpoints", str(run), "--json"]) == 0
    assert {row["origin"] for row in json.loads(capsys.readouterr().out)["checkpoints"]} == {"adopted"}
    train(server, config)
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == list(range(8))


def test_rebuild_that_the_service_refuses_exits_with_one(service, server, run, capsys, monkeypatch):
    command_opens(server, monkeypatch, [Fault("list_checkpoints", error=401)])
    (run / "checkpoints.jsonl").unlink()
    assert main(["checkpoints", str(run), "rebuild"]) == 1
    assert re.search(r"ServiceError: listing the saves of .* set TINKER_API_KEY", capsys.readouterr().err)
    assert not (run / "checkpoints.jsonl").exists()


# --- what may go, of any journal --------------------------------------------------------------------------------


TIMES = st.sampled_from([None, None, NOW - timedelta(days=1), NOW + timedelta(days=1)])
STATE_PATHS = [f"tinker://run/weights/{letter}" for letter in "abcdef"]
SAMPLER_PATHS = [f"tinker://run/sampler_weights/{letter}" for letter in "abcd"]


@st.composite
def any_record(draw):
    fields = {
        "name": "x",
        "batch": draw(st.one_of(st.none(), st.integers(-1, 6))),
        "state_path": draw(st.one_of(st.none(), st.sampled_from(STATE_PATHS))),
        "sampler_path": draw(st.one_of(st.none(), st.none(), st.sampled_from(SAMPLER_PATHS))),
        "kind": draw(st.sampled_from([None, "sampler", "periodic", "rolling", "rolling", "interrupted", "final"])),
        "final": draw(st.sampled_from([None, None, None, True])),
        "expires_at": draw(TIMES),
        "epoch": draw(st.sampled_from([None, None, None, 0, 1])),
        "resumed_at": draw(st.sampled_from([None, None, None, None, NOW])),
    }
    return CheckpointRecord.model_validate({key: value for key, value in fields.items() if value is not None})


@st.composite
def any_journal(draw):
    records = draw(st.lists(any_record(), max_size=12))
    deleted = draw(st.lists(st.sampled_from(STATE_PATHS + SAMPLER_PATHS), max_size=2))
    for path in deleted:
        records.insert(draw(st.integers(0, len(records))), deletion(CheckpointRecord(name="gone"), path))
    return records


@given(any_journal(), st.sets(st.sampled_from(STATE_PATHS), max_size=2))
@settings(derandomize=True, deadline=None, max_examples=examples(200))
def test_prune_never_selects_what_a_run_may_need(records, gone):
    def why_unusable(record):
        expired = record.expires_at is not None and record.expires_at <= NOW
        return "unusable" if expired or record.state_path in gone else None

    journal = Journal.of(records)
    newest = journal.newest_state(why_unusable)
    if newest is None:
        return
    surplus = select_surplus(journal, newest, NOW)
    selected = {one.path for one in surplus}
    assert len(selected) == len(surplus)
    assert not selected & set(newest.paths)
    assert not selected & journal.deleted
    current = [record for record, superseded in journal.lineage() if not superseded]
    assert not selected & {
        path for record in current if record.final or record.kind == "final" for path in record.paths
    }
    kept = [record for record in current if record.kind in ("periodic", "final", None)]
    assert not selected & {record.state_path for record in kept}
    for one in surplus:
        assert one.record in records and one.path in one.record.paths
        assert (one.reason == "superseded") == (one.record not in current)
    after = Journal.of([*records, *(deletion(one.record, one.path) for one in surplus)])
    still = after.newest_state(why_unusable)
    assert still is not None and (still.state_path, still.batch) == (newest.state_path, newest.batch)
    assert {one.path for one in select_surplus(after, still, NOW)} == set()
