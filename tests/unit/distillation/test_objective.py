import doctest

import numpy as np
import pytest

from socratic_distill import Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.distillation import datums, datums as sequences
from socratic_distill.distillation.datums import merge_turns, shift_targets
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.scoring import ScoredDialogue

TURNS = [([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])]
SPLIT = [([1, 2], [3, 4]), ([1, 4, 5], [6])]
TUTOR = (np.array([-1.0, -2.0]), np.array([-0.5]))
TEACHER = (np.array([-2.0, -1.0]), np.array([-0.25]))


def tutor_turn(prompt, tokens):
    return Turn("tutor", "Why?", tuple(prompt), tuple(tokens), tuple(tokens), (-1.0,) * len(tokens), 0, "stop")


def scored_dialogue(turns):
    spoken = tuple(tutor_turn(*one) for one in turns)
    heard = Turn("student", "Hm.", (), (), (), (), 0, "stop")
    dialogue = Dialogue(Seed("s", "q", "1"), 0, 0, tuple(turn for one in spoken for turn in (heard, one)))
    return ScoredDialogue(dialogue, tuple(merge_turns(turns)), TUTOR, TEACHER)


def arrays(example):
    return {name: data.to_numpy() for name, data in example.datum.loss_fn_inputs.items()}


@pytest.fixture
def advantages_of(make_config):
    """The advantages of the tutor's tokens, over all data of a dialogue."""

    def find(one, **changes):
        examples = make_examples([[one]], make_config(**changes), step=0)
        return np.concatenate([arrays(each)["advantages"][each.mask] for each in examples])

    return find


def test_advantage_is_teacher_minus_tutor_times_the_coefficient(advantages_of):
    np.testing.assert_allclose(advantages_of(scored_dialogue(TURNS), kl_penalty_coef=2.0), [-2.0, 2.0, 0.5])


@pytest.mark.parametrize("turns", [TURNS, SPLIT], ids=["one datum", "two datums"])
def test_discounted_advantage_sums_over_later_tokens_across_datums(turns, advantages_of):
    found = advantages_of(scored_dialogue(turns), kl_discount_factor=0.5)
    np.testing.assert_allclose(found, [-1.0 + 0.5 * (1.0 + 0.5 * 0.25), 1.0 + 0.5 * 0.25, 0.25])


def test_datum_predicts_each_target_from_the_tokens_before_it(make_config):
    (example,) = make_examples([[scored_dialogue(TURNS)]], make_config(), step=0)
    got = arrays(example)
    assert example.datum.model_input.to_ints() == [1, 2, 3, 4, 5]
    assert got["target_tokens"].tolist() == [2, 3, 4, 5, 6]
    assert got["logprobs"].tolist() == [0.0, -1.0, -2.0, 0.0, -0.5]
    assert got["advantages"].tolist() == [0.0, -1.0, 1.0, 0.0, 0.25]
    assert example.mask.tolist() == [False, True, True, False, True]
    assert set(got) == {"target_tokens", "logprobs", "advantages"}


def test_turns_without_a_shared_prefix_are_datums_of_their_own(make_config):
    first, second = make_examples([[scored_dialogue(SPLIT)]], make_config(), step=0)
    assert arrays(first)["target_tokens"].tolist() == [2, 3, 4]
    assert arrays(second)["target_tokens"].tolist() == [4, 5, 6]
    assert arrays(second)["advantages"].tolist() == [0.0, 0.0, 0.25]


def test_shift_moves_values_with_their_targets():
    inputs, targets, values = shift_targets([7, 8, 9], np.array([[1.0, 2.0, 3.0]]))
    assert (inputs, targets, values.tolist()) == ([7, 8], [8, 9], [[2.0, 3.0]])


@pytest.mark.parametrize("module", [datums, sequences])
def test_worked_examples_in_docstrings_hold(module):
    results = doctest.testmod(module)
    assert results.attempted > 0 and results.failed == 0
