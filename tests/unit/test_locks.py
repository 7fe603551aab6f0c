"""One writer for a run directory, whoever died with the lock."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from socratic_distill.errors import RunLocked, StorageError
from socratic_distill.locks import HOLDER, RunLock

HOLD = """
import sys, time
from socratic_distill.locks import RunLock
with RunLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()


def test_second_process_is_refused_with_host_pid_and_start_of_the_first(tmp_path, holder):
    with pytest.raises(RunLocked, match=rf"process {holder.pid} on .+, started 20\d\d-") as refused, RunLock(tmp_path):
        pass
    assert "another log_path" in str(refused.value)
    assert json.loads((tmp_path / HOLDER).read_text())["pid"] == holder.pid, "the holder's note is left alone"


def test_lock_of_a_killed_process_is_taken_over_with_a_warning(tmp_path, holder, caplog):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with RunLock(tmp_path):
        assert f"taking over from process {holder.pid}" in caplog.text
        assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()


def test_lock_is_free_after_its_holder_and_leaves_no_note(tmp_path, caplog):
    for _ in range(2):
        with RunLock(tmp_path):
            pass
    assert not (tmp_path / HOLDER).exists() and caplog.text == ""


@pytest.mark.parametrize("left", ['{"pid": 1', "", "null", "[]"])
def test_note_that_a_crash_tore_does_not_stop_a_run(tmp_path, left):
    (tmp_path / HOLDER).write_text(left)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()


def test_two_locks_in_one_process_exclude_each_other(tmp_path):
    with RunLock(tmp_path), pytest.raises(RunLocked, match=f"process {os.getpid()}"), RunLock(tmp_path):
        pass


def test_lock_is_freed_when_the_note_cannot_be_written(tmp_path, monkeypatch):
    def no_room(path, text):
        raise StorageError("no room")

    monkeypatch.setattr("socratic_distill.locks.write_atomically", no_room)
    with pytest.raises(StorageError), RunLock(tmp_path):
        pass
    monkeypatch.undo()
    with RunLock(tmp_path):
        pass


def test_lock_is_freed_when_the_note_cannot_be_deleted(tmp_path, caplog):
    with RunLock(tmp_path):
        (tmp_path / HOLDER).unlink()
        (tmp_path / HOLDER).mkdir()
    assert f"{HOLDER} cannot be deleted" in caplog.text
    (tmp_path / HOLDER).rmdir()
    with RunLock(tmp_path):
        pass


def test_error_of_a_run_is_not_hidden_by_a_note_that_cannot_be_deleted(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        (tmp_path / HOLDER).unlink()
        (tmp_path / HOLDER).mkdir()
        raise ZeroDivisionError


def test_directory_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made or locked"), RunLock(tmp_path / "file" / "run"):
        pass


def test_waiting_is_not_done(tmp_path, holder):
    began = time.monotonic()
    with pytest.raises(RunLocked), RunLock(tmp_path):
        pass
    assert time.monotonic() - began < 5
