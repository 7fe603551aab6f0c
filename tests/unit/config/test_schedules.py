import doctest
import inspect
import math

import pytest
from hypothesis import given, strategies as st

from socratic_distill import build_socratic_config
from socratic_distill.config import values
from socratic_distill.config.schedules import adam, learning_rate, turns
from socratic_distill.config.values import Schedule, value

ends = st.floats(min_value=0.0, max_value=1e4)
any_schedule = st.builds(
    Schedule, start=ends, end=ends, steps=st.integers(1, 10_000), shape=st.sampled_from(["linear", "cosine"])
)


def config(**changes):
    return build_socratic_config("small", "pupil", "small", 0.1, 12, "run", **changes)


@given(st.floats(min_value=0.0, allow_infinity=False), st.integers(0, 10**6))
def test_value_of_a_plain_number_is_that_number_at_every_step(number, step):
    assert value(number, step) == number
    assert isinstance(value(3, step), float)


@given(any_schedule)
def test_value_hits_both_ends_and_stays(schedule):
    assert value(schedule, 0) == schedule.start
    assert value(schedule, schedule.steps) == value(schedule, schedule.steps + 1) == schedule.end
    assert value(schedule, 10**9) == schedule.end


@given(any_schedule, st.data())
def test_value_goes_one_way_only(schedule, data):
    earlier = data.draw(st.integers(0, schedule.steps))
    later = data.draw(st.integers(earlier, schedule.steps))
    up = 1.0 if schedule.end >= schedule.start else -1.0
    slack = 1e-12 * max(schedule.start, schedule.end)
    assert up * (value(schedule, later) - value(schedule, earlier)) >= -slack
    low, high = sorted((schedule.start, schedule.end))
    assert low - slack <= value(schedule, earlier) <= high + slack


def test_value_of_a_line_and_of_a_cosine_differ_on_the_way():
    line, wave = (Schedule(start=2.0, end=4.0, steps=4, shape=shape) for shape in ("linear", "cosine"))
    assert [value(line, step) for step in range(5)] == [2.0, 2.5, 3.0, 3.5, 4.0]
    expected = [2.0 + (1.0 - math.cos(math.pi * step / 4)) for step in range(5)]
    assert [value(wave, step) for step in range(5)] == pytest.approx(expected)
    assert value(wave, 1) < value(line, 1), "a cosine begins slowly"


def test_learning_rate_is_constant_by_default():
    assert {learning_rate(config(), step, total=7) for step in range(7)} == {0.1}


def test_learning_rate_rises_evenly_to_its_highest():
    rates = [learning_rate(config(lr_warmup_steps=4), step, total=7) for step in range(7)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1])
    assert rates[3] == 0.1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.05, 0.1, 0.1, 0.075, 0.05, 0.025]),
        ("cosine", [0.05, 0.1] + [0.05 * (1.0 + math.cos(math.pi * step / 4)) for step in range(4)]),
    ],
)
def test_learning_rate_falls_from_its_highest_after_the_warm_up(schedule, expected):
    falling = config(lr_schedule=schedule, lr_warmup_steps=2)
    assert [learning_rate(falling, step, total=6) for step in range(6)] == pytest.approx(expected)
    assert learning_rate(falling, 6, total=6) == learning_rate(falling, 9, total=6) == 0.0


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@given(total=st.integers(1, 10**9), warmup=st.integers(0, 100), data=st.data())
def test_learning_rate_only_falls_after_the_warm_up_and_stays_above_0(schedule, total, warmup, data):
    falling = config(lr_schedule=schedule, lr_warmup_steps=warmup)
    assert learning_rate(falling, total - 1, total) > 0.0, "the last step does not learn"
    if warmup < total:
        assert learning_rate(falling, warmup, total) == falling.learning_rate
        earlier = data.draw(st.integers(warmup, total))
        later = data.draw(st.integers(earlier, total))
        assert learning_rate(falling, later, total) <= learning_rate(falling, earlier, total) * (1 + 1e-12)


def test_adam_gives_the_keywords_of_the_sdk():
    tinker = pytest.importorskip("tinker")
    changed = config(
        adam_beta1=0.8, adam_beta2=0.9, adam_eps=1e-8, weight_decay=0.01, grad_clip_norm=2.0, lr_warmup_steps=2
    )
    keywords = adam(changed, step=0, total=4)
    assert set(keywords) == set(inspect.signature(tinker.AdamParams).parameters)
    assert tinker.AdamParams(**keywords).model_dump() == dict(
        learning_rate=0.05, beta1=0.8, beta2=0.9, eps=1e-8, weight_decay=0.01, grad_clip_norm=2.0
    )


def test_adam_defaults_are_those_of_the_sdk():
    tinker = pytest.importorskip("tinker")
    assert tinker.AdamParams(**adam(config(), step=0, total=4)) == tinker.AdamParams(learning_rate=0.1)


def test_turns_are_max_turns_without_a_schedule():
    assert [turns(config(max_turns=5), step) for step in (0, 100)] == [5, 5]


def test_turns_follow_their_schedule_rounded_down():
    growing = config(max_turns=6, max_turns_schedule=Schedule(start=1, end=4, steps=6))
    assert [turns(growing, step) for step in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@given(start=st.integers(1, 50), end=st.integers(1, 50), half=st.integers(1, 500))
def test_turns_lose_none_to_rounding_errors_halfway(shape, start, end, half):
    way = Schedule(start=start, end=end, steps=2 * half, shape=shape)
    halfway = turns(config(max_turns=50, max_turns_schedule=way), half)
    assert halfway == (start + end) // 2
    assert turns(config(max_turns=50, max_turns_schedule=way), 2 * half) == end


def test_worked_examples_in_docstrings_hold():
    results = doctest.testmod(values)
    assert results.attempted > 0 and results.failed == 0
