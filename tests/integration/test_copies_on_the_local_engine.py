"""Copied and moved run directories on the local engine, whose weights lie in them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.rows import rows_of_run, write_rows
from tests.support.run_directories import file_contents
from tests.support.tiny_runs import tiny_config

pytest.importorskip("torch")
pytest.importorskip("peft")


from socratic_distill import RunInterrupted, load_checkpoints, train
from socratic_distill.cli import main
from socratic_distill.local.saved_paths import present_path
from socratic_distill.outputs.exports.merged import export_merged


def config_of(log_path: Path, **changes: Any):
    fields: dict[str, Any] = dict(
        max_tokens=6, groups_per_batch=1, num_envs=1, max_turns=1, max_steps=6, save_every=None,
        save_every_seconds=9999.0, rolling_save_every=2, lora_rank=4, write_report=False,
    )  # fmt: skip
    return tiny_config(log_path, **(fields | changes))


def final_weights(run: Path) -> dict[str, bytes]:
    (path,) = {record.state_path for record in load_checkpoints(run) if record.final and record.state_path}
    directory = Path(present_path(run, path or ""))
    assert directory.is_relative_to(run)
    return {name: (directory / name).read_bytes() for name in ("adapter_model.safetensors", "optimizer.safetensors")}


KILLED = """
import sys
from pathlib import Path
from tests.integration.test_copies_on_the_local_engine import config_of, train
train(config_of(Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed with a rolling state of step 4 at the latest, and no other."""
    run = tmp_path_factory.mktemp("killed") / "run"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(run)], cwd=Path(__file__).parents[2])
    while not any("rolling" in line for line in _lines(run / "checkpoints.jsonl")):
        assert child.poll() is None, "the run ended before it was killed"
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    return run


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole") / "run"
    train(config_of(run))
    return rows_of_run(run), final_weights(run)


@pytest.fixture
def original(killed, tmp_path):
    """The killed run in a place of this test's own, by its id and its place the run itself."""
    run = tmp_path / "original"
    shutil.copytree(killed, run)
    stored = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({"run_id": stored["run_id"]}))
    return run


@pytest.fixture
def copied(original, tmp_path):
    """A copy of it that was made after the original had been at its place."""
    found = os.stat(original)
    stored = json.loads((original / "run.json").read_text())
    place = {"path": str(original.resolve()), "inode": f"{found.st_dev}:{found.st_ino}"}
    (original / "run.json").write_text(json.dumps(stored | place))
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.mark.slow
def test_copy_goes_on_without_a_trace_in_the_original_which_then_goes_on(original, copied, whole):
    before = file_contents(original)
    assert train(config_of(copied)).status == "completed"
    assert file_contents(original) == before
    assert (rows_of_run(copied), final_weights(copied)) == whole
    assert train(config_of(original)).status == "completed"
    assert (rows_of_run(original), final_weights(original)) == whole


def test_copy_goes_on_by_its_own_files_once_the_original_is_gone(original, copied, whole):
    shutil.rmtree(original)
    train(config_of(copied))
    assert (rows_of_run(copied), final_weights(copied)) == whole


def test_moved_run_goes_on_and_deletes_its_old_rolling_state(original, tmp_path, whole):
    moved = original.rename(tmp_path / "moved")
    train(config_of(moved))
    assert (rows_of_run(moved), final_weights(moved)) == whole
    assert [path.parent.name for path in moved.glob("local/*/weights/*/state.json")] == ["final"]


def test_prune_in_a_copy_deletes_the_copys_files_alone(tmp_path, capsys):
    train(config_of(tmp_path / "original", save_every=2, rolling_save_every=None, max_steps=4))
    copy = Path(shutil.copytree(tmp_path / "original", tmp_path / "copy"))
    before = file_contents(tmp_path / "original")
    assert main(["checkpoints", str(copy), "prune", "--yes"]) == 0
    told = capsys.readouterr().out
    assert "deleted 3\n" in told and str(copy / "local") in told and "original" not in told
    assert file_contents(tmp_path / "original") == before
    assert len(file_contents(copy / "local")) < len(file_contents(tmp_path / "original" / "local"))
    assert train(config_of(copy, save_every=2, rolling_save_every=None, max_steps=5)).steps == 5
    assert file_contents(tmp_path / "original") == before


def test_journal_that_names_another_store_deletes_nothing_there(original, tmp_path, capsys):
    """A stranger's directory, whose journal names weights of ours."""
    train(config_of(original))
    before = file_contents(original)
    train(config_of(tmp_path / "stranger", max_steps=4))
    journal = tmp_path / "stranger" / "checkpoints.jsonl"
    lines = [json.loads(line) for line in _lines(original / "checkpoints.jsonl")]
    named = [line | {"batch": 1, "kind": "rolling", "final": None} for line in lines if "deleted_path" not in line]
    write_rows(journal, *named, *journal.read_text().splitlines())
    assert main(["checkpoints", str(tmp_path / "stranger"), "prune", "--yes"]) == 0
    assert "not ours" in capsys.readouterr().out
    assert file_contents(original) == before


def test_export_of_a_copy_takes_the_copys_weights(original, copied, tmp_path):
    train(config_of(original))
    train(config_of(copied))
    assert Path(export_merged(copied, tmp_path / "merged")).is_relative_to(copied)


def test_start_refused_after_the_client_was_made_leaves_no_directory(tmp_path, monkeypatch):
    def refuse(*_):
        raise RunInterrupted("refused", 2)

    monkeypatch.setattr("socratic_distill.training.session.check_room", refuse)
    with pytest.raises(RunInterrupted):
        train(config_of(tmp_path / "new" / "run"))
    assert not (tmp_path / "new").exists()
