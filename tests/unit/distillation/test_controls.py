"""The objectives that are controls for benchmarks, which do not depend on what the teacher says of which token."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tests.support.toy_world import LENGTH, World

from socratic_distill import ConfigError
from socratic_distill.distillation.objective import make_examples

CONSTANT, SHUFFLED = "control_constant_advantage", "control_shuffled_teacher"
REPLIES = list(itertools.product(range(4), repeat=LENGTH))


@pytest.fixture
def world():
    return World(4, k=4)


def advantages(world, config, step=0, **changes):
    """Those of one dialogue of all replies, by reply, `[R, 3]`."""
    one = world.scored(REPLIES)
    one = replace(one, dialogue=replace(one.dialogue, step=step), **changes)
    (example,) = make_examples([[one]], config, step)
    return np.append(example.datum.loss_fn_inputs["advantages"].to_numpy(), 0.0).reshape(-1, LENGTH + 1)[:, :LENGTH]


@pytest.mark.parametrize("share", [1.0, 0.34])
def test_the_constant_has_the_gradient_of_its_definition(world, make_config, share):
    config = make_config(objective={"kind": CONSTANT, "advantage": -2.0, "share": share})
    found, loss = np.zeros_like(world.tutor), torch.zeros((), dtype=torch.float64)
    q = torch.log_softmax(world.logits, -1)
    for reply in REPLIES:
        rows, chance = world.rows(reply), world.chance(reply)
        found += world.gradient(make_examples([[world.scored([reply])]], config, 0), np.array([chance]))
        own = q[rows, list(reply)]
        order = sorted(range(LENGTH), key=own.tolist().__getitem__)
        loss = loss + 2.0 * float(chance) * sum(own[i] for i in order[: 3 if share == 1.0 else 2])
    (wanted,) = torch.autograd.grad(loss, world.logits)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    assert (np.abs(found).max() < 1e-6) == (share == 1.0), "given to all tokens it is noise alone"


def test_the_constant_does_not_look_at_the_teacher(world, make_config):
    config = make_config(objective=CONSTANT, kl_penalty_coef=0.5)
    assert (advantages(world, config) == -0.5).all()
    other = tuple(values - 3.0 for values in world.scored(REPLIES).teacher)
    assert (advantages(world, config, teacher=other) == -0.5).all()


def test_shuffled_scores_are_the_teachers_in_another_order(world, make_config):
    config = make_config(objective=SHUFFLED)
    found = advantages(world, config)
    plain = advantages(world, make_config())
    one = world.scored(REPLIES)
    own = np.stack(one.tutor)
    np.testing.assert_allclose(np.sort((found + own).ravel()), np.sort(np.stack(one.teacher).ravel()), atol=1e-5)
    assert (np.abs(found - plain) > 1e-3).mean() > 0.8
    np.testing.assert_array_equal(found, advantages(world, config))
    for other in (make_config(objective=SHUFFLED, seed=1), config):
        assert np.abs(found - advantages(world, other, step=1)).max() > 1e-3


def test_shuffling_keeps_to_the_trained_tokens(world, make_config):
    found = advantages(world, make_config(objective=SHUFFLED, skip_first_tokens=1))
    one = world.scored(REPLIES)
    assert not found[:, 0].any()
    scores = (found + np.stack(one.tutor))[:, 1:]
    np.testing.assert_allclose(np.sort(scores.ravel()), np.sort(np.stack(one.teacher)[:, 1:].ravel()), atol=1e-5)


def test_a_constant_takes_no_baseline_and_no_clip(make_config):
    for more in ({"baseline": "group"}, {"advantage_clip": 1.0}):
        with pytest.raises(ConfigError, match="make no sense for a constant"):
            make_config(objective={"kind": CONSTANT, **more})


def test_a_control_is_no_part_of_a_mixture_nor_of_recordings(make_config, tmp_path):
    (tmp_path / "recorded.jsonl").write_text('{"messages": []}\n')
    for control in (CONSTANT, SHUFFLED):
        with pytest.raises(ConfigError, match=control):
            make_config(objective={"kind": "mixture", "parts": [{"objective": control}]})
        with pytest.raises(ConfigError, match=control):
            make_config(recordings={"files": [tmp_path / "recorded.jsonl"], "objective": control})
