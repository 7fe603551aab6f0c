"""Properties of the token weights, on arrays drawn at random."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from socratic_distill.config.token_weights import (
    DisagreementWeight,
    EntropyGate,
    FreshnessWeight,
    PositionWeight,
    PrefixWeight,
    WeightClip,
)
from socratic_distill.distillation.divergences import entropy
from socratic_distill.distillation.token_weights import (
    Facts,
    clipped,
    disagreement,
    entropy_gate,
    freshness,
    position,
    prefix,
)

gaps = st.integers(0, 30).flatmap(
    lambda n: arrays(np.float64, n, elements=st.floats(-20, 20).map(lambda x: round(x, 3)))
)
shares = st.floats(0.01, 1.0)


def facts(gap, **changes):
    size = len(gap)
    return Facts(**{"gap": gap, "place": np.arange(size), "age": np.zeros(size, np.int64), "step": 0} | changes)


@given(gaps, shares)
def test_disagreement_keeps_the_share_and_none_that_differs_less(gap, share):
    kept = disagreement(DisagreementWeight(share=share), facts(gap)).astype(bool)
    assert abs(kept.sum() - share * len(gap)) < 1 and kept.sum() >= math.floor(share * len(gap))
    if kept.any() and not kept.all():
        assert np.abs(gap[kept]).min() >= np.abs(gap[~kept]).max()


def test_a_share_is_rounded_up_and_of_equal_tokens_the_first_are_kept():
    kept = disagreement(DisagreementWeight(share=0.5), facts(np.array([1.0, -1.0, 1.0])))
    assert kept.tolist() == [1.0, 1.0, 0.0]
    assert disagreement(DisagreementWeight(share=0.3), facts(np.arange(10.0))).sum() == 3
    assert disagreement(DisagreementWeight(share=0.01), facts(np.array([2.0]))).tolist() == [1.0]


@given(gaps, st.floats(0, 5))
def test_position_weights_fall_from_one_and_gamma_and_stay_above_one(gap, gamma):
    weights = position(PositionWeight(gamma=gamma), facts(gap))
    assert (np.diff(weights) <= 1e-9).all() and (weights >= 1.0 - 1e-9).all()
    if len(gap):
        assert weights[0] == pytest.approx(1.0 + gamma)


@given(gaps, st.integers(1, 40))
def test_prefix_counts_in_each_turn(gap, tokens):
    place = np.arange(len(gap)) % 7
    assert prefix(PrefixWeight(tokens=tokens), facts(gap, place=place)).tolist() == (place < tokens).tolist()


@given(gaps)
def test_the_parts_of_an_exclusive_gate_add_up_to_one(gap):
    setting = EntropyGate(threshold=3.0, reverse="elsewhere")
    forward, reverse = entropy_gate(setting, facts(gap, teacher_entropy=np.abs(gap)))
    assert (forward + reverse == 1.0).all()


def test_fresh_tokens_have_weight_one():
    weights = freshness(FreshnessWeight(decay=0.5), facts(np.zeros(3), age=np.array([0, 1, 3])))
    assert weights.tolist() == [1.0, 0.5, 0.125]


@given(arrays(np.float64, 9, elements=st.floats(0, 10)), st.floats(0.1, 1), st.floats(1, 3))
def test_clip_keeps_what_is_left_out(weights, low, high):
    found = clipped(WeightClip(low=low, high=high), weights)
    assert ((found == 0) == (weights == 0)).all() and (found <= high).all() and (found[weights > 0] >= low).all()


@given(st.integers(2, 12).flatmap(lambda n: arrays(np.float64, (3, n), elements=st.floats(-8, 8))), st.data())
def test_entropy_of_few_tokens_is_at_most_the_entropy_and_exact_of_all(logits, data):
    logprobs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    exact = -(np.exp(logprobs) * logprobs).sum(axis=-1)
    ordered = -np.sort(-logprobs, axis=-1)
    count = data.draw(st.integers(1, logits.shape[1]))
    np.testing.assert_allclose(entropy(ordered), exact, atol=1e-4)
    few, rest = entropy(ordered[:, :count]), 1.0 - np.exp(ordered[:, :count]).sum(axis=-1)
    unknown = np.maximum(rest, 0.0) * np.log(max(logits.shape[1] - count, 1))
    assert (few <= exact + 1e-4).all() and (exact <= few + unknown + 1e-4).all()
