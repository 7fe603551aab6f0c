"""The expected gradient under each token weight against autograd on the definition in its paper.

Every reply of three tokens is a dialogue of its own, since weights depend on a dialogue. The weights of the definitions
are computed here, token by token, and share no code with the package.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tests.support.toy_world import LENGTH, World

from socratic_distill.dialogues.reward_sums import Terms
from socratic_distill.dialogues.rewards import Rewarded
from socratic_distill.distillation.averaging import average
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.token_weights import weigh

SIZE = 4
STEP, VERSION, SAMPLED_BY = 1, 5, 3
REPLIES = list(itertools.product(range(SIZE), repeat=LENGTH))
SAMPLED = {"kind": "sampled_reverse_kl"}
FORWARD, REVERSE = ({"kind": kind, "k": SIZE} for kind in ("forward_kl", "reverse_kl"))
BOTH = {"kind": "mixture", "parts": [{"objective": SAMPLED}, {"objective": FORWARD, "weight": 0.5}]}
SCHEDULE = {"start": 1.0, "end": 3.0, "steps": 2}
BOUND = 0.08


def reward(reply):
    return 1.0 if 2 in reply else 0.25


class Reply:
    """What a definition may look at, of one reply."""

    def __init__(self, world, reply):
        rows = world.rows(reply)
        self.gap = [float(world.teacher[row, t] - world.tutor[row, t]) for row, t in zip(rows, reply, strict=True)]
        self.tutor_entropy, self.teacher_entropy = (
            [float(-(np.exp(table[row]) * table[row]).sum()) for row in rows] for table in (world.tutor, world.teacher)
        )
        self.outcome = 1 if reward(reply) >= 0.5 else -1


def top(values, count):
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    return [1.0 if i in order[:count] else 0.0 for i in range(len(values))]


def iw(reply):
    size = [abs(gap) for gap in reply.gap]
    return [1.0 + 0.5 * (1.0 - sum(size[:t]) / sum(size)) for t in range(LENGTH)]


def signs(reply):
    return [1.5 if (gap > 0) == (reply.outcome > 0) else 0.5 for gap in reply.gap]


def gate(reply):
    return [1.0 if entropy > 0.9 else 0.0 for entropy in reply.teacher_entropy]


def rewarding(**setting):
    return {"reward": "solved", "least": 0.5, **setting}


DEFINITIONS = {
    "prefix": ([{"kind": "prefix", "tokens": 2}], lambda r: [1.0, 1.0, 0.0]),
    "prefix, scheduled": ([{"kind": "prefix", "tokens": SCHEDULE}], lambda r: [1.0, 1.0, 0.0]),
    "disagreement": (["disagreement"], lambda r: top([abs(gap) for gap in r.gap], 2)),
    "entropy": ([{"kind": "entropy", "share": 0.3, "k": SIZE}], lambda r: top(r.tutor_entropy, 1)),
    "position": (["position"], iw),
    "freshness": ([{"kind": "freshness", "decay": 0.7}], lambda r: [0.7**2] * LENGTH),
    "reward_gate": (
        [rewarding(kind="reward_gate", success=2.0, failure=0.5)],
        lambda r: [2.0 if r.outcome > 0 else 0.5] * LENGTH,
    ),
    "sign_gate": ([rewarding(kind="sign_gate", agrees=1.5, disagrees=0.5)], signs),
    "clip": (["position", {"kind": "clip", "low": 1.1, "high": 1.3}], lambda r: [min(max(w, 1.1), 1.3) for w in iw(r)]),
    "several": (
        [{"kind": "clip", "low": 1.2, "high": 9.0}, "position", {"kind": "prefix", "tokens": 2}, "disagreement"],
        lambda r: [
            max(w, 1.2) if t < 2 and kept else 0.0
            for t, (w, kept) in enumerate(zip(iw(r), top([abs(gap) for gap in r.gap], 2), strict=True))
        ],
    ),
}


@pytest.fixture
def world():
    return World(SIZE, k=SIZE)


@pytest.fixture
def weighted_config(make_config):
    def make(objective, weights, **changes):
        needs = {"rewards": ["solved"], "reward_coef": 0.0, "max_staleness": 4}
        return make_config(objective=objective, token_weights=weights, **(needs | changes))

    return make


def scored(world, reply):
    """A reply as a dialogue, with all that weights may need."""
    one, rows = world.scored([reply]), world.rows(reply)
    entropy = -(np.exp(world.tutor) * world.tutor).sum(axis=1)[rows]
    turns = tuple(replace(turn, version=SAMPLED_BY) for turn in one.dialogue.turns)
    value = reward(reply)
    return replace(
        one,
        dialogue=replace(one.dialogue, turns=turns),
        tutor_entropy=(entropy,),
        rewarded=Rewarded({"solved": value}, Terms((value,), (1.0,))),
    )


def found(world, config, dialogues=None):
    """The expected gradient of the package's data."""
    total = np.zeros_like(world.tutor)
    for reply in REPLIES:
        one = scored(world, reply) if dialogues is None else dialogues[reply]
        weighed = weigh([[one]], config, STEP, VERSION)
        chance = np.exp(sum(values.sum() for values in one.tutor))
        total += world.gradient(make_examples(weighed, config, STEP), np.array([chance]))
    return total


def divergence(world, kind, reply):
    """The divergence at each position of a reply, `[3]`, with a gradient by the tutor's logits."""
    q, p = torch.log_softmax(world.logits, -1), torch.tensor(world.teacher)
    rows = world.rows(reply)
    if kind == "sampled_reverse_kl":
        log_q = q[rows, list(reply)]
        return -(p[rows, list(reply)] - log_q).detach() * log_q
    return {"forward_kl": p.exp() * (p - q), "reverse_kl": q.exp() * (q - p)}[kind].sum(-1)[rows]


def wanted(world, *terms):
    """The gradient of the sum over replies of their chance times the weighted divergences.

    Args:
        world: the tutor and the teacher.
        *terms: for each a kind of divergence, its factor, and the definition of its weights.
    """
    loss = torch.zeros((), dtype=torch.float64)
    for reply, (kind, factor, weights) in itertools.product(REPLIES, terms):
        weight = torch.tensor(weights(Reply(world, reply)), dtype=torch.float64)
        loss = loss + float(world.chance(reply)) * factor * (weight * divergence(world, kind, reply)).sum()
    (gradient,) = torch.autograd.grad(loss, world.logits)
    return gradient.numpy()


@pytest.mark.parametrize("objective", [SAMPLED, FORWARD, REVERSE], ids=lambda one: one["kind"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_expected_gradient_is_that_of_the_definition(world, weighted_config, objective, name):
    settings, weights = DEFINITIONS[name]
    gradient = found(world, weighted_config(objective, settings))
    by_definition = wanted(world, (objective["kind"], 1.0, weights))
    np.testing.assert_allclose(gradient, by_definition, atol=1e-6)
    plain = wanted(world, (objective["kind"], 1.0, lambda reply: [1.0] * LENGTH))
    assert np.abs(by_definition - plain).max() > 1e-2, "the weights change nothing"


@pytest.mark.parametrize("reverse", ["everywhere", "elsewhere"])
def test_the_entropy_gate_trains_forward_kl_where_the_teacher_is_unsure(world, weighted_config, reverse):
    settings = [{"kind": "entropy_gate", "threshold": 0.9, "k": SIZE, "reverse": reverse}, "position"]

    def forward(r):
        return [w * g for w, g in zip(iw(r), gate(r), strict=True)]

    kept = iw if reverse == "everywhere" else lambda r: [w * (1 - g) for w, g in zip(iw(r), gate(r), strict=True)]
    by_definition = wanted(world, ("sampled_reverse_kl", 1.0, kept), ("forward_kl", 0.5, forward))
    np.testing.assert_allclose(found(world, weighted_config(BOTH, settings)), by_definition, atol=1e-6)
    unsure = [weight for reply in REPLIES for weight in gate(Reply(world, reply))]
    assert 0.1 < np.mean(unsure) < 0.9


@pytest.fixture
def moved(world):
    """Replies that an older tutor sampled, and that tutor's log-probabilities of them."""
    noise = np.random.default_rng(1).normal(size=world.tutor.shape)
    old = torch.log_softmax(torch.tensor(world.tutor + noise), -1).numpy()
    return {reply: replace(scored(world, reply), tutor=(old[world.rows(reply), list(reply)],)) for reply in REPLIES}


@pytest.mark.parametrize("measure", ["probability", "log_ratio"])
def test_the_trust_region_leaves_out_what_moved_with_its_advantage(world, weighted_config, moved, measure):
    """DPPO: no gradient where the probability rose too far and should rise, or fell too far and should fall."""
    config = weighted_config(SAMPLED, [{"kind": "trust_region", "measure": measure, "bound": BOUND}])
    q = torch.log_softmax(world.logits, -1)
    loss, left_out = torch.zeros((), dtype=torch.float64), []
    for reply, one in moved.items():
        rows, old = world.rows(reply), torch.tensor(one.tutor[0])
        now = q[rows, list(reply)]
        advantage = torch.tensor(world.teacher[rows, list(reply)]) - old
        change = (now.detach() - old) if measure == "log_ratio" else now.detach().exp() - old.exp()
        is_out = ((advantage > 0) & (change > BOUND)) | ((advantage < 0) & (change < -BOUND))
        left_out += is_out.tolist()
        loss = loss - old.sum().exp() * ((~is_out) * (now - old).exp() * advantage).sum()
    (by_definition,) = torch.autograd.grad(loss, world.logits)
    np.testing.assert_allclose(found(world, config, moved), by_definition.numpy(), atol=1e-6)
    assert 0.05 < np.mean(left_out) < 0.6


def test_without_advantages_the_trust_region_leaves_out_what_moved_at_all(world, weighted_config, moved):
    config = weighted_config(FORWARD, [{"kind": "trust_region", "bound": BOUND}])
    loss, share = torch.zeros((), dtype=torch.float64), []
    for reply, one in moved.items():
        now = world.tutor[world.rows(reply), list(reply)]
        kept = torch.tensor(np.abs(np.exp(now) - np.exp(one.tutor[0])) <= BOUND)
        share += kept.tolist()
        loss = loss + float(np.exp(one.tutor[0].sum())) * (kept * divergence(world, "forward_kl", reply)).sum()
    (by_definition,) = torch.autograd.grad(loss, world.logits)
    np.testing.assert_allclose(found(world, config, moved), by_definition.numpy(), atol=1e-6)
    assert 0.1 < np.mean(share) < 0.9


@pytest.mark.parametrize("alpha", [-0.5, 0.8, 1.5])
def test_teachers_with_a_sign_train_towards_their_residual(world, make_config, alpha):
    """KL(q || p0 (p1 / p0)^alpha): the anchored residual; with another sign of alpha the contrast."""
    first, other = world.teacher, World(SIZE, k=SIZE, seed=1).teacher
    world.teacher = average([first, other], [1.0 - alpha, alpha], "log_mean", 50.0)
    (gradient,) = world.expected(make_config())
    q = torch.log_softmax(world.logits, -1)
    residual = torch.tensor(first) + alpha * torch.tensor(other - first)
    loss = (torch.tensor(world.visits()) * (q.exp() * (q - residual)).sum(-1)).sum()
    (by_definition,) = torch.autograd.grad(loss, world.logits)
    np.testing.assert_allclose(gradient, by_definition.numpy(), atol=1e-6)


def test_a_dialogue_that_a_gate_leaves_out_makes_no_data(world, weighted_config):
    for objective in (SAMPLED, FORWARD):
        config = weighted_config(objective, [rewarding(kind="reward_gate")])
        counts = [len(make_examples(weigh([[scored(world, r)]], config, STEP, VERSION), config, STEP)) for r in REPLIES]
        assert counts == [int(reward(reply) >= 0.5) for reply in REPLIES]


@pytest.mark.parametrize(
    ("objective", "loss_fn", "size"), [(SAMPLED, "ppo", 2), (FORWARD, "ppo", 2), (SAMPLED, "gspo", 3)]
)
def test_data_end_with_the_last_token_that_trains(world, weighted_config, objective, loss_fn, size):
    """Unless the loss counts tokens without an advantage."""
    options = {"loss_fn": loss_fn} if objective is SAMPLED else {"rewards": ["solved"]}
    config = weighted_config(objective, [{"kind": "prefix", "tokens": 2}], **options)
    (example,) = make_examples(weigh([[scored(world, (0, 2, 1))]], config, STEP, VERSION), config, STEP)
    sizes = {len(value.to_numpy()) for value in example.datum.loss_fn_inputs.values()}
    assert sizes == {len(example.datum.model_input.to_ints()), len(example.mask)} == {size}


def test_weights_change_no_denominator_and_no_reward(world, weighted_config):
    """`normalize_length` divides by the trained tokens, of which a weight of 0 is one; a reward is added unweighted."""
    one, other = scored(world, (0, 2, 1)), scored(world, (0, 1, 1))
    plain = SAMPLED | {"normalize_length": True}

    def advantages(weights, **changes):
        config = weighted_config(plain, weights, **changes)
        examples = make_examples(weigh([[one, other]], config, STEP, VERSION), config, STEP)
        values = examples[0].datum.loss_fn_inputs["advantages"].to_numpy()
        return np.append(values, np.zeros(LENGTH - len(values)))

    whole, first = advantages([]), advantages([{"kind": "prefix", "tokens": 1}])
    np.testing.assert_allclose(first, whole * [1, 0, 0], rtol=1e-6)
    rewarded = advantages([{"kind": "prefix", "tokens": 1}], reward_coef=2.0)
    np.testing.assert_allclose(rewarded - first, [2.0 * (1.0 - 0.25) / 2] * 3, rtol=1e-5)
