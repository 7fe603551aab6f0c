"""The advantages of a group by formula: PedagogicalRL's two objectives, unknown values, normalised rewards."""

import math
from statistics import mean, pstdev
from typing import Literal

import pytest
from hypothesis import given, strategies as st

from socratic_distill.config.rewards import JudgeReward, OutcomeReward, SolveRateReward
from socratic_distill.dialogues.reward_sums import terms_of
from socratic_distill.distillation.reward_advantages import group_advantages, reward_advantages

LAMBDA = 1.5
# Of four dialogues: the solve rate of eight attempts, and the verdicts of two judges.
R_SOL = [7 / 8, 3 / 8, 1.0, 0.0]
VERDICTS = [(1.0, 1.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)]
R_PED = [min(verdicts) for verdicts in VERDICTS]


def pedagogical(veto):
    judges = [JudgeReward(model_name="m", name=name, veto=veto, penalty=LAMBDA) for name in ("leak", "style")]
    return [SolveRateReward(samples=8), *judges]


def advantages(rewards, rows, normalization: Literal["none", "group"] = "none"):
    terms = [None if row is None else terms_of(rewards, row) for row in rows]
    return reward_advantages(terms, normalization)


@pytest.mark.parametrize("veto", ["soft", "hard"])
def test_advantages_are_those_of_pedagogical_rls_formula(veto):
    found = advantages(pedagogical(veto), [(sol, *both) for sol, both in zip(R_SOL, VERDICTS, strict=True)])
    if veto == "soft":
        formula = [sol + (ped - 1) * LAMBDA for sol, ped in zip(R_SOL, R_PED, strict=True)]
    else:
        formula = [sol if ped else -LAMBDA for sol, ped in zip(R_SOL, R_PED, strict=True)]
    assert found == pytest.approx([r - mean(formula) for r in formula], abs=1e-15)


def test_unknown_value_neither_raises_nor_lowers_the_advantage():
    rewards = [SolveRateReward(), JudgeReward(model_name="m")]
    known = advantages(rewards, [(0.5, 1.0), (0.0, 0.0), (1.0, 1.0)])
    assert known == pytest.approx([1.5 - 7 / 6, -7 / 6, 2 - 7 / 6])
    found = advantages(rewards, [(0.5, 1.0), (0.0, 0.0), (0.5, None)])
    centred = [0.5 - 1 / 3, 0.0 - 1 / 3, 0.5 - 1 / 3]
    assert found == pytest.approx([centred[0] + 0.5, centred[1] - 0.5, centred[2]])


def test_failed_dialogues_and_rewards_that_nobody_has_count_nothing():
    rewards = [SolveRateReward(), JudgeReward(model_name="m")]
    assert advantages(rewards, [(1.0, None), None, (0.0, None)]) == [0.5, 0.0, -0.5]
    assert advantages(rewards, [None, (1.0, 1.0)]) == [0.0, 0.0]
    assert advantages(rewards, [None, None]) == advantages(rewards, [None, None], "group") == [0.0, 0.0]


def test_normalized_rewards_are_standardised_and_weighed():
    rewards = [SolveRateReward(weight=2.0), OutcomeReward(kind="few_turns", weight=0.5)]
    columns = [0.9, 0.1, 0.5, 0.5], [0.25, 0.75, 0.5, 0.0]
    found = advantages(rewards, list(zip(*columns, strict=True)), "group")
    z = [[(value - mean(column)) / pstdev(column) for value in column] for column in columns]
    assert found == pytest.approx([2.0 * a + 0.5 * b for a, b in zip(*z, strict=True)])


def test_normalized_soft_vetoes_are_one_reward_of_weight_lambda():
    rows = [(sol, *both) for sol, both in zip(R_SOL, VERDICTS, strict=True)]
    found = advantages(pedagogical("soft"), rows, "group")
    expected = [
        (sol - mean(R_SOL)) / pstdev(R_SOL) + LAMBDA * (ped - mean(R_PED)) / pstdev(R_PED)
        for sol, ped in zip(R_SOL, R_PED, strict=True)
    ]
    assert found == pytest.approx(expected)


def test_normalized_unknown_and_equal_values_give_zero():
    rewards = [SolveRateReward(), JudgeReward(model_name="m")]
    assert advantages(rewards, [(0.5, 1.0), (0.5, 1.0), (0.5, None)], "group") == [0.0, 0.0, 0.0]
    assert advantages(rewards, [(0.5, None), (0.5, 1.0), (0.5, 0.0)], "group") == [0.0, 1.0, -1.0]
    assert advantages(rewards, [(0.1 + 0.2, 1.0), (0.3, 1.0)], "group") == [0.0, 0.0], "rounding is no spread"
    assert advantages(rewards, [(0.5, 1.0), None, (1.0, 1.0)], "group") == [-1.0, 0.0, 1.0]
    assert advantages([JudgeReward(model_name="m", veto="soft", penalty=0.0)], [(0.0,), (1.0,)], "group") == [0.0, 0.0]


values = st.none() | st.floats(-1e6, 1e6, width=32)
groups = st.lists(st.none() | st.tuples(values, values), max_size=9)


@given(groups, st.sampled_from(["none", "group"]))
def test_advantages_of_a_group_are_finite_and_add_up_to_zero(rows, normalization):
    rewards = [SolveRateReward(weight=0.5), OutcomeReward(kind="solved", weight=-2.0)]
    found = advantages(rewards, rows, normalization)
    size = max((abs(value) for row in rows if row for value in row if value is not None), default=1.0)
    assert len(found) == len(rows) and all(map(math.isfinite, found))
    assert abs(math.fsum(found)) <= 1e-9 * max(1.0, size)
    assert all(advantage == 0.0 for row, advantage in zip(rows, found, strict=True) if row is None)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=9))
def test_known_values_give_what_their_sums_have_over_the_mean(rows):
    rewards = [SolveRateReward(weight=0.5), OutcomeReward(kind="solved", weight=-2.0)]
    sums = [float(sum((0.5 * a, -2.0 * b))) for a, b in rows]
    assert advantages(rewards, rows) == group_advantages(sums)


@given(st.lists(st.floats(-1e3, 1e3, width=16), min_size=2, max_size=9), st.sampled_from([0.25, 8.0, 1024.0]))
def test_the_spread_of_a_reward_does_not_count_once_normalised(column, factor):
    rewards = [SolveRateReward()]
    plain = advantages(rewards, [(value,) for value in column], "group")
    scaled = advantages(rewards, [(factor * value,) for value in column], "group")
    assert scaled == pytest.approx(plain, rel=1e-6, abs=1e-9)
