import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from tests.support.patience import PATIENCE
from tests.support.stores_in_tests import QUICK, MemoryStore, VirtualClock

from socratic_distill import RunLocked
from socratic_distill.run.cloud import lease
from socratic_distill.run.cloud.commits import COMMITS, Commit, add_commit
from socratic_distill.run.cloud.lease import BEATS, Heart, take_over
from socratic_distill.run.cloud.patience import Patience

SOME = Patience(2.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> VirtualClock:
    """Of whoever takes over."""
    virtual = VirtualClock()
    monkeypatch.setattr(lease, "time", virtual)
    return virtual


@pytest.fixture
def taken(clock):
    stop: Any = clock
    return lambda store: take_over(store, QUICK, SOME, stop)


def beat(store: MemoryStore, mine: Commit) -> None:
    store.objects[f"{BEATS}/{mine.fence:010d}.json"] = str(store.count("read", BEATS)).encode()


def test_second_writer_is_refused_while_the_first_one_lives(taken):
    store = MemoryStore()
    first = taken(store)
    store.before = lambda call, name: beat(store, first)
    with pytest.raises(RunLocked, match=r"being written by process \d+ on .*Wait for it to end"):
        taken(store)


def test_writer_that_shows_no_life_is_taken_over_after_its_lease(taken, clock):
    store = MemoryStore()
    first = taken(store)
    beat(store, first)
    second = taken(store)
    assert QUICK.lease <= clock.now < 1.1 * QUICK.lease
    assert (second.number, second.fence) == (2, 2) and second.writer != first.writer


def test_writer_that_ended_in_good_order_is_not_waited_for(taken, clock):
    store = MemoryStore()
    first = taken(store)
    assert add_commit(store, replace(first, number=2, released=True), SOME)
    assert taken(store).number == 3
    assert clock.now == 0


def test_writer_that_ends_while_it_is_watched_is_taken_over_at_once(taken):
    store = MemoryStore()
    first = taken(store)

    def end(call, name):
        if store.count("read", BEATS) == 3:
            store.before = lambda call, name: None
            add_commit(store, replace(first, number=2, released=True), SOME)

    store.before = end
    assert taken(store).number == 3


def test_commit_of_the_watched_writer_shows_that_it_lives(taken):
    store = MemoryStore()
    first = taken(store)

    def commit(call, name):
        if store.count("read", BEATS) == 3:
            store.before = lambda call, name: None
            add_commit(store, replace(first, number=2), SOME)

    store.before = commit
    with pytest.raises(RunLocked):
        taken(store)


def test_time_in_which_the_store_was_out_of_reach_does_not_count(taken, clock):
    store = MemoryStore()
    first = taken(store)

    def stall(call, name):
        if call == "read" and COMMITS in name and store.count("read", BEATS) == 3:
            store.before = lambda call, name: None
            clock.wait(QUICK.lease)  # the writer cannot beat either
            store.objects[f"{BEATS}/{first.fence:010d}.json"] = b"late, but alive"

    store.before = stall
    with pytest.raises(RunLocked):
        taken(store)


def test_of_two_that_take_over_at_once_one_is_refused(taken):
    store = MemoryStore()
    taken(store)
    found: list[Commit] = []

    def get_ahead(call, name):
        if call == "create" and COMMITS in name:
            store.before = lambda call, name: None
            found.append(taken(store))
            store.before = lambda call, name: beat(store, found[0])

    store.before = get_ahead
    with pytest.raises(RunLocked):
        taken(store)
    assert [one.number for one in found] == [2]


def test_waiting_can_be_stopped(taken):
    store, stop = MemoryStore(), threading.Event()
    taken(store)
    stop.set()
    with pytest.raises(RunLocked, match="stopped while waiting"):
        take_over(store, QUICK, SOME, stop)


def test_heart_notices_who_has_taken_over(taken):
    store = MemoryStore()
    mine = taken(store)
    beating = Heart(store, mine, QUICK, lambda: mine.number)
    beating.start()
    add_commit(store, replace(mine, number=2, writer="theirs", holder={"host": "there", "pid": 3}), SOME)
    until = time.monotonic() + PATIENCE
    while beating.usurper is None and time.monotonic() < until:
        time.sleep(0.01)
    beating.stop()
    assert beating.usurper == {"host": "there", "pid": 3}
