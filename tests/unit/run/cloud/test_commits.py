from dataclasses import replace

import pytest
from tests.support.stores_in_tests import MemoryStore

from socratic_distill import StorageError
from socratic_distill.run.cloud.commits import Commit, Piece, add_commit, commit_name, newest_commit, read_commit
from socratic_distill.run.cloud.patience import Patience

FIRST = Commit(1, 1, "ours", {"host": "here", "pid": 7}, 60.0, files={"a.jsonl": (Piece("1-1", 3, "digest"),)})
SOME = Patience(3.0)


def test_newest_commit_is_read_as_it_was_made():
    store = MemoryStore()
    assert newest_commit(store, SOME) is None
    for number in (1, 2, 10):
        assert add_commit(store, replace(FIRST, number=number), SOME)
    assert newest_commit(store, SOME) == replace(FIRST, number=10)
    assert read_commit(store, 2, SOME) == replace(FIRST, number=2) and read_commit(store, 3, SOME) is None


def test_number_that_is_taken_cannot_be_made():
    store = MemoryStore()
    assert add_commit(store, FIRST, SOME)
    assert not add_commit(store, replace(FIRST, writer="theirs"), SOME)
    assert newest_commit(store, SOME) == FIRST


def test_commit_whose_answer_is_lost_is_known_for_ours():
    store = MemoryStore()
    store.lost = "create"
    assert add_commit(store, FIRST, SOME)


def test_commit_is_tried_again_while_the_store_fails():
    store, failures = MemoryStore(), [ConnectionError(), ConnectionError()]

    def fail(call, name):
        if call == "create" and failures:
            raise failures.pop()

    store.before = fail
    assert add_commit(store, FIRST, SOME) and not failures


def test_commit_that_cannot_be_read_is_an_error():
    store = MemoryStore()
    store.objects[commit_name(1)] = b'{"half": '
    with pytest.raises(StorageError, match="no commit of this library"):
        newest_commit(store, SOME)
