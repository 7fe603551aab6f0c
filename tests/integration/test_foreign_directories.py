"""A log_path that belongs to something else, and a start that is refused: what is there stays as it was."""

import json
from pathlib import Path

import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, write_rows
from tests.support.run_directories import file_contents

from socratic_distill import (
    ConfigDrift,
    ForeignDirectory,
    Resume,
    SocraticError,
    load_checkpoints,
    preflight,
    resolve_start,
    train,
)
from socratic_distill.cli import main
from socratic_distill.run.directory import config_of
from socratic_distill.run.layout import BESIDE_ANOTHER, CONFIG, JOURNAL
from socratic_distill.testing import FakeServiceClient, Fault

pytestmark = pytest.mark.thinned

MODEL = json.dumps({"model_type": "llama", "hidden_size": 64})
FOREIGN = [MODEL, "{}", "[]", "null", "", "{", '{"tutor_model_name": "only"}', "\x00", "[" * 5000]


@pytest.mark.parametrize("text", FOREIGN, ids=repr)
def test_directory_of_something_else_is_refused_and_left_alone(tmp_path, make_config, text):
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / CONFIG).write_text(text)
    (directory / "model.safetensors").write_bytes(b"weights")
    before = file_contents(directory)
    with pytest.raises(ForeignDirectory, match="another log_path"):
        train(make_config(log_path=directory), service_client=FakeServiceClient())
    assert file_contents(directory) == before


def test_link_or_directory_named_as_the_config_is_refused(tmp_path, make_config):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / CONFIG).symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder" / CONFIG).mkdir(parents=True)
    for name in ("linked", "folder"):
        with pytest.raises(ForeignDirectory):
            train(make_config(log_path=tmp_path / name), service_client=FakeServiceClient())
        assert [one.name for one in (tmp_path / name).iterdir()] == [CONFIG]


def test_check_lists_a_directory_of_something_else_and_writes_nothing(tmp_path, make_config):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / CONFIG).write_text(MODEL)
    config = make_config(log_path=tmp_path / "model", base_url="http://localhost:1")
    found = preflight(config, service_client=FakeServiceClient())
    assert [type(one) for one in found.problems] == [ForeignDirectory]
    assert [one.name for one in (tmp_path / "model").iterdir()] == [CONFIG]


def test_run_whose_config_was_damaged_resumes(make_config):
    service = FakeServiceClient()
    train(make_config(max_steps=2), service_client=service)
    run = Path(make_config().log_path)
    (run / CONFIG).write_text('{"tutor_mo')
    assert train(make_config(), service_client=service).steps == 6
    assert json.loads((run / CONFIG).read_text())["max_steps"] == 6


@pytest.fixture
def cookbooks(tmp_path, make_config):
    """A directory with a cookbook's journal of a state on the service, and its config."""
    service = FakeServiceClient()
    train(make_config(log_path=tmp_path / "ours", max_steps=4), service_client=service)
    (state,) = [one for one in load_checkpoints(tmp_path / "ours") if one.name == "000002" and one.state_path]
    directory = tmp_path / "cookbook"
    directory.mkdir()
    record = {"name": "000002", "batch": 2, "state_path": state.state_path}
    write_rows(directory / JOURNAL, record)
    (directory / CONFIG).write_text('{"model_name": "small", "lora_rank": 32}')
    return directory, service


def test_config_beside_a_cookbooks_journal_is_kept(cookbooks, make_config, capsys):
    directory, service = cookbooks
    theirs = (directory / CONFIG).read_bytes()
    config = make_config(log_path=directory)
    start = resolve_start(directory)
    assert isinstance(start, Resume) and start.batch == 2
    assert train_on_fake(service, config).steps == 6
    assert (directory / CONFIG).read_bytes() == theirs
    assert json.loads((directory / BESIDE_ANOTHER).read_text())["max_steps"] == 6
    assert config_of(directory) == config
    assert train(make_config(log_path=directory, max_steps=7), service_client=service).steps == 7
    assert (directory / CONFIG).read_bytes() == theirs and config_of(directory).max_steps == 7


@pytest.mark.parametrize(
    "command",
    [["cost", "--allow-files"], ["checkpoints"], ["report"], ["export", "--csv", "out.csv"],
     ["export", "--trace", "out.json"], ["export", "--dataset", "out"],
     ["export", "--messages", "out.jsonl", "--system-prompt"]],
    ids=lambda command: "-".join(command),
)  # fmt: skip
def test_every_command_reads_the_config_beside_another_tools(cookbooks, make_config, command, tmp_path, monkeypatch):
    directory, service = cookbooks
    train(make_config(log_path=directory), service_client=service)
    monkeypatch.chdir(tmp_path)
    name, *options = command
    assert main([name, str(directory), *options]) == 0


def test_start_that_is_refused_leaves_no_directory(tmp_path, make_config):
    faults = [Fault("create_lora_training_client", error=400)]
    with pytest.raises(SocraticError):
        train(
            make_config(log_path=tmp_path / "new" / "run", max_recoveries=0),
            service_client=FakeServiceClient(faults=faults),
        )
    assert not (tmp_path / "new").exists()


def test_start_refused_for_drift_leaves_the_directory_as_it_was(tmp_path, make_config):
    service = FakeServiceClient()
    train(make_config(max_steps=2), service_client=service)
    before = file_contents(tmp_path / "run")
    with pytest.raises(ConfigDrift):
        train(make_config(num_envs=3), service_client=service)
    assert file_contents(tmp_path / "run") == before


def test_writer_stops_before_it_appends_once_its_lock_file_is_gone(tmp_path, make_config):
    from socratic_distill import LockLost
    from socratic_distill.run.directory import RunDirectory

    service = FakeServiceClient()
    log_step, run = RunDirectory.log_step, tmp_path / "run"
    kept: dict[str, bytes] = {}

    def then_delete(self, metrics, dialogues):
        log_step(self, metrics, dialogues)
        if metrics["step"] == 2:
            (run / ".lock").unlink()
            kept.update(file_contents(run))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(LockLost):
        patch.setattr(RunDirectory, "log_step", then_delete)
        train_on_fake(service, make_config())
    assert file_contents(run) == kept, "something was written after the lock file was gone"
    assert train(make_config(), service_client=service).steps == 6
    train(make_config(log_path=tmp_path / "whole"), service_client=FakeServiceClient())
    assert read_rows(run / "metrics.jsonl") == read_rows(tmp_path / "whole" / "metrics.jsonl")


WRITES = {
    "journal": lambda run: run.checkpoints.mark_resumed(0, None),
    "server run": lambda run: run.note_server_run("a", 0),
    "metrics and dialogues": lambda run: run.log_step({"step": 0}, []),
    "rollback": lambda run: run.roll_back(0),
}


@pytest.mark.parametrize("name", WRITES)
def test_every_write_of_a_run_checks_its_lock(tmp_path, name):
    from socratic_distill import LockLost
    from socratic_distill.run.directory import RunDirectory

    with RunDirectory(tmp_path / "run") as run:
        WRITES[name](run)
        (tmp_path / "run" / ".lock").unlink()
        before = file_contents(tmp_path / "run")
        with pytest.raises(LockLost):
            WRITES[name](run)
        assert file_contents(tmp_path / "run") == before
    assert (tmp_path / "run").exists()
