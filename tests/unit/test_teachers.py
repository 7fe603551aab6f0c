import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from socratic_distill import ConfigError, Seed
from socratic_distill.teachers import TeacherPlan, average, lag_batch, plan_teachers, route

ANY = TeacherPlan("any", "m")
ALGEBRA = TeacherPlan("algebra", "m", tags=("algebra", "equations"))
FILE = TeacherPlan("file", "m", seeds_files=("a.jsonl",))


def seed(name: str, source: str | None = None, *tags: str) -> Seed:
    return Seed(name, "q", "1", tags=tags, source=source)


SEEDS = [seed("1", "a.jsonl"), seed("2", "b.jsonl", "algebra"), seed("3", "b.jsonl", "long")]


def refusal(*args: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        route(*args)
    return str(caught.value)


def test_config_without_teachers_has_one_of_its_teacher_fields(make_config):
    (plan,) = plan_teachers(make_config(teacher_model_name="Qwen3-8B", teacher_enable_thinking=True))
    assert plan == TeacherPlan("teacher", "Qwen/Qwen3-8B", enable_thinking=True)
    (plan,) = plan_teachers(make_config(teacher_checkpoint_path="tinker://a/sampler_weights/b"))
    assert plan.checkpoint_path == "tinker://a/sampler_weights/b" and plan.lag_steps is None
    (plan,) = plan_teachers(make_config(teacher_lag_steps=4))
    assert plan == TeacherPlan("teacher", "small", lag_steps=4)


def test_teachers_take_what_they_leave_open_from_the_config(make_config):
    teachers = [
        {"name": "open"},
        {"name": "full", "model_name": "Qwen3-32B", "enable_thinking": False, "weight": 2.0, "tags": ["a"],
         "seeds_files": ["x.jsonl"], "checkpoint_path": "tinker://a/sampler_weights/b"},
        {"name": "lagged", "lag_steps": 3},
    ]  # fmt: skip
    config = make_config(teacher_enable_thinking=True, teachers=teachers, teacher_average="mixture")
    assert plan_teachers(config) == (
        TeacherPlan("open", "small", enable_thinking=True),
        TeacherPlan("full", "Qwen/Qwen3-32B", "tinker://a/sampler_weights/b", None, False, 2.0, ("x.jsonl",), ("a",)),
        TeacherPlan("lagged", "small", lag_steps=3, enable_thinking=True),
    )


def test_teacher_without_a_route_takes_every_seed():
    assert route([ANY], SEEDS, None) == {"1": ("any",), "2": ("any",), "3": ("any",)}


def test_files_and_tags_route_and_the_rest_goes_to_the_teacher_without_a_route():
    expected = {"1": ("file",), "2": ("algebra",), "3": ("any",)}
    for plans in itertools.permutations([ANY, ALGEBRA, FILE]):
        assert route(plans, SEEDS, None) == expected


def test_averaged_teachers_without_a_route_take_every_seed_in_the_configs_order():
    assert route([ALGEBRA, ANY, FILE], SEEDS, "mixture") == {
        "1": ("any", "file"), "2": ("algebra", "any"), "3": ("any",),
    }  # fmt: skip


def test_a_file_or_a_tag_is_enough():
    both = TeacherPlan("both", "m", seeds_files=("a.jsonl",), tags=("long",))
    assert route([both, ANY], SEEDS, None) == {"1": ("both",), "2": ("any",), "3": ("both",)}


@pytest.mark.parametrize("how", [None, "log_mean"])
def test_seed_without_a_teacher_is_named(how):
    said = refusal([FILE, ALGEBRA], SEEDS, how)
    assert said.startswith("seed '3' (b.jsonl, tags long) has no teacher: none of 'file', 'algebra' takes")
    assert "leave seeds_files and tags out of the one that takes all the rest" in said


def test_seed_with_several_teachers_is_named_with_the_ways_out():
    other = TeacherPlan("other", "m", tags=("equations",))
    seeds = [*SEEDS, seed("4", None, "algebra", "equations")]
    said = refusal([ANY, ALGEBRA, other, FILE], seeds, None)
    assert said.startswith("seed '4' (built-in, tags algebra, equations) has the teachers 'algebra', 'other'; ")
    assert "set teacher_average" in said and "narrow their seeds_files and tags" in said
    assert route([ANY, ALGEBRA, other, FILE], seeds, "mixture")["4"] == ("any", "algebra", "other")
    assert "has the teachers 'any', 'second'" in refusal([ANY, TeacherPlan("second", "m")], SEEDS, None)


def test_teacher_without_a_seed_is_named():
    said = refusal([ANY, TeacherPlan("idle", "m", tags=("algbra",))], SEEDS, None)
    assert said.startswith("teacher 'idle' has no seed: none of the 3 seeds has one of its tags (algbra); ")
    assert "their tags are algebra, long" in said
    assert "they have no tags" in refusal([ANY, ALGEBRA], [seed("1")], "mixture")
    every = TeacherPlan("every", "m", seeds_files=("a.jsonl", "b.jsonl"))
    assert refusal([ANY, every], SEEDS, None).startswith("teacher 'any' has no seed: the other teachers'")
    assert route([ANY, every], SEEDS, "mixture")["1"] == ("any", "every")


def test_file_that_is_none_of_the_configs_is_named():
    plans = [ANY, TeacherPlan("file", "m", seeds_files=("a.jsonl", "./b.jsonl"))]
    said = refusal(plans, SEEDS, None)
    assert "teacher 'file' has seeds_files='./b.jsonl', which is none of the config's seeds files" in said
    assert "('a.jsonl', 'b.jsonl'); write it just as there" in said
    assert "only built-in seeds" in refusal([ANY, FILE], [seed("1")], None)


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
def test_average_lies_between_the_scores_and_the_mean_of_logs_below_the_mixture(given_scores, factor):
    scores, weights = given_scores
    low, high = np.min(scores, axis=0) - 1e-9, np.max(scores, axis=0) + 1e-9
    log_mean, mixture = average(scores, weights, "log_mean"), average(scores, weights, "mixture")
    assert np.all((low <= log_mean) & (log_mean <= mixture + 1e-9) & (mixture <= high))
    scaled = [factor * weight for weight in weights]
    np.testing.assert_allclose(average(scores, scaled, "mixture"), mixture, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(average(scores, scaled, "log_mean"), log_mean, rtol=1e-9, atol=1e-9)


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


def test_lagged_teacher_has_the_last_weights_that_are_there_for_certain():
    assert [lag_batch(step, 3, 0) for step in range(8)] == [0, 0, 0, 3, 3, 3, 6, 6]
    assert [lag_batch(step, 3, 2) for step in range(9)] == [0, 0, 0, 0, 0, 3, 3, 3, 6]
    assert [lag_batch(step, 1, 0) for step in range(4)] == [0, 1, 2, 3]


@given(step=st.integers(0, 10_000), lag=st.integers(1, 100), staleness=st.integers(0, 100))
def test_lagged_weights_are_neither_too_new_nor_older_than_need_be(step, lag, staleness):
    batch = lag_batch(step, lag, staleness)
    assert batch % lag == 0 and 0 <= batch <= max(step - staleness, 0) < batch + lag
    assert lag_batch(step + 1, lag, staleness) >= batch, "weights never go back"
