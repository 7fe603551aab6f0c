"""The training cycle and the prefix cache of the latency model."""

import pytest
from hypothesis import given, strategies as st

from socratic_distill.testing.latency import Latency, ModelSpeed, PrefixCache, TrainingQueue

PASSES = ("forward", "forward_backward", "optim_step")
SAVES = {"save_weights_for_sampler": 4.0, "save_state": 8.0}
FB, STEP, SAMPLER, STATE = "forward_backward", "optim_step", *SAVES


def place(*calls, **options):
    """Beginning and end of each (call, arrival), in a queue of their own."""
    queue = TrainingQueue(Latency(**options))
    return [queue.place(*call) for call in calls]


# The training queue


@pytest.mark.parametrize(("arrival", "start"), [(0.0, 0.0), (0.125, 10.0), (9.875, 10.0), (10.0, 10.0), (20.5, 30.0)])
def test_a_pass_begins_with_the_next_cycle(arrival, start):
    assert place((FB, arrival)) == [(start, start + 10)]


def test_passes_and_their_optimizer_step_share_a_cycle():
    assert place((FB, 3.0), (FB, 7.0), (STEP, 10.0)) == [(10.0, 20.0)] * 3


def test_a_call_that_misses_the_start_of_a_cycle_waits_for_the_next():
    assert place((FB, 3.0), (STEP, 10.5)) == [(10.0, 20.0), (20.0, 30.0)]


def test_a_pass_behind_an_optimizer_step_takes_the_next_cycle():
    assert place((FB, 3.0), (STEP, 3.0), (FB, 3.0), (STEP, 3.0)) == [(10.0, 20.0)] * 2 + [(20.0, 30.0)] * 2


def test_saves_follow_in_order_and_the_next_pass_waits_for_a_cycle():
    calls = [(FB, 3.0), (STEP, 3.0), (SAMPLER, 3.0), (STATE, 3.0), (FB, 3.0)]
    assert place(*calls)[2:] == [(20.0, 24.0), (24.0, 32.0), (40.0, 50.0)]


def test_a_save_between_passes_parts_them():
    assert place((FB, 3.0), (SAMPLER, 3.0), (FB, 3.0)) == [(10.0, 20.0), (20.0, 24.0), (30.0, 40.0)]


def test_a_save_on_an_idle_client_begins_at_once():
    assert place((SAMPLER, 3.25), (SAMPLER, 20.0)) == [(3.25, 7.25), (20.0, 24.0)]


def test_the_times_are_configurable():
    calls = [(FB, 1.0), (STEP, 1.0), (SAMPLER, 1.0), (STATE, 1.0)]
    assert place(*calls, cycle=3.0, sampler_save=0.5, state_save=1.0)[1:] == [(3.0, 6.0), (6.0, 6.5), (6.5, 7.5)]


def test_a_sum_of_floats_just_above_a_multiple_takes_the_cycle_at_it():
    arrival = 39.900000000000006 + 0.1
    assert arrival > 40.0
    assert place((FB, arrival))[0] == (40.0, 50.0)


def test_calls_that_arrive_together_just_above_a_multiple_share_its_cycle():
    arrival = 39.900000000000006 + 0.1
    assert place((FB, arrival), (STEP, arrival)) == [(40.0, 50.0)] * 2


# Eighths of seconds, which floats hold exactly.
eighths = st.integers(0, 400).map(lambda number: number / 8)
workloads = st.lists(st.tuples(st.sampled_from((*PASSES, *SAVES)), eighths), max_size=12)


def in_order(workload):
    """Calls with the arrivals of a client that submits in order."""
    arrivals = sorted(arrival for _, arrival in workload)
    return [(call, arrival) for (call, _), arrival in zip(workload, arrivals, strict=True)]


@given(workloads)
def test_calls_run_in_order_and_overlap_only_in_a_shared_cycle(workload):
    calls = in_order(workload)
    before = (0.0, 0.0)
    is_joinable = False  # whether the call before was a pass that others may share a cycle with
    for (call, arrival), (start, end) in zip(calls, place(*calls), strict=True):
        assert start >= arrival
        assert end - start == (10 if call in PASSES else SAVES[call])
        assert call in SAVES or start % 10 == 0, "a cycle begins at a multiple of its length"
        is_shared = (start, end) == before and is_joinable and call in PASSES
        assert start >= before[1] or is_shared, "calls overlap"
        before, is_joinable = (start, end), call in ("forward", "forward_backward")


@given(workloads, st.lists(eighths, min_size=12, max_size=12))
def test_a_call_that_arrives_earlier_lets_no_call_end_later(workload, delays):
    calls = in_order(workload)
    late, latest = [], 0.0
    for (call, arrival), delay in zip(calls, delays, strict=False):
        latest = max(latest, arrival + delay)
        late.append((call, latest))
    ends, late_ends = ([end for _, end in place(*one)] for one in (calls, late))
    assert all(end <= late_end for end, late_end in zip(ends, late_ends, strict=True))


# Speeds


def test_models_have_the_speeds_of_their_names():
    latency = Latency()
    assert latency.speed("tutor") == ModelSpeed(50e-6, 8e-3, 90)
    assert latency.speed("student") == ModelSpeed(100e-6, 20e-3, 160)
    assert latency.speed("teacher").prefill == 200e-6
    assert latency.speed("any other") == latency.speed("tutor")


# The prefix cache


def test_a_prompt_that_was_read_is_known_in_whole_blocks():
    cache = PrefixCache()
    assert [cache.read(range(40)) for _ in range(2)] == [0, 32]


def test_a_block_is_known_only_behind_the_blocks_before_it():
    cache = PrefixCache()
    cache.read([*range(16), *range(100, 132)])
    assert cache.read([*range(1, 17), *range(100, 132)]) == 0
    assert cache.read([*range(16), *range(200, 216), *range(116, 132)]) == 16
    assert cache.read(range(100, 132)) == 0, "a block in the middle of a prompt is no head"


def test_less_than_a_block_is_never_known():
    cache = PrefixCache()
    assert [cache.read(range(15)) for _ in range(2)] == [0, 0]


@st.composite
def growing_prompts(draw):
    """Prompts that share heads: each is the head of an earlier one and some more tokens."""
    prompts = [()]
    for _ in range(draw(st.integers(1, 6))):
        base = draw(st.sampled_from(prompts))
        runs = draw(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([1, 8, 16])), max_size=6))
        more = [token for token, count in runs for _ in range(count)]
        prompts.append((*base[: draw(st.integers(0, len(base)))], *more))
    return prompts


def shared_head(one, other):
    """Number of equal tokens before the first difference."""
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)


@given(growing_prompts())
def test_what_is_known_is_the_longest_head_shared_with_an_earlier_prompt(prompts):
    cache = PrefixCache()
    for number, prompt in enumerate(prompts):
        shared = max((shared_head(prompt, one) for one in prompts[:number]), default=0)
        assert cache.read(prompt) == shared // 16 * 16
