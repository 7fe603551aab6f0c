import math

import numpy as np
import pytest

from socratic_distill.evaluation.intervals import Part
from socratic_distill.evaluation.paired import FEW, Difference, paired_differences, paired_ends, sums_by_seed

SIMULATIONS = 2000
SEEDS = (20, 60, 200)


def both_have(size, either, both, random):
    """Shares of 0 and 1 on the same seeds, `[C, M]`: whether each of two tutors has it."""
    drawn = random.random(size)
    first = drawn < both + either[0]
    second = (drawn < both) | ((drawn >= both + either[0]) & (drawn < both + sum(either)))
    return second.astype(float) - first.astype(float), either[1] - either[0]


def of_shares(size, random):
    return both_have(size, (0.1, 0.3), 0.3, random)


def of_even_shares(size, random):
    return both_have(size, (0.2, 0.2), 0.1, random)


def of_rare_shares(size, random):
    return both_have(size, (0.1, 0.1), 0.0, random)


def of_exponential_numbers(size, random):
    return random.exponential(1.0, size), 1.0


def of_numbers_with_two_long_tails(size, random):
    return random.exponential(1.5, size) - random.exponential(1.0, size), 0.5


def of_lognormal_numbers(size, random):
    shared = 0.6 * random.normal(size=size)
    first, second = (np.exp(shared + 0.3 * random.normal(size=size)) for _ in range(2))
    return second * math.exp(0.3) - first, (math.exp(0.3) - 1) * math.exp((0.6**2 + 0.3**2) / 2)


def of_turns(size, random):
    return random.geometric(0.3, size) - random.geometric(0.5, size).astype(float), 1 / 0.3 - 2


def of_shares_of_four_dialogues(size, random):
    return (random.binomial(4, 0.1, size) - random.binomial(4, 0.03, size)) / 4, 0.07


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(
    ("drawn", "is_share"),
    [
        (of_shares, True), (of_even_shares, True), (of_rare_shares, True), (of_shares_of_four_dialogues, True),
        (of_exponential_numbers, False), (of_numbers_with_two_long_tails, False), (of_lognormal_numbers, False),
        (of_turns, False),
    ],
)  # fmt: skip
def test_paired_intervals_contain_the_truth_as_often_as_they_say(drawn, is_share, seeds):
    each, truth = drawn((seeds, SIMULATIONS), np.random.default_rng(seeds))
    low, high = paired_ends(each, is_share)
    covered = float(((low <= truth) & (truth <= high)).mean())
    assert 0.93 <= covered <= 0.97, f"{covered:.1%} of the intervals contain the truth"


def log_likelihood(down, ups, downs, count, difference):
    """Of a trinomial sample, if ups are more probable than downs by a difference."""
    up = down + difference
    same = 1 - up - down
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [
            n * np.log(p) if n else np.zeros_like(down)
            for n, p in ((ups, up), (downs, down), (count - ups - downs, same))
        ]
    return np.where((up >= 0) & (same >= 0), sum(terms), -np.inf)


@pytest.mark.parametrize(("ups", "downs", "count"), [(9, 2, 50), (12, 1, 44), (3, 3, 20), (6, 0, 30)])
def test_ends_of_a_share_are_where_the_score_test_rejects(ups, downs, count):
    """The score test by its definition: the likeliest probabilities are searched for on a grid."""
    each = np.array([1.0] * ups + [-1.0] * downs + [0.0] * (count - ups - downs))[:, None]
    for end in paired_ends(each, True):
        difference = float(end[0])
        grid = np.linspace(max(0.0, -difference), (1 - difference) / 2, 200_001)
        down = grid[np.nanargmax(log_likelihood(grid, ups, downs, count, difference))]
        score = (ups - downs - count * difference) / math.sqrt(count * (2 * down + difference - difference**2))
        assert abs(score) == pytest.approx(1.96, abs=2e-3)


def test_interval_of_many_normal_numbers_is_students():
    values = np.random.default_rng(0).normal(0.3, 2.0, (400, 1))
    low, high = (float(end[0]) for end in paired_ends(values, False))
    half = 1.966 * values.std(ddof=1) / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_interval_of_a_share_stays_between_minus_one_and_one():
    low, high = paired_ends(np.full((3, 1), 1.0), True)
    assert -1 <= low[0] < high[0] == pytest.approx(1.0)


def by_seed(**values):
    return sums_by_seed({name: [Part(f"s{i}", v) for i, v in enumerate(of)] for name, of in values.items()})


def test_pairing_finds_a_difference_that_single_intervals_hide():
    hard = np.linspace(1, 9, 30)
    first, second = by_seed(turns_to_solve=hard), by_seed(turns_to_solve=hard - 0.4 - 0.1 * (np.arange(30) % 3))
    found = paired_differences(first, second)["turns_to_solve"]
    assert found.value == pytest.approx(-0.5) and found.is_clear and found.seeds == 30
    assert (found.won, found.lost, found.win_rate) == (30, 0, 1.0), "fewer turns are better"


def test_seeds_of_one_tutor_alone_do_not_count():
    first = {"solved": {"a": (1.0, 1), "b": (0.0, 1), "gone": (1.0, 1)}}
    second = {"solved": {"a": (1.0, 1), "b": (1.0, 1), "new": (0.0, 1)}, "asks": {"a": (1.0, 1)}}
    (found,) = paired_differences(first, second).values()
    assert (found.value, found.seeds, found.won, found.lost, found.win_rate) == (0.5, 2, 1, 0, 0.75)


def test_without_a_common_seed_nothing_is_known():
    found = paired_differences({"solved": {"a": (1.0, 1)}}, {"solved": {"b": (1.0, 1)}})
    assert found == {"solved": Difference(None, None, None, 0)} and found["solved"].win_rate is None


def test_one_common_seed_has_no_interval():
    found = paired_differences({"solved": {"a": (1.0, 4)}}, {"solved": {"a": (3.0, 4)}})["solved"]
    assert (found.value, found.low, found.high, found.needed) == (0.5, None, None, None)


def test_value_is_the_difference_of_the_means_that_tables_show():
    """A seed with more values weighs more, as it does in each tutor's own mean."""
    first = {"asks": {"a": (1.0, 4), "b": (2.0, 2), "c": (0.0, 3)}}
    second = {"asks": {"a": (3.0, 3), "b": (2.0, 4), "c": (1.0, 1)}}
    found = paired_differences(first, second)["asks"]
    assert found.value == pytest.approx(6 / 8 - 3 / 9)
    assert found.low is not None and found.low < 6 / 8 - 3 / 9 < (found.high or 0)


def test_needed_seeds_show_the_difference_four_times_in_five():
    random = np.random.default_rng(3)
    sample = random.normal(0.5, 1.0, 4000)
    found = paired_differences(by_seed(teacher_kl=np.zeros(4000)), by_seed(teacher_kl=sample))["teacher_kl"]
    assert found.needed == pytest.approx((2.8016 * sample.std() / sample.mean()) ** 2, abs=1)
    low, high = paired_ends(random.normal(0.5, 1.0, (found.needed or 0, 1000)), False)
    assert 0.72 < float(((low > 0) | (high < 0)).mean()) < 0.85


def test_equal_tutors_need_no_number_of_seeds():
    sums = by_seed(solved=[1.0, 0.0] * 12)
    found = paired_differences(sums, sums)["solved"]
    assert (found.value, found.needed, found.is_clear, found.win_rate) == (0.0, None, False, 0.5)
    assert found.low is not None and found.low < 0 < (found.high or 0), "no seed happened to differ; others may"


@pytest.mark.parametrize(("seeds", "rough"), [(FEW - 1, True), (FEW, False)])
def test_interval_on_few_seeds_is_rough(seeds, rough):
    sums = by_seed(solved=[1.0, *[0.0] * (seeds - 1)])
    assert paired_differences(sums, sums)["solved"].is_rough is rough


def test_order_of_seeds_leaves_no_trace():
    values = [float(i * i % 7) for i in range(25)]
    first, second = by_seed(reply_tokens=values), by_seed(reply_tokens=[v + i % 3 for i, v in enumerate(values)])
    turned = {name: dict(reversed(of.items())) for name, of in second.items()}
    assert paired_differences(first, turned) == paired_differences(first, second)
