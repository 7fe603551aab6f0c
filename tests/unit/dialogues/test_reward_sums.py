"""The two objectives of PedagogicalRL as sums of rewards and vetoes."""

import itertools

import pytest

from socratic_distill.config.rewards import JudgeReward, OutcomeReward, SolveRateReward
from socratic_distill.dialogues.reward_sums import is_rejected, terms_of

LAMBDA = 0.75


def judges(veto, *penalties):
    return [JudgeReward(model_name="m", name=f"j{i}", veto=veto, penalty=p) for i, p in enumerate(penalties)]


@pytest.mark.parametrize("r_sol", [0.0, 0.375, 1.0])
@pytest.mark.parametrize("r_ped", [0.0, 1.0])
def test_soft_veto_is_r_sol_plus_lambda_times_r_ped_minus_one(r_sol, r_ped):
    rewards = [SolveRateReward(), *judges("soft", LAMBDA)]
    assert terms_of(rewards, [r_sol, r_ped]).total == r_sol + (r_ped - 1) * LAMBDA


@pytest.mark.parametrize("r_sol", [0.0, 0.375, 1.0])
def test_hard_veto_puts_minus_lambda_in_the_place_of_the_sum(r_sol):
    rewards = [SolveRateReward(), *judges("hard", LAMBDA)]
    assert terms_of(rewards, [r_sol, 0.0]).total == -LAMBDA
    assert terms_of(rewards, [r_sol, 1.0]).total == r_sol


@pytest.mark.parametrize("verdicts", list(itertools.product([0.0, 1.0], repeat=3)))
def test_any_of_several_judges_vetoes_and_the_penalty_counts_once(verdicts):
    soft, hard = ([SolveRateReward(), *judges(kind, LAMBDA, LAMBDA, LAMBDA)] for kind in ("soft", "hard"))
    r_ped = min(verdicts)
    assert terms_of(soft, [0.5, *verdicts]).total == 0.5 + (r_ped - 1) * LAMBDA
    assert terms_of(hard, [0.5, *verdicts]).total == (0.5 if r_ped else -LAMBDA)
    assert is_rejected(soft, [0.5, *verdicts]) is is_rejected(hard, [0.5, *verdicts]) is (r_ped == 0.0)


def test_of_different_penalties_the_largest_of_the_rejecting_counts():
    soft, hard = ([SolveRateReward(), *judges(kind, 0.5, 2.0)] for kind in ("soft", "hard"))
    assert [terms_of(soft, [1.0, *v]).total for v in ([0.0, 1.0], [1.0, 0.0], [0.0, 0.0])] == [0.5, -1.0, -1.0]
    assert [terms_of(hard, [1.0, *v]).total for v in ([0.0, 1.0], [1.0, 0.0], [0.0, 0.0])] == [-0.5, -2.0, -2.0]


def test_hard_veto_prevails_over_a_soft_one():
    rewards = [SolveRateReward(), *judges("soft", 0.5), OutcomeReward(kind="not_telling", veto="hard", penalty=1.0)]
    assert terms_of(rewards, [1.0, 0.0, 0.0]).total == -1.0
    assert terms_of(rewards, [1.0, 0.0, 1.0]).total == 0.5


def test_rewards_without_a_veto_add_up_by_weight():
    rewards = [SolveRateReward(weight=2.0), OutcomeReward(kind="solved"), JudgeReward(model_name="m", weight=-0.5)]
    assert terms_of(rewards, [0.25, 1.0, 1.0]).total == 1.0
    assert is_rejected(rewards, [0.25, 0.0, 0.0]) is None, "no reward has a veto"


def test_unknown_values_are_left_out_and_reject_nothing():
    rewards = [SolveRateReward(), JudgeReward(model_name="m", name="adds"), *judges("hard", 1.0)]
    assert terms_of(rewards, [0.5, None, None]).total == 0.5
    assert is_rejected(rewards, [0.5, None, None]) is False
    soft = [SolveRateReward(), *judges("soft", 1.0, 1.0)]
    assert terms_of(soft, [0.5, 1.0, None]).values == (0.5, None), "nobody knows whether there is something to pay"
    assert terms_of(soft, [0.5, 0.0, None]).values == (0.5, -1.0)


def test_a_penalty_of_zero_is_no_term():
    assert terms_of([SolveRateReward(), *judges("soft", 0.0)], [0.5, 0.0]).values == (0.5,)
    assert terms_of([SolveRateReward(), *judges("hard", 0.0)], [0.5, 0.0]).total == 0.0
