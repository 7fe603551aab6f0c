import threading
import time
from dataclasses import replace

import pytest
from tests.unit.cloud.stores_in_tests import QUICK, MemoryStore

from socratic_distill import RunLocked
from socratic_distill.cloud.commits import COMMITS, Commit, add_commit
from socratic_distill.cloud.lease import BEATS, Heart, take_over
from socratic_distill.cloud.patience import Patience

SOME = Patience(2.0)


def taken(store: MemoryStore) -> Commit:
    return take_over(store, QUICK, SOME, threading.Event())


def heart(store: MemoryStore, mine: Commit) -> Heart:
    one = Heart(store, mine, QUICK, lambda: mine.number)
    one.start()
    return one


def test_second_writer_is_refused_while_the_first_one_lives():
    store = MemoryStore()
    beating = heart(store, taken(store))
    try:
        with pytest.raises(RunLocked, match=r"being written by process \d+ on .*Wait for it to end"):
            taken(store)
    finally:
        beating.stop()


def test_writer_that_shows_no_life_is_taken_over_after_its_lease():
    store = MemoryStore()
    first, began = taken(store), time.monotonic()
    heart(store, first).stop()
    second = taken(store)
    assert time.monotonic() - began >= QUICK.lease
    assert (second.number, second.fence) == (2, 2) and second.writer != first.writer


def test_writer_that_ended_in_good_order_is_not_waited_for():
    store = MemoryStore()
    first = taken(store)
    assert add_commit(store, replace(first, number=2, released=True), SOME)
    began = time.monotonic()
    assert taken(store).number == 3
    assert time.monotonic() - began < QUICK.lease / 2


def test_writer_that_ends_while_it_is_watched_is_taken_over_at_once():
    store = MemoryStore()
    first = taken(store)

    def end(call, name):
        if store.count("read", BEATS) == 3:
            store.before = lambda call, name: None
            add_commit(store, replace(first, number=2, released=True), SOME)

    store.before = end
    assert taken(store).number == 3


def test_commit_of_the_watched_writer_shows_that_it_lives():
    store = MemoryStore()
    first = taken(store)

    def commit(call, name):
        if store.count("read", BEATS) == 3:
            store.before = lambda call, name: None
            add_commit(store, replace(first, number=2), SOME)

    store.before = commit
    with pytest.raises(RunLocked):
        taken(store)


def test_time_in_which_the_store_was_out_of_reach_does_not_count():
    store = MemoryStore()
    first = taken(store)
    late = time.monotonic() + 0.25 * QUICK.lease

    def stall(call, name):
        if call == "read" and COMMITS in name and time.monotonic() > late:
            store.before = lambda call, name: None
            time.sleep(QUICK.lease)  # the writer cannot beat either
            store.objects[f"{BEATS}/{first.fence:010d}.json"] = b"late, but alive"

    store.before = stall
    with pytest.raises(RunLocked):
        taken(store)


def test_of_two_that_take_over_at_once_one_is_refused():
    store = MemoryStore()
    taken(store)
    found: list[object] = []

    def try_it():
        try:
            found.append(taken(store))
        except RunLocked as error:
            found.append(error)

    threads = [threading.Thread(target=try_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    while not any(isinstance(one, Commit) for one in found):
        time.sleep(0.01)
    winner = next(one for one in found if isinstance(one, Commit))
    beating = heart(store, winner)
    for thread in threads:
        thread.join()
    beating.stop()
    assert sorted(type(one).__name__ for one in found) == ["Commit", "RunLocked"]


def test_waiting_can_be_stopped():
    store, stop = MemoryStore(), threading.Event()
    taken(store)
    stop.set()
    with pytest.raises(RunLocked, match="stopped while waiting"):
        take_over(store, QUICK, SOME, stop)


def test_heart_notices_who_has_taken_over():
    store = MemoryStore()
    mine = taken(store)
    beating = heart(store, mine)
    add_commit(store, replace(mine, number=2, writer="theirs", holder={"host": "there", "pid": 3}), SOME)
    until = time.monotonic() + 5
    while beating.usurper is None and time.monotonic() < until:
        time.sleep(0.01)
    beating.stop()
    assert beating.usurper == {"host": "there", "pid": 3}
