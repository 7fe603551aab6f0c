import itertools
from typing import Any

import pytest
from hypothesis import given, strategies as st

from socratic_distill import ConfigError, Seed
from socratic_distill.config.teachers import ResolvedTeacher
from socratic_distill.dialogues.routing import lag_batch, route

ANY = ResolvedTeacher("any", "m")
ALGEBRA = ResolvedTeacher("algebra", "m", tags=("algebra", "equations"))
FILE = ResolvedTeacher("file", "m", seeds_files=("a.jsonl",))


def seed(name: str, source: str | None = None, *tags: str) -> Seed:
    return Seed(name, "q", "1", tags=tags, source=source)


SEEDS = [seed("1", "a.jsonl"), seed("2", "b.jsonl", "algebra"), seed("3", "b.jsonl", "long")]


def refusal(*args: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        route(*args)
    return str(caught.value)


def test_teacher_without_a_route_takes_every_seed():
    assert route([ANY], SEEDS, None) == {"1": ("any",), "2": ("any",), "3": ("any",)}


def test_files_and_tags_route_and_the_unrouted_teacher_takes_the_rest():
    expected = {"1": ("file",), "2": ("algebra",), "3": ("any",)}
    for plans in itertools.permutations([ANY, ALGEBRA, FILE]):
        assert route(plans, SEEDS, None) == expected


def test_averaged_teachers_without_a_route_take_every_seed_in_order():
    assert route([ALGEBRA, ANY, FILE], SEEDS, "mixture") == {
        "1": ("any", "file"), "2": ("algebra", "any"), "3": ("any",),
    }  # fmt: skip


def test_a_file_or_a_tag_is_enough():
    both = ResolvedTeacher("both", "m", seeds_files=("a.jsonl",), tags=("long",))
    assert route([both, ANY], SEEDS, None) == {"1": ("both",), "2": ("any",), "3": ("both",)}


@pytest.mark.parametrize("how", [None, "log_mean"])
def test_seed_without_a_teacher_is_named(how):
    said = refusal([FILE, ALGEBRA], SEEDS, how)
    assert said.startswith("seed '3' (b.jsonl, tags long) has no teacher: none of 'file', 'algebra' takes")
    assert "leave seeds_files and tags out of the teacher that takes all other seeds" in said


def test_seed_with_several_teachers_is_named_with_the_ways_out():
    other = ResolvedTeacher("other", "m", tags=("equations",))
    seeds = [*SEEDS, seed("4", None, "algebra", "equations")]
    said = refusal([ANY, ALGEBRA, other, FILE], seeds, None)
    assert said.startswith("seed '4' (built-in, tags algebra, equations) has the teachers 'algebra', 'other'; ")
    assert "set teacher_average" in said and "narrow their seeds_files and tags" in said
    assert route([ANY, ALGEBRA, other, FILE], seeds, "mixture")["4"] == ("any", "algebra", "other")
    assert "has the teachers 'any', 'second'" in refusal([ANY, ResolvedTeacher("second", "m")], SEEDS, None)


def test_teacher_without_a_seed_is_named():
    said = refusal([ANY, ResolvedTeacher("idle", "m", tags=("algbra",))], SEEDS, None)
    assert said.startswith("teacher 'idle' has no seed: none of the 3 seeds has one of its tags (algbra); ")
    assert "their tags are algebra, long" in said
    assert "they have no tags" in refusal([ANY, ALGEBRA], [seed("1")], "mixture")
    every = ResolvedTeacher("every", "m", seeds_files=("a.jsonl", "b.jsonl"))
    assert refusal([ANY, every], SEEDS, None).startswith("teacher 'any' has no seed: the other teachers'")
    assert route([ANY, every], SEEDS, "mixture")["1"] == ("any", "every")


def test_file_that_is_none_of_the_configs_is_named():
    plans = [ANY, ResolvedTeacher("file", "m", seeds_files=("a.jsonl", "./b.jsonl"))]
    said = refusal(plans, SEEDS, None)
    assert "teacher 'file' has seeds_files='./b.jsonl', which is none of the config's seeds files" in said
    assert "('a.jsonl', 'b.jsonl'); write it exactly as there" in said
    assert "only built-in seeds" in refusal([ANY, FILE], [seed("1")], None)


def test_lagged_teacher_has_the_last_weights_that_are_there_for_certain():
    assert [lag_batch(step, 3, 0) for step in range(8)] == [0, 0, 0, 3, 3, 3, 6, 6]
    assert [lag_batch(step, 3, 2) for step in range(9)] == [0, 0, 0, 0, 0, 3, 3, 3, 6]
    assert [lag_batch(step, 1, 0) for step in range(4)] == [0, 1, 2, 3]


@given(step=st.integers(0, 10_000), lag=st.integers(1, 100), staleness=st.integers(0, 100))
def test_lagged_weights_are_neither_too_new_nor_older_than_need_be(step, lag, staleness):
    batch = lag_batch(step, lag, staleness)
    assert batch % lag == 0 and 0 <= batch <= max(step - staleness, 0) < batch + lag
    assert lag_batch(step + 1, lag, staleness) >= batch, "weights never go back"
