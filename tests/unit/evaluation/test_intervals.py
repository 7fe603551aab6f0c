import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples

from socratic_distill.evaluation.intervals import Measure, Part, means

parts_of_few_seeds = st.lists(
    st.builds(Part, st.sampled_from("abcdef"), st.floats(-1e3, 1e3), st.integers(1, 9)), min_size=1, max_size=30
)
shares = st.lists(
    st.builds(Part, st.sampled_from("abcdefgh"), st.sampled_from([0.0, 1.0]), st.just(1)), min_size=1, max_size=30
)


def mean(parts):
    return means({"it": parts})["it"]


def ends(measure):
    assert measure.low is not None and measure.high is not None, measure
    return measure.low, measure.high


@settings(deadline=None, max_examples=examples(50))
@given(parts_of_few_seeds)
def test_value_is_the_mean_and_lies_in_its_interval(parts):
    found = mean(parts)
    count = sum(part.number for part in parts)
    assert found.count == count and found.value is not None
    assert found.value == pytest.approx(math.fsum(part.total for part in parts) / count)
    if len({part.cluster for part in parts}) > 1:
        low, high = ends(found)
        assert low <= found.value <= high


@settings(deadline=None, max_examples=examples(50))
@given(shares)
def test_interval_of_a_share_lies_between_none_and_all(parts):
    found = mean(parts)
    assert found.low is None or (found.low >= 0.0 and found.high is not None and found.high <= 1.0)


@settings(deadline=None, max_examples=examples(50))
@given(parts_of_few_seeds, st.randoms(use_true_random=False))
def test_order_of_parts_and_seeds_leaves_no_trace(parts, random):
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert mean(shuffled) == mean(parts)


def test_interval_of_many_seeds_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = ends(mean([Part(f"s{i}", value) for i, value in enumerate(values.tolist())]))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    random, hits = np.random.default_rng(1), 0
    for _ in range(200):
        each = random.random(60) < 0.3
        low, high = ends(mean([Part(f"s{i}", float(one)) for i, one in enumerate(each)]))
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_dialogues_of_one_seed_go_together():
    """Ten dialogues that are all alike say no more of a seed than one does."""
    once = [Part(f"s{i}", float(i % 2)) for i in range(20)]
    assert ends(mean(once * 10)) == ends(mean(once))
    apart = [Part(f"s{i}", float(i % 2)) for i in range(200)]
    (low, high), (low_apart, high_apart) = ends(mean(once * 10)), ends(mean(apart))
    assert high - low > 2.5 * (high_apart - low_apart)


def test_seed_with_more_values_weighs_more():
    assert mean([Part("a", 9.0, 9), Part("b", 0.0, 1)]).value == 0.9


def test_share_of_all_or_none_has_a_single_point_as_its_interval():
    assert mean([Part(f"s{i}", 1.0) for i in range(9)]) == Measure(1.0, 1.0, 1.0, 9)
    assert mean([Part(f"s{i}", 0.0) for i in range(9)]) == Measure(0.0, 0.0, 0.0, 9)


@pytest.mark.parametrize("value", [0.1, 0.3])
def test_equal_values_that_round_lie_in_their_interval(value):
    found = mean([Part(f"s{i}", value) for i in range(100)])
    low, high = ends(found)
    assert low <= value <= high and high - low < 1e-14


def test_interval_is_the_same_in_every_process():
    found = mean([Part("ab"[i // 9] + str(i), i * i % 7, 1 + i % 3) for i in range(12)])
    assert (found.low, found.high) == pytest.approx((0.6086568322981367, 1.4287267080745334))


def test_one_seed_has_no_interval():
    assert mean([Part("a", 1.0), Part("a", 0.0)]) == Measure(0.5, None, None, 2)


def test_mean_of_nothing_is_none_beside_others():
    found = means({"none": [], "no values": [Part("a", 0.0, 0)], "some": [Part("a", 1.0), Part("b", 0.0)]})
    assert found["none"] == found["no values"] == Measure(None, None, None, 0)
    assert found["some"].value == 0.5
    assert means({"none": []}) == {"none": Measure(None, None, None, 0)} and means({}) == {}


def test_measure_of_few_among_many_seeds_has_an_interval():
    parts = {"all": [Part(f"s{i}", 1.0) for i in range(300)], "few": [Part("s0", 1.0), Part("s1", 3.0)]}
    assert means(parts)["few"] == Measure(2.0, 1.0, 3.0, 2)


def test_all_measures_are_taken_of_the_same_resamples():
    random = Random(0)
    parts = [Part(f"s{i}", random.random()) for i in range(300)]
    found = means({str(i): parts for i in range(10)})
    assert len(set(found.values())) == 1
