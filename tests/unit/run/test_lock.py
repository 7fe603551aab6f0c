"""One writer for a run directory, whoever died with the lock."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from socratic_distill.errors import LockLost, RunLocked, StorageError
from socratic_distill.run.lock import HOLDER, LOCK, RunLock

HOLD = """
import sys, time
from socratic_distill.run.lock import RunLock
with RunLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(3600)
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

    monkeypatch.setattr("socratic_distill.run.lock.write_atomically", no_room)
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
    with pytest.raises(RunLocked), RunLock(tmp_path):
        pass
    assert holder.poll() is None, "the other process ended, and was perhaps waited for"


# --- a lock file that goes away under its writer --------------------------------------------------------------------


def delete(path: Path) -> None:
    path.unlink()


def replace_by_another(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    other.replace(path)


def move_aside(path: Path) -> None:
    path.rename(path.with_name("aside"))


def put_a_link(path: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    path.symlink_to(aside)


TAKEN_AWAY = [delete, replace_by_another, move_aside]


@pytest.mark.parametrize("take_away", [*TAKEN_AWAY, put_a_link])
def test_writer_whose_lock_file_went_away_is_stopped(tmp_path, take_away):
    with RunLock(tmp_path) as lock:
        lock.check()
        take_away(tmp_path / LOCK)
        with pytest.raises(LockLost, match="start the same script"):
            lock.check()


@pytest.mark.parametrize("take_away", TAKEN_AWAY)
def test_writer_whose_lock_file_went_away_leaves_the_next_ones_note(tmp_path, take_away):
    with RunLock(tmp_path) as second:
        with RunLock(tmp_path / "elsewhere"):
            pass
        take_away(tmp_path / LOCK)
        with RunLock(tmp_path) as third:
            note = (tmp_path / HOLDER).read_text()
            with pytest.raises(LockLost):
                second.check()
            second.__exit__(None)
            assert (tmp_path / HOLDER).read_text() == note
            third.check()


def test_lock_that_is_not_held_is_not_checked(tmp_path):
    lock = RunLock(tmp_path)
    lock.check()
    with lock:
        pass
    (tmp_path / LOCK).unlink()
    lock.check()


def test_directories_made_for_nothing_are_removed(tmp_path):
    with RunLock(tmp_path / "a" / "b" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_directory_that_was_there_or_holds_something_stays(tmp_path):
    (tmp_path / "was_there").mkdir()
    with RunLock(tmp_path / "was_there"):
        pass
    with RunLock(tmp_path / "used"):
        (tmp_path / "used" / "file").touch()
    with RunLock(tmp_path / "a" / "run"):
        (tmp_path / "a" / "neighbour").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "used", "was_there"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["neighbour"]


def test_lock_file_taken_away_between_open_and_lock_is_made_again(tmp_path, monkeypatch):
    acquire, taken = FileLock.acquire, []

    def late(self, *arguments, **options):
        if not taken:
            taken.append(1)
            (tmp_path / LOCK).unlink()
            (tmp_path / LOCK).touch()
        return acquire(self, *arguments, **options)

    monkeypatch.setattr(FileLock, "acquire", late)
    with RunLock(tmp_path) as lock:
        lock.check()
        with pytest.raises(RunLocked), RunLock(tmp_path):
            pass
    assert taken


def test_lock_file_that_is_a_link_is_refused(tmp_path):
    target = tmp_path / "target"
    (tmp_path / LOCK).symlink_to(target)
    with pytest.raises(StorageError, match="cannot be made or locked"), RunLock(tmp_path):
        pass
    assert not target.exists()
