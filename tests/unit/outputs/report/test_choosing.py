"""Which dialogues a page shows."""

from collections import Counter

from hypothesis import given, strategies as st

from socratic_distill.outputs.report.choosing import Candidate, in_order, same_seed

OUTCOMES = [(True, False, True), (True, True, True), (False, False, True)]


def candidate(step, number=0, seed=None, outcome=OUTCOMES[0]):
    return Candidate(0, 1, step, seed or f"s{step}", number, outcome)


many = st.lists(
    st.builds(candidate, st.integers(0, 99), st.integers(0, 9), st.sampled_from("abc"), st.sampled_from(OUTCOMES))
)


@given(many)
def test_every_dialogue_comes_once_whatever_their_order(candidates):
    ordered = list(in_order(candidates))
    assert Counter(ordered) == Counter(candidates)
    assert list(in_order(candidates[::-1])) == ordered


def test_the_first_taken_spread_over_steps():
    candidates = [candidate(step, number) for step in range(320) for number in range(4)]
    taken = [one.step for one in in_order(candidates)]
    assert taken[0] < 10 and taken[1] >= 310, "both ends come first"
    assert {step // 40 for step in taken[:9]} == set(range(8)), "and then the middles of the gaps"


def test_rare_outcomes_are_taken_with_the_common_ones():
    rare = candidate(5, 99, outcome=OUTCOMES[2])
    candidates = [candidate(step, number) for step in range(10) for number in range(50)] + [rare]
    assert rare in list(in_order(candidates))[:12]


def test_seeds_that_came_again_are_paired_at_their_ends_widest_apart_first():
    steps_of = {"a": [3, 1], "b": [0, 2, 9], "c": [4]}
    pairs = same_seed([candidate(step, n, seed) for seed, steps in steps_of.items() for step in steps for n in (1, 0)])
    assert [(one.seed, one.step, other.step, one.number) for one, other in pairs] == [("b", 0, 9, 0), ("a", 1, 3, 0)]
    failed = candidate(1, 0, "a", (False, False, False))
    assert same_seed([candidate(0, 0, "a"), failed]) == [], "what failed makes no pair"
