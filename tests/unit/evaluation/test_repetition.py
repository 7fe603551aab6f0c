import doctest

import pytest
from hypothesis import given, strategies as st

from socratic_distill.evaluation import repetition as module
from socratic_distill.evaluation.repetition import repetition


def test_doctests_of_repetition_hold():
    assert doctest.testmod(module).failed == 0


def test_repetition_counts_runs_of_words_without_regard_to_case():
    # Six runs of four words, of which "what is 5 plus" and "is 5 plus 7?" came before.
    assert repetition(["What is 5 plus 7?", "what is 5 plus 7? Count on!"]) == pytest.approx(2 / 6)


def test_runs_do_not_reach_from_one_turn_into_the_next():
    assert repetition(["a b c", "d e f"]) is None
    assert repetition(["a b", "a b", "a b"], words=2) == pytest.approx(2 / 3)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6).map(" ".join), max_size=5))
def test_repetition_is_a_share_and_does_not_fall_when_all_is_said_again(texts):
    once, twice = repetition(texts), repetition(texts * 2)
    if once is None:
        assert twice is None
    else:
        assert twice is not None and 0.0 <= once < 1.0 and twice >= 0.5 > 0.0
