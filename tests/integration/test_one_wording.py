"""One wording for a directory without a run, in every command that takes one."""

import json

import pytest

from socratic_distill.cli import main

COMMANDS = {
    "check": ["check", "PATH"],
    "train": ["train", "PATH"],
    "chat": ["chat", "PATH"],
    "evaluate": ["evaluate", "PATH"],
    "report": ["report", "PATH"],
    "runs": ["runs", "PATH"],
    "compare": ["compare", "runs/mine", "PATH"],
    "checkpoints": ["checkpoints", "PATH"],
    "cost": ["cost", "PATH"],
    "export --csv": ["export", "PATH", "--csv", "out"],
    "export --messages": ["export", "PATH", "--messages", "out"],
    "export --dataset": ["export", "PATH", "--dataset", "out"],
    "export --trace": ["export", "PATH", "--trace", "out"],
    "export --adapter": ["export", "PATH", "--adapter", "out"],
    "export --merge": ["export", "PATH", "--merge", "out"],
}
FAULTS = {"missing": "does not exist", "empty": "is empty", "foreign": "holds no run", "file": "is a file"}
# They take a config's file too: a file of something else is an invalid config.
READ_FILES = ("train", "check", "cost")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a run, and paths that are none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "run.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "file").write_text("text")
    return tmp_path


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_message_says_what_it_is_what_is_expected_and_where_runs_are(here, capsys, command, kind):
    if "--merge" in command:
        pytest.importorskip("torch")
    before = sorted(here.rglob("*"))
    assert main([part.replace("PATH", kind) for part in COMMANDS[command]]) == 1
    told = capsys.readouterr()
    assert told.out == "" and sorted(here.rglob("*")) == before
    assert told.err.startswith("ConfigError: ") and told.err.count("\n") == 2
    if kind == "file" and command in READ_FILES:
        assert "file has no known ending; expected a file that ends in .yaml, .yml, .toml, .json" in told.err
        return
    expected = "a config file, the directory of a run" if command in READ_FILES else "the directory of a run"
    message, help_line = told.err.splitlines()
    assert message.startswith(f"ConfigError: {kind} {FAULTS[kind]}; expected {expected}")
    assert message.endswith(". Runs found here: runs/mine") and help_line.endswith("troubleshooting.md#configerror")
