import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from socratic_distill.dialogues.cast import Member
from socratic_distill.distillation.averaging import average, joined

LOGPROBS = st.floats(-50.0, 0.0)
WEIGHTS = st.floats(1e-3, 1e3)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
ARRAYS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=LOGPROBS))
HOW = st.sampled_from(["log_mean", "mixture"])


@st.composite
def several(draw: Callable[..., Any]) -> tuple[list[np.ndarray], list[float]]:
    count, shape = draw(st.integers(2, 4)), draw(SHAPES)
    scores = [draw(hnp.arrays(np.float64, shape, elements=LOGPROBS)) for _ in range(count)]
    return scores, draw(st.lists(WEIGHTS, min_size=count, max_size=count))


@given(several())
def test_average_is_as_its_formulas_say(given_scores):
    scores, weights = given_scores
    shares = [weight / math.fsum(weights) for weight in weights]
    log_mean = sum(share * one for share, one in zip(shares, scores, strict=True))
    mixture = np.log(sum(share * np.exp(one) for share, one in zip(shares, scores, strict=True)))
    for found, expected in (
        (average(scores, weights, "log_mean"), log_mean),
        (average(scores, weights, "mixture"), mixture),
    ):
        assert found.shape == scores[0].shape
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(several(), st.floats(0.1, 10.0))
def test_averages_lie_between_the_scores(given_scores, factor):
    scores, weights = given_scores
    low, high = np.min(scores, axis=0) - 1e-9, np.max(scores, axis=0) + 1e-9
    log_mean, mixture = average(scores, weights, "log_mean"), average(scores, weights, "mixture")
    assert np.all((low <= log_mean) & (mixture <= high)), "an average lies outside of the scores"
    assert np.all(log_mean <= mixture + 1e-9), "the mean of logarithms lies above the mixture"
    scaled = [factor * weight for weight in weights]
    np.testing.assert_allclose(average(scores, scaled, "mixture"), mixture, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(average(scores, scaled, "log_mean"), log_mean, rtol=1e-9, atol=1e-9)


@given(several(), st.lists(st.floats(-3.0, 3.0), min_size=4, max_size=4), st.floats(0.1, 10.0))
def test_a_bounded_average_is_near_the_first_teacher(given_scores, signed, clip):
    scores, weights = given_scores
    signed = [sign * weight for sign, weight in zip(signed, weights, strict=False)]
    shares = np.asarray(signed) / sum(signed) if sum(signed) > 0.1 * max(map(abs, signed)) else None
    if shares is None:
        return
    found = average(scores, signed, "log_mean", clip)
    assert np.all(np.abs(found - scores[0]) <= clip * np.abs(shares[1:]).sum() + 1e-6)
    widest = max(float(np.abs(one - scores[0]).max(initial=0.0)) for one in scores)
    unbounded = sum(share * one for share, one in zip(shares, scores, strict=True))
    np.testing.assert_allclose(average(scores, signed, "log_mean", widest + 1.0), unbounded, rtol=1e-6, atol=1e-5)


def test_a_bounded_average_of_impossible_tokens_is_no_nan():
    scores = [np.array([-np.inf, -np.inf, -1.0]), np.array([-np.inf, -1.0, -np.inf])]
    assert average(scores, [2.0, -1.0], "log_mean", 5.0).tolist() == [-np.inf, -np.inf, 4.0]


@given(ARRAYS, WEIGHTS, HOW)
def test_average_of_one_teacher_is_its_scores_bit_for_bit(scores, weight, how):
    found = average([scores], [weight], how)
    assert found.dtype == scores.dtype and found.shape == scores.shape and found.tobytes() == scores.tobytes()


def test_average_of_very_unlikely_tokens_does_not_underflow():
    scores = [np.array([-2000.0, -np.inf, -np.inf]), np.array([-2000.0, -1.0, -np.inf])]
    np.testing.assert_allclose(average(scores, [1.0, 3.0], "mixture"), [-2000.0, -1.0 + math.log(0.75), -np.inf])
    np.testing.assert_array_equal(average(scores, [1.0, 3.0], "log_mean"), [-2000.0, -np.inf, -np.inf])


def test_mean_of_logs_gives_the_mean_of_the_divergences():
    tutor, one, two = (np.array(p) for p in ([0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.7, 0.2, 0.1]))
    joined = average([np.log(one), np.log(two)], [1.0, 3.0], "log_mean")
    of_each = [float(np.sum(tutor * np.log(tutor / teacher))) for teacher in (one, two)]
    assert np.sum(tutor * (np.log(tutor) - joined)) == pytest.approx(0.25 * of_each[0] + 0.75 * of_each[1])


def member(name: str, weight: float = 1.0) -> Member:
    return Member(name, cast(Any, None), None, None, weight)


def test_scores_of_several_teachers_are_joined_turn_by_turn():
    one, two = member("one"), member("two", weight=3.0)
    first = [np.array([-1.0, -2.0]), np.array([-3.0])]
    second = [np.array([-2.0, -2.0]), np.array([-1.0])]
    (alone, other) = joined([first], [one], None)
    assert alone is first[0] and other is first[1], "the scores of a single teacher are changed"
    scores = joined([first, second], [one, two], "log_mean")
    np.testing.assert_allclose(np.concatenate(scores), [-1.75, -2.0, -1.5])
    assert [len(turn) for turn in scores] == [2, 1]


def test_scores_of_turns_that_do_not_match_are_refused():
    one, two = member("one"), member("two")
    with pytest.raises(ValueError, match="shorter"):
        joined([[np.zeros(1), np.zeros(1)], [np.zeros(1)]], [one, two], "mixture")
