"""Every objective's expected gradient against autograd on its definition, over all replies of three tokens.

The tutor is a table of logits `[V + 1, V]` by the token before (row V opens a reply), the teacher another one. All V^3
replies are enumerated with their probabilities, and go through the package's own data: what is weighed here is what a
service would be given.
"""

import itertools

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tests.support.toy_world import LENGTH, World

from socratic_distill.distillation.objective import make_examples

FULL = [
    ({"kind": "sampled_reverse_kl"}, "reverse_kl", {}),
    ({"kind": "forward_kl"}, "forward_kl", {}),
    ({"kind": "forward_kl", "tail": "drop"}, "forward_kl", {}),
    ({"kind": "forward_kl", "tail": "bucket"}, "forward_kl", {}),
    ({"kind": "reverse_kl"}, "reverse_kl", {}),
    ({"kind": "jensen_shannon"}, "jensen_shannon", {}),
    ({"kind": "jensen_shannon", "beta": 0.1}, "jensen_shannon", {"beta": 0.1}),
]


@pytest.mark.parametrize("size", [16, pytest.param(50, marks=pytest.mark.slow)])
def test_expected_gradients_are_those_of_the_definitions(make_config, size):
    """All tokens are named: each `k` is the vocabulary's size. All objectives weigh the same size^3 replies."""
    world = World(size, k=size)
    objectives = [options if "sampled" in options["kind"] else options | {"k": size} for options, _, _ in FULL]
    results = world.expected(*(make_config(objective=objective) for objective in objectives))
    for result, (objective, kind, options) in zip(results, FULL, strict=True):
        wanted = world.by_definition(kind, **options)
        assert np.abs(wanted).max() > 1e-2
        np.testing.assert_allclose(result, wanted, atol=1e-6, err_msg=str(objective))


def test_a_mixture_is_the_sum_of_its_parts(make_config):
    world = World(8, k=8)
    parts = [({"kind": "sampled_reverse_kl"}, 0.5), ({"kind": "forward_kl", "k": 8}, 2.0),
             ({"kind": "jensen_shannon", "k": 8}, 1.0)]  # fmt: skip
    mixture = {"kind": "mixture", "parts": [{"objective": one, "weight": weight} for one, weight in parts]}
    found, *of_parts = world.expected(make_config(objective=mixture), *(make_config(objective=one) for one, _ in parts))
    wanted = sum(weight * gradient for gradient, (_, weight) in zip(of_parts, parts, strict=True))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_discount_one_follows_the_divergence_of_whole_replies(make_config):
    """At 1 the gradient is that of KL over whole replies, and with it of which states are visited."""
    world = World(5, k=5)
    replies = list(itertools.product(range(5), repeat=LENGTH))
    config = make_config(kl_discount_factor=1.0)
    # A dialogue a reply: the sum runs to the end of the dialogue.
    found = sum(
        world.gradient(make_examples([[world.scored([reply])]], config, 0), np.array([world.chance(reply)]))
        for reply in replies
    )
    q, p = torch.log_softmax(world.logits, -1), torch.tensor(world.teacher)
    of_replies = torch.stack([
        torch.stack([q[row, token] for row, token in zip(world.rows(reply), reply, strict=True)]).sum()
        for reply in replies
    ])  # fmt: skip
    of_teacher = torch.stack([p[world.rows(reply), list(reply)].sum() for reply in replies])
    (wanted,) = torch.autograd.grad((of_replies.exp() * (of_replies - of_teacher)).sum(), world.logits)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    assert np.abs(wanted.numpy() - world.by_definition("reverse_kl")).max() > 1e-2, "the two gradients are the same"


def test_baseline_leaves_the_expected_gradient_as_it_is(make_config):
    world = World(3, k=3)
    config = make_config(objective={"kind": "sampled_reverse_kl", "baseline": "group"}, num_envs=2)
    replies, total = list(itertools.product(range(3), repeat=LENGTH)), np.zeros((4, 3))
    for one, other in itertools.product(replies, repeat=2):
        weight = np.array([world.chance(one) * world.chance(other)])
        examples = make_examples([[world.scored([one]), world.scored([other])]], config, 0)
        total += world.gradient(examples[:1], weight)
    np.testing.assert_allclose(total, world.by_definition("reverse_kl"), atol=1e-6)


def test_drawn_tokens_give_the_full_gradient_in_expectation(make_config):
    world = World(4, k=4)
    config = make_config(objective={"kind": "monte_carlo_kl", "k": 2})
    wanted, visits = world.by_definition("reverse_kl"), world.visits()
    for row in range(5):
        total = np.zeros((5, 4))
        for pair in itertools.product(range(4), repeat=2):
            reply = (row, 0, 0) if row < 4 else (0, 0, 0)
            place = 1 if row < 4 else 0  # where the row is read
            draws = np.zeros((1, LENGTH, 2), np.int64)
            draws[0, place] = pair
            (example,) = make_examples([[world.scored([reply], draws)]], config, 0)
            example.mask[:] = np.arange(LENGTH) == place
            total += world.gradient([example], np.exp(world.tutor[row, list(pair)].sum(keepdims=True)))
        np.testing.assert_allclose(visits[row] * total[row], wanted[row], atol=1e-6)


def test_the_error_of_naming_few_tokens_falls_with_their_number(make_config):
    """Reported, not bounded by more than its order: what is left out depends on the models."""
    world = World(20, k=20)
    for kind, other in (("forward_kl", {"tail": "bucket"}), ("forward_kl", {}), ("jensen_shannon", {})):
        wanted = world.by_definition(kind)
        results = world.expected(*(make_config(objective={"kind": kind, "k": k, **other}) for k in (2, 6, 14)))
        errors = [np.linalg.norm(result - wanted) / np.linalg.norm(wanted) for result in results]
        print(f"{kind} {other}: relative error with 2, 6, 14 of 20 tokens: {[f'{e:.1%}' for e in errors]}")
        assert errors == sorted(errors, reverse=True) and errors[-1] < 0.2
