import numpy as np
import pytest

from socratic_distill import Seed
from socratic_distill.config.objectives import ForwardKL, JensenShannon, MonteCarloKL, ReverseKL, SampledReverseKL
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.distillation.datums import merge_turns
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.scorer import Named
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.distillation.soft_targets import soften, weights

TURNS = [([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])]
HEARD = Turn("student", "Hm.", (), (), (), (), 0, "stop")
# Rows of the shifted sequence, targets 2 3 4 5 6, that are the tutor's.
TRAINED = np.array([False, True, True, False, True])


def named(ids, chances):
    return Named(np.array(ids), np.log(np.array(chances)))


TOP_OF_TEACHER = (named([[3, 7], [8, 4]], [[0.6, 0.3], [0.5, 0.2]]), named([[9, 6]], [[0.7, 0.1]]))
# The tutor's likeliest with the teacher's chances of them; 7 and 6 are the teacher's too.
TOP_OF_TUTOR = (named([[7, 2], [5, 1]], [[0.3, 0.01], [0.02, 0.03]]), named([[6, 2]], [[0.1, 0.05]]))
DRAWS = (named([[3, 3], [4, 5]], [[0.5, 0.5], [0.4, 0.1]]), named([[6, 1]], [[0.9, 0.05]]))
OF_DRAWS = (np.log([[0.6, 0.6], [0.2, 0.02]]), np.log([[0.1, 0.2]]))


def scored_dialogue():
    spoken = [Turn("tutor", "Why?", tuple(p), tuple(t), tuple(t), (-1.0,) * len(t), 0, "stop") for p, t in TURNS]
    dialogue = Dialogue(Seed("s", "q", "1"), 0, 0, tuple(turn for one in spoken for turn in (HEARD, one)))
    logprobs = tuple(np.full(len(turn.tokens), -1.0) for turn in spoken)
    return ScoredDialogue(
        dialogue, tuple(merge_turns(TURNS)), logprobs, logprobs, top_of_tutor=TOP_OF_TUTOR,
        top_of_teacher=TOP_OF_TEACHER, draws=DRAWS, of_draws=OF_DRAWS,
    )  # fmt: skip


def softened(one, coef=1.0):
    whole = scored_dialogue()
    found = soften(one, whole.sequences[0], whole, coef)
    assert found is not None
    return found


def test_sampled_tokens_alone_name_no_others():
    assert soften(SampledReverseKL(), scored_dialogue().sequences[0], scored_dialogue(), 1.0) is None


def test_named_tokens_are_in_the_row_of_their_target():
    found = softened(ForwardKL(k=2))
    expected = [[-1, -1], [3, 7], [8, 4], [-1, -1], [9, 6]]
    assert found.ids.tolist() == expected, "named tokens are not in the row of the target that they compete with"
    np.testing.assert_allclose(np.exp(found.teacher), [[0, 0], [0.6, 0.3], [0.5, 0.2], [0, 0], [0.7, 0.1]])


def test_k_cuts_what_a_mixture_asked_for_in_common():
    assert softened(ForwardKL(k=1)).ids[TRAINED].tolist() == [[3], [8], [9]]
    assert softened(ReverseKL(k=1)).ids[TRAINED].tolist() == [[7, 3], [5, 8], [6, 9]]


def test_token_that_both_find_likely_is_named_once():
    found = softened(ReverseKL(k=2))
    assert found.ids[TRAINED].tolist() == [[7, 2, 3, -1], [5, 1, 8, 4], [6, 2, 9, -1]]
    np.testing.assert_allclose(np.exp(found.teacher[1]), [0.3, 0.01, 0.6, 0.0])


@pytest.mark.parametrize(
    ("one", "needs"),
    [
        (ForwardKL(), False),
        (ForwardKL(tail="drop"), False),
        (ForwardKL(tail="bucket"), True),
        (ReverseKL(), True),
        (JensenShannon(), True),
        (MonteCarloKL(), True),
    ],
    ids=str,
)
def test_pass_forward_is_asked_for_only_where_the_weights_follow_from_it(one, needs):
    assert softened(one).needs_tutor == needs


def test_forward_kl_weights_are_the_teachers_chances_times_the_factor():
    now = np.zeros((5, 2))
    by_tail = {tail: weights([softened(ForwardKL(tail=tail), 2.0)], TRAINED, now) for tail in ("drop", "renormalize")}
    np.testing.assert_allclose(by_tail["drop"][1], [0.0, 1.2, 0.6])
    np.testing.assert_allclose(by_tail["renormalize"][1], [0.0, 1.2 / 0.9, 0.6 / 0.9])
    np.testing.assert_allclose(by_tail["renormalize"][TRAINED].sum(axis=1), 2.0)


@pytest.mark.parametrize("one", [ForwardKL(tail="bucket"), ReverseKL(), JensenShannon(beta=0.3)], ids=str)
def test_tutor_that_says_what_the_teacher_does_has_no_weights(one):
    found = softened(one)
    np.testing.assert_allclose(weights([found], TRAINED, found.teacher), 0.0, atol=1e-12)


@pytest.mark.parametrize("one", [ForwardKL(), ReverseKL(), JensenShannon(), MonteCarloKL()], ids=str)
def test_weights_are_zero_outside_the_mask_and_in_empty_slots(one):
    found = softened(one)
    mask = np.array([False, True, False, False, True])
    given = weights([found], mask, np.full(found.ids.shape, np.log(0.2)))
    assert np.isfinite(given).all()
    assert not given[~mask].any() and not given[:, 0].any(), "the token that stands there has weight by its name alone"
    assert not given[:, 1:][found.ids < 0].any()
    assert given[mask].any()


def test_raising_what_the_teacher_prefers_has_positive_weight():
    found = softened(ReverseKL(k=2))
    given = weights([found], TRAINED, np.full(found.ids.shape, np.log(0.2)))
    assert given[1, 3] > 0 > given[1, 2], "token 3 of 0.6 goes up, token 2 of 0.01 down"


def test_divergences_side_by_side_have_the_weights_that_each_has_alone():
    one, two = softened(ForwardKL()), softened(ReverseKL(k=1), 0.5)
    now = np.log(np.random.default_rng(0).uniform(0.05, 0.2, (5, 4)))
    both = weights([one, two], TRAINED, now)
    assert both.shape == (5, 5)
    np.testing.assert_allclose(both[:, 1:3], weights([one], TRAINED, now[:, :2])[:, 1:])
    np.testing.assert_allclose(both[:, 3:], weights([two], TRAINED, now[:, 2:])[:, 1:])


def test_draws_weigh_the_cost_that_each_has_over_the_others():
    found = softened(MonteCarloKL(k=2))
    given = weights([found], TRAINED, found.drawn)
    cost = np.log([0.4 / 0.2, 0.1 / 0.02])
    np.testing.assert_allclose(given[2, 1:], [(cost[1] - cost[0]) / 2, (cost[0] - cost[1]) / 2])
    assert not given[1].any(), "a token drawn twice has nothing over itself"


def test_draws_of_weights_that_moved_since_count_by_their_ratio():
    found = softened(MonteCarloKL(k=2))
    given = weights([found], TRAINED, found.drawn + np.log(2.0))
    np.testing.assert_allclose(given, 2 * weights([found], TRAINED, found.drawn))


def test_drift_is_not_measured_where_all_weights_are_0(make_config):
    # A service may return no log-probability there: the local engine computes them only where a weight is not 0.
    (example,) = make_examples([[scored_dialogue()]], make_config(objective={"kind": "monte_carlo_kl", "k": 2}), step=0)
    assert example.mask.tolist() == TRAINED.tolist()
    drawn = np.log(np.full((5, 3), 0.5))
    drawn[[1, 2, 4], 1:] = np.concatenate([one.logprobs for one in DRAWS])
    ready = example.reweighed(drawn)
    expected = [False, False, True, False, True]
    assert ready.mask.tolist() == expected, "a position without any weight is compared with the sampler"
