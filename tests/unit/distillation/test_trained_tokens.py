import numpy as np
import pytest
from hypothesis import given, strategies as st

from socratic_distill import build_socratic_config
from socratic_distill.dialogues.dialogue import Role, StopReason, Turn
from socratic_distill.distillation.advantages import penalty, trained


def config(**changes):
    return build_socratic_config("small", "pupil", "small", 0.1, 12, "run", **changes)


def turn(length=6, thought=0, stop_reason: StopReason = "stop", role: Role = "tutor"):
    tokens = tuple(range(length))
    return Turn(role, "", (1, 2), tokens, tokens[thought:-1], (-0.5,) * length, 0, stop_reason, thought=thought)


def positions(mask):
    return np.flatnonzero(mask).tolist()


def test_trained_is_every_token_by_default_the_end_of_turn_too():
    mask = trained(turn(6, thought=2), config())
    assert mask.dtype == np.bool_ and mask.shape == (6,) and mask.all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (dict(skip_first_tokens=2), [2, 3, 4, 5]),
        (dict(train_thinking=False), [3, 4, 5]),
        (dict(train_thinking=False, skip_first_tokens=1), [4, 5]),
        (dict(train_thinking=False, skip_first_tokens=3), []),
        (dict(skip_first_tokens=100), []),
    ],
)
def test_trained_leaves_out_thought_and_first_tokens(changes, expected):
    assert positions(trained(turn(6, thought=3), config(**changes))) == expected


@pytest.mark.parametrize(("cut_replies", "expected"), [("keep", [1, 2, 3]), ("penalize", [1, 2, 3]), ("mask", [])])
def test_trained_leaves_out_a_cut_reply_only_where_it_is_masked(cut_replies, expected):
    changed = config(cut_replies=cut_replies, skip_first_tokens=1)
    assert positions(trained(turn(4, stop_reason="length"), changed)) == expected
    assert positions(trained(turn(4), changed)) == [1, 2, 3], "a reply that was not cut is trained on"


def test_trained_is_nothing_of_a_reply_that_was_cut_while_it_thought():
    assert not trained(turn(4, thought=4, stop_reason="length"), config(train_thinking=False)).any()


@given(st.integers(1, 30), st.data(), st.integers(0, 40), st.booleans())
def test_trained_tokens_are_the_end_of_a_turn(length, data, skip, thinking):
    thought = data.draw(st.integers(0, length))
    mask = trained(turn(length, thought), config(skip_first_tokens=skip, train_thinking=thinking))
    left_out = skip + (0 if thinking else thought)
    assert positions(mask) == list(range(min(left_out, length), length))


def test_trained_refuses_a_turn_of_the_student():
    with pytest.raises(AssertionError, match="only the tutor is trained"):
        trained(turn(role="student"), config())


@pytest.mark.parametrize("cut_replies", ["keep", "mask", "penalize"])
@pytest.mark.parametrize("stop_reason", ["stop", "length"])
def test_penalty_is_of_cut_replies_that_are_penalized(cut_replies, stop_reason):
    expected = 0.25 if (cut_replies, stop_reason) == ("penalize", "length") else 0.0
    changed = config(cut_replies=cut_replies, cut_penalty=0.25)
    assert penalty(turn(stop_reason=stop_reason), changed) == expected
