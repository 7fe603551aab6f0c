from collections import Counter

import pytest

from socratic_distill import Seed, SolvedRange
from socratic_distill.dialogues.batches import batch
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.dialogues.difficulty import Pools, solved_by_seed

SEEDS = [Seed(f"s{i}", f"{i} + 1?", str(i + 1)) for i in range(6)]
# By seed, solved dialogues of four.
OUTCOMES = {"s0": 0, "s1": 4, "s2": 2, "s3": 1, "s4": 0, "s5": 3}


def pools(staleness=0, **wished):
    return Pools(SolvedRange(**{"others": 0.0, **wished}), SEEDS, 0, staleness)


def play(made, steps, size=3, first=0):
    """The seeds of some batches, each of which ends before the next is drawn."""
    drawn = []
    for step in range(first, steps):
        seeds = made.draw(step, lambda _: size)
        drawn.append([seed.id for seed in seeds])
        made.note(step, {seed.id: [OUTCOMES[seed.id], 4] for seed in seeds})
    return drawn


def test_without_rates_seeds_come_as_they_always_do():
    made = pools()
    drawn = [made.draw(step, lambda _: 4) for step in range(5)]
    assert drawn == [batch(SEEDS, seed=0, step=step, size=4) for step in range(5)]


def test_after_an_epoch_only_seeds_in_the_range_come():
    drawn = play(pools(), 8)
    assert Counter(name for names in drawn[:2] for name in names) == Counter(OUTCOMES.keys())
    assert {name for names in drawn[2:] for name in names} == {"s2", "s3", "s5"}
    assert all(len(names) == 3 for names in drawn)


@pytest.mark.parametrize(
    ("wished", "kept"), [({"low": 0.4, "high": 0.6}, {"s2"}), ({"low": 0.0, "high": 0.0}, {"s0", "s4"})]
)
def test_the_range_decides(wished, kept):
    assert {name for names in play(pools(**wished), 8)[2:] for name in names} == kept


def test_a_share_of_the_others_comes_all_the_same():
    drawn = Counter(name for names in play(pools(others=0.3), 200)[2:] for name in names)
    outside, inside = (sum(drawn[name] for name in names) / 3 for names in (("s0", "s1", "s4"), ("s2", "s3", "s5")))
    assert 0.2 < outside / inside < 0.4


def test_if_no_seed_is_left_all_come():
    assert {name for names in play(pools(low=0.3, high=0.4), 6)[2:] for name in names} == set(OUTCOMES)


def test_only_rates_that_are_surely_known_decide():
    """With max_staleness=1 batch s begins when batch s - 2 has ended, whether or not s - 1 has too."""
    early, late = pools(staleness=1), pools(staleness=1)
    for made, is_early in ((early, True), (late, False)):
        seeds = {step: made.draw(step, lambda _: 3) for step in (0, 1)}
        for step in (0, 1) if is_early else (0,):
            made.note(step, {seed.id: [OUTCOMES[seed.id], 4] for seed in seeds[step]})
    assert early.draw(2, lambda _: 3) == late.draw(2, lambda _: 3)


def test_rows_give_the_same_draws_as_the_run_itself():
    made, rows = pools(others=0.3), []
    drawn = []
    for step in range(9):
        seeds = made.draw(step, lambda _: 2)
        drawn.append(seeds)
        counts = {seed.id: [OUTCOMES[seed.id], 4] for seed in seeds}
        made.note(step, counts)
        rows.append({"step": step, "seeds/solved": counts})
    again = pools(others=0.3)
    again.read([{"strange": 1}, *rows[:5]])
    assert again.draw(5, lambda _: 2) == drawn[5]
    for step in range(6, 9):
        again.note(step - 1, rows[step - 1]["seeds/solved"])
        assert again.draw(step, lambda _: 2) == drawn[step]
    assert again.sizes() == made.sizes()


def test_pools_are_counted():
    made = pools()
    play(made, 2)
    assert made.sizes() == {"seeds/unknown": 0, "seeds/in_range": 3, "seeds/easy": 1, "seeds/hard": 2}
    assert pools().sizes()["seeds/unknown"] == 6


def test_dialogues_count_if_their_outcome_is_known():
    unknown = Seed("u", "Why?", "", answer_kind="none")
    dialogues = [
        Dialogue(SEEDS[0], 0, 0, ending="solved"),
        Dialogue(SEEDS[0], 0, 1, ending="max_turns"),
        Dialogue(SEEDS[0], 0, 2, ending="failed"),
        Dialogue(SEEDS[1], 0, 0, ending="recorded", recording="r"),
        Dialogue(SEEDS[2], 0, 0, ending="solved_after_tell"),
        Dialogue(unknown, 0, 0, ending="max_turns"),
    ]
    assert solved_by_seed(dialogues) == {"s0": [1, 2], "s2": [1, 1]}
