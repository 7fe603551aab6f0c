import asyncio
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.patience import PATIENCE
from tests.support.stores_in_tests import LIVELY, QUICK, MemoryStore

from socratic_distill import LeaseLost, RunLocked, StorageError
from socratic_distill.files.durable import append_durably, truncate_durably
from socratic_distill.run.cloud.commits import COMMITS, DATA, newest_commit
from socratic_distill.run.cloud.fetching import fetch_newest
from socratic_distill.run.cloud.guard import CarefulRestClient
from socratic_distill.run.cloud.lease import BEATS, Timing
from socratic_distill.run.cloud.mirror import Mirror
from socratic_distill.run.cloud.patience import Patience

SOME = Patience(2.0)


def open_mirror(store: MemoryStore, timing: Timing = QUICK) -> Mirror:
    mirror = Mirror(store.url, store, timing)
    mirror.open()
    return mirror


def lose_machine(mirror: Mirror) -> None:
    """What is left of a writer whose machine is lost: nothing moves any more, and nothing was given back."""
    mirror._heart.stop()
    mirror._is_closing = True
    with mirror._changed:
        mirror._changed.notify_all()
    mirror._courier.join()


def add(mirror: Mirror, text: str, name: str = "metrics.jsonl") -> None:
    append_durably(mirror.path / name, text)


def read_elsewhere(store: MemoryStore, tmp_path: Path, name: str = "metrics.jsonl") -> str:
    """A file as a reader elsewhere finds it."""
    directory = tmp_path / f"reader-{time.monotonic_ns()}"
    fetch_newest(store, directory, SOME)
    return (directory / name).read_text() if (directory / name).exists() else ""


def test_what_was_requested_is_found_by_a_reader_elsewhere(tmp_path):
    store = MemoryStore()
    mirror = open_mirror(store)
    add(mirror, "1\n")
    mirror.request()
    add(mirror, "2\n")
    mirror.wait()
    assert read_elsewhere(store, tmp_path) == "1\n"
    mirror.close()
    assert read_elsewhere(store, tmp_path) == "1\n2\n"
    assert store.objects["metrics.jsonl"] == b"1\n2\n", "the file to look at is not what was committed"
    assert not mirror.path.parent.exists()


def test_next_writer_goes_on_with_an_empty_disk(tmp_path):
    store = MemoryStore()
    first = open_mirror(store)
    add(first, "1\n")
    (first.path / "evaluations").mkdir()
    (first.path / "evaluations" / "000000.json").write_text("{}")
    first.close()
    second = open_mirror(store)
    assert second.path != first.path
    assert (second.path / "metrics.jsonl").read_text() == "1\n"
    assert (second.path / "evaluations" / "000000.json").read_text() == "{}"
    add(second, "2\n")
    second.close()
    assert read_elsewhere(store, tmp_path) == "1\n2\n"


def test_writer_that_lost_its_lease_is_fenced_off(tmp_path):
    store = MemoryStore()
    first = open_mirror(store)
    first._heart.stop()  # as where a machine is frozen
    second = open_mirror(store)
    add(first, "stale\n")
    first.request()
    with pytest.raises(LeaseLost, match=r"memory://bucket/run was taken over by process \d+ on"):
        first.wait()
    with pytest.raises(LeaseLost):
        first.check()
    with pytest.raises(LeaseLost, match=f"What it lacks is in {first.path}, which is kept"):
        first.close()
    assert (first.path / "metrics.jsonl").read_text() == "stale\n"
    add(second, "good\n")
    second.close()
    assert read_elsewhere(store, tmp_path) == "good\n"


def test_each_object_and_commit_carries_the_fencing_number_of_its_writer():
    store = MemoryStore()
    for text in ("1\n", "2\n", "3\n"):
        mirror = open_mirror(store)
        add(mirror, text)
        mirror.close()
    newest = newest_commit(store, SOME)
    assert newest is not None and newest.fence == 3
    assert all(name.startswith("0000000003-") for name in newest.objects)


def test_crash_between_upload_and_commit_leaves_the_commit_before(tmp_path):
    store = MemoryStore()
    first = open_mirror(store, Timing(lease=0.4, patience=0.0, opening=60.0))
    add(first, "1\n")
    first.request()
    first.wait()

    def crash(call, name):
        if call == "create" and COMMITS in name:
            raise ConnectionError("the machine is gone")

    store.before = crash
    add(first, "2\n")
    first.request()
    with pytest.raises(StorageError):
        first.wait()
    lose_machine(first)
    store.before = lambda call, name: None
    assert read_elsewhere(store, tmp_path) == "1\n"
    second = open_mirror(store)
    assert (second.path / "metrics.jsonl").read_text() == "1\n"
    second.close()
    newest = newest_commit(store, SOME)
    left = {name.removeprefix(f"{DATA}/") for name in store.objects if name.startswith(f"{DATA}/")}
    assert newest is not None and left == newest.objects, "what the crash left was not swept up"


def test_store_that_is_down_for_a_while_is_tried_again(tmp_path):
    store = MemoryStore()
    mirror = open_mirror(store)
    mirror._heart.stop()
    tries: list[str] = []

    def down(call, name):
        tries.append(name)
        if len(tries) < 3:
            raise ConnectionError("down")

    store.before = down
    add(mirror, "1\n")
    mirror.request()
    mirror.check()
    mirror.wait()
    mirror.close()
    assert read_elsewhere(store, tmp_path) == "1\n"


def test_store_that_is_down_for_good_stops_the_run_and_keeps_the_directory():
    store = MemoryStore()
    mirror = open_mirror(store, Timing(lease=0.4, patience=0.3, opening=0.3))

    def down(call, name):
        raise ConnectionError("down")

    store.before = down
    add(mirror, "1\n")
    mirror.request()
    with pytest.raises(StorageError, match=r"failed for 0 s: ConnectionError: down\. Once the store answers again"):
        mirror.wait()
    with pytest.raises(StorageError):
        mirror.check()
    with pytest.raises(StorageError, match="which is kept"):
        mirror.close()
    assert (mirror.path / "metrics.jsonl").read_text() == "1\n"


def test_store_that_came_back_gets_at_the_end_what_it_lacked(tmp_path):
    store = MemoryStore()
    mirror = open_mirror(store, Timing(lease=0.4, patience=0.0, opening=60.0))
    store.before = lambda call, name: (_ for _ in ()).throw(ConnectionError("down"))
    add(mirror, "1\n")
    mirror.request()
    with pytest.raises(StorageError):
        mirror.wait()
    store.before = lambda call, name: None
    mirror.close()
    assert read_elsewhere(store, tmp_path) == "1\n"


def test_commit_whose_answer_never_came_is_built_on(tmp_path):
    store = MemoryStore()
    mirror = open_mirror(store, Timing(lease=0.4, patience=0.0, opening=60.0))
    add(mirror, "1\n")

    def cut_off(call, name):
        if call == "read" and COMMITS in name:
            raise ConnectionError("down")

    store.before, store.lost = cut_off, "create"
    mirror.request()
    with pytest.raises(StorageError):
        mirror.wait()
    store.before = lambda call, name: None
    add(mirror, "2\n")
    mirror.close()
    assert read_elsewhere(store, tmp_path) == "1\n2\n"


def test_rollback_under_an_upload_is_never_committed_half(tmp_path):
    store = MemoryStore()
    mirror = open_mirror(store)
    add(mirror, "0\n1\n")
    mirror.request()
    mirror.wait()
    uploading, go_on = threading.Event(), threading.Event()

    def hold(call, name):
        if call == "write" and DATA in name:
            store.before = lambda call, name: None
            uploading.set()
            go_on.wait(PATIENCE)

    store.before = hold
    add(mirror, "2\n")
    mirror.request()
    assert uploading.wait(PATIENCE)
    mirror.rewind()
    truncate_durably(mirror.path / "metrics.jsonl", 2)
    add(mirror, "one again\n")
    go_on.set()
    mirror.request()
    mirror.wait()
    assert read_elsewhere(store, tmp_path) == "0\none again\n"
    # The writer's first, that of two rows, and this one: none of what was under way.
    assert store.count("create", COMMITS) == 3
    mirror.close()


def test_nothing_is_committed_where_nothing_changed():
    store = MemoryStore()
    mirror = open_mirror(store)
    add(mirror, "1\n")
    for _ in range(3):
        mirror.request()
        mirror.wait()
    assert store.count("create", COMMITS) == 2
    mirror.close()


def test_objects_that_later_commits_do_without_go_one_commit_later(tmp_path):
    store = MemoryStore()
    mirror = open_mirror(store)
    for number in range(5):
        add(mirror, f"{number}\n")
        mirror.request()
        mirror.wait()
    assert sum(name.startswith(f"{DATA}/") for name in store.objects) == 2
    mirror.close()


def test_reader_takes_the_next_commit_where_an_object_went(tmp_path):
    store = MemoryStore()
    mirror = open_mirror(store)
    add(mirror, "1\n")
    mirror.request()
    mirror.wait()

    def overtake(call, name):
        if call == "read" and DATA in name:
            store.before = lambda call, name: None
            for text in ("2\n", "3\n"):
                add(mirror, text)
                mirror.request()
                mirror.wait()

    store.before = overtake
    assert read_elsewhere(store, tmp_path) == "1\n2\n3\n"
    mirror.close()


def test_reader_that_was_overtaken_has_no_file_of_the_commit_before(tmp_path):
    store = MemoryStore()
    mirror = open_mirror(store)
    for name in ("a.json", "b.json"):
        add(mirror, name, name)
    mirror.request()
    mirror.wait()

    def overtake(call, name):
        if call == "read" and store.count("read", DATA) == 2:
            store.before = lambda call, name: None
            (mirror.path / "a.json").rename(mirror.path / "c.json")
            (mirror.path / "b.json").rename(mirror.path / "d.json")
            for text in ("2\n", "3\n"):
                add(mirror, text)
                mirror.request()
                mirror.wait()

    store.before = overtake
    fetch_newest(store, tmp_path / "reader", SOME)
    assert sorted(path.name for path in (tmp_path / "reader").iterdir()) == ["c.json", "d.json", "metrics.jsonl"]
    mirror.close()


def test_heartbeat_goes_on_while_the_writer_is_busy():
    store = MemoryStore()
    mirror = open_mirror(store, LIVELY)
    until = time.monotonic() + PATIENCE
    while store.count("write", BEATS) < 5:
        assert time.monotonic() < until, "the heart stands still"
        time.sleep(0.01)
    with pytest.raises(RunLocked):
        open_mirror(store, LIVELY)
    mirror.close()


@pytest.mark.parametrize(("change", "told"), [(lambda data: data[:-1], "is damaged"), (None, "is gone")])
def test_torn_store_is_an_error_and_gives_the_lease_back(change, told):
    store = MemoryStore()
    first = open_mirror(store)
    add(first, "1\n")
    first.close()
    name = next(name for name in store.objects if name.startswith(f"{DATA}/"))
    if change is None:
        del store.objects[name]
    else:
        store.objects[name] = change(store.objects[name])
    for _ in range(2):  # the second one does not wait for a lease
        with pytest.raises(StorageError, match=told):
            open_mirror(store)
    newest = newest_commit(store, SOME)
    assert newest is not None and newest.released


def test_second_writer_is_refused():
    store = MemoryStore()
    first = open_mirror(store, LIVELY)
    with pytest.raises(RunLocked):
        open_mirror(store, LIVELY)
    first.close()


async def test_nothing_is_deleted_before_what_replaces_it_is_durable():
    store = MemoryStore()
    mirror = open_mirror(store)
    deleted: list[tuple[str, bytes | None]] = []

    async def delete(path):
        deleted.append((path, store.objects.get("checkpoints.jsonl")))

    given: Any = SimpleNamespace(delete_checkpoint_from_tinker_path=delete, other=7)
    rest = CarefulRestClient(given, mirror)
    committing, up = threading.Event(), threading.Event()

    def hold(call, name):
        if call == "create":
            committing.set()
            up.wait(PATIENCE)

    store.before = hold
    add(mirror, "newer\n", "checkpoints.jsonl")
    mirror.request()
    task = asyncio.ensure_future(rest.delete_checkpoint_from_tinker_path("old"))
    assert await asyncio.to_thread(committing.wait, PATIENCE)
    await asyncio.sleep(0.01)
    assert deleted == []
    up.set()
    await task
    assert deleted[0][0] == "old" and newest_commit(store, SOME).files.keys() == {"checkpoints.jsonl"}  # type: ignore[union-attr]
    assert rest.other == 7
    await asyncio.to_thread(mirror.close)
