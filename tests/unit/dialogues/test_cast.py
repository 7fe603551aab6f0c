from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from socratic_distill import Seed, TeacherError
from socratic_distill.config.objectives import (
    ForwardKL,
    JensenShannon,
    Mixture,
    MonteCarloKL,
    ReverseKL,
    SampledReverseKL,
    Supervised,
    Weighted,
)
from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.cast import Member, Teachers
from socratic_distill.dialogues.rendering import Renderer

# Teachers hands renderers on and reads none of them.
UNUSED = cast(Renderer, None)


def client(name: object) -> Any:
    """Stands for a sampling client; Teachers hands those on too."""
    return name


def member(name: str, lag: int | None = None, weight: float = 1.0) -> Member:
    return Member(name, UNUSED, None if lag else client(f"{name}'s client"), lag, weight)


def made(*members: Member, **rest: Any) -> Teachers:
    return Teachers({one.name: one for one in members}, {"s": tuple(one.name for one in members)}, **rest)


@pytest.mark.parametrize(
    ("objective", "wanted"),
    [
        (SampledReverseKL(), Wanted()),
        (Supervised(), Wanted(teacher=False)),
        (ForwardKL(k=5), Wanted(teacher_top=5)),
        (ReverseKL(k=5), Wanted(tutor_top=5, teacher_top=5)),
        (JensenShannon(k=5), Wanted(tutor_top=5, teacher_top=5)),
        (MonteCarloKL(k=5), Wanted(draws=5)),
    ],
    ids=lambda one: getattr(one, "kind", ""),
)
def test_objective_asks_for_no_more_than_it_looks_at(objective, wanted):
    assert Wanted.of(objective) == wanted


def test_mixture_asks_once_for_the_most_that_any_part_wants():
    parts = [ForwardKL(k=9), ReverseKL(k=3), JensenShannon(k=6), MonteCarloKL(k=4), SampledReverseKL()]
    mixture = Mixture(parts=tuple(Weighted(objective=part) for part in parts))
    assert Wanted.of(mixture) == Wanted(tutor_top=6, teacher_top=9, draws=4)


def test_seed_has_the_teachers_of_its_route_in_their_order():
    one, two = member("one"), member("two")
    teachers = Teachers({"one": one, "two": two}, {"a": ("two",), "b": ("two", "one")})
    assert teachers.of(Seed("a", "q", "1")) == [two]
    assert teachers.of(Seed("b", "q", "1")) == [two, one]


def test_frozen_teacher_scores_every_batch_with_its_own_client():
    frozen = member("frozen")
    teachers = made(frozen)
    assert [teachers.client(frozen, step) for step in (0, 7)] == ["frozen's client"] * 2
    assert teachers.tutors_before(7) == set()


def played(lags: dict[str, int], staleness: int, steps: int, began: int = 0) -> list[int]:
    """The batches whose weights the teachers score the last of `steps` batches with; checks what is kept for it."""
    members = [member(name, lag) for name, lag in lags.items()]
    teachers = made(*members, how="mixture", max_staleness=staleness)
    teachers.tutors |= {batch: client(batch) for batch in teachers.tutors_before(began)}
    for batch in range(began, steps):
        teachers.keep_tutor(batch, client(batch), oldest=batch)
    scoring = [cast(int, teachers.client(one, steps - 1)) for one in members]
    assert min(teachers.tutors) == min(scoring), f"weights of {sorted(teachers.tutors)} are kept for those of {scoring}"
    return scoring


def test_lagged_teacher_scores_with_the_tutor_at_its_periods_start():
    assert [played({"one": 3}, 0, steps) for steps in range(1, 8)] == [[0], [0], [0], [3], [3], [3], [6]]
    assert [played({"one": 2, "two": 3}, 0, steps) for steps in (3, 4, 5)] == [[2, 0], [2, 3], [4, 3]]


def test_lagged_teacher_waits_for_no_weights_that_may_not_be_there():
    assert [played({"one": 2}, 1, steps) for steps in range(1, 7)] == [[0], [0], [0], [2], [2], [4]]


@given(
    lags=st.lists(st.integers(1, 5), min_size=1, max_size=3), staleness=st.integers(0, 4), steps=st.integers(1, 20),
    began=st.integers(0, 20),
)  # fmt: skip
def test_resumed_run_has_the_teachers_of_one_never_interrupted(lags, staleness, steps, began):
    named = {str(i): lag for i, lag in enumerate(lags)}
    assert played(named, staleness, steps, began=min(began, steps - 1)) == played(named, staleness, steps)


def test_weights_between_two_periods_are_not_kept():
    teachers = made(member("lagged", 3), max_staleness=0)
    for batch in range(3):
        teachers.keep_tutor(batch, client(f"before {batch}"), oldest=batch)
    assert teachers.tutors == {0: "before 0"}
    teachers.keep_tutor(3, client("before 3"), oldest=2)
    assert teachers.tutors == {0: "before 0", 3: "before 3"}, "batch 2 is still to be scored with those before 0"
    teachers.keep_tutor(4, client("before 4"), oldest=4)
    assert teachers.tutors == {3: "before 3"}


def test_weights_that_could_not_be_saved_are_stood_in_for_by_those_before():
    lagged = member("lagged", 2)
    teachers = made(lagged)
    with pytest.raises(TeacherError, match="teacher 'lagged': the tutor's weights before batch 0 could not be saved"):
        teachers.client(lagged, 0)
    for batch in (0, 1, 3, 5):  # those before batches 2 and 4 never come
        teachers.keep_tutor(batch, client(f"before {batch}"), oldest=batch)
        assert teachers.client(lagged, batch) == "before 0"
    teachers.keep_tutor(6, client("before 6"), oldest=6)
    assert teachers.client(lagged, 6) == "before 6" and teachers.tutors == {6: "before 6"}
