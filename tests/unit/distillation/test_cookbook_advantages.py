"""Our advantages beside those that tinker-cookbook's on-policy distillation gave to the same tokens.

Both take a token's signal to be coef * (log p_teacher - log p_tutor), and neither subtracts a mean. With a discount
they differ in what comes behind a token. Ours is the tutor's later tokens of the dialogue. The cookbook's is the later
places of the datum: the places between two turns, without a signal of their own, decay the sum too, and the sum ends
with the datum. `data_samples/cookbook/README.md` says how the sample was recorded.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from socratic_distill import Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.distillation.advantages import discounted
from socratic_distill.distillation.datums import merge_turns
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.scorer import span_scores
from socratic_distill.distillation.scoring import ScoredDialogue

SAMPLE = Path(__file__).parents[2] / "data_samples" / "cookbook" / "kl_penalty.json"
BATCHES = {batch["name"]: batch for batch in json.loads(SAMPLE.read_text())}
RESULTS = {
    f"{name}, coef {result['coef']}, discount {result['discount']}": (batch, result)
    for name, batch in BATCHES.items()
    for result in batch["results"]
}
HEARD = Turn("student", "Hm.", (), (), (), (), 0, "stop")


def assert_same(one, other):
    np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-6)


def results(*names, discounts=(0.0, 0.5, 1.0)):
    found = {key: one for key, one in RESULTS.items() if one[0]["name"] in names and one[1]["discount"] in discounts}
    return pytest.mark.parametrize(("batch", "result"), found.values(), ids=found)


def scored_dialogue(number: int, turns: list[dict[str, Any]], answers: dict[tuple[int, ...], list[float | None]]):
    """A dialogue of the sample, the teacher's view being the tutor's own: no prompt of its own."""
    spoken = [
        Turn("tutor", "?", (*one["prompt"],), (*one["tokens"],), (*one["tokens"],), (*one["logprobs"],), 0, "stop")
        for one in turns
    ]
    sequences = merge_turns((turn.prompt, turn.tokens) for turn in spoken)
    teacher = [score for one in sequences for score in span_scores(one, answers[one.tokens], "the teacher")]
    tutor = [np.asarray(turn.logprobs) for turn in spoken]
    dialogue = Dialogue(Seed("s", "q", "1"), 0, number, tuple(each for turn in spoken for each in (HEARD, turn)))
    return ScoredDialogue(dialogue, tuple(sequences), tuple(tutor), tuple(teacher))


@pytest.fixture
def ours_of(make_config):
    """Our training examples of a batch of the sample."""

    def make(batch, coef: float, discount: float):
        answers = {tuple(one["tokens"]): one["teacher_logprobs"] for one in batch["data"]}
        group = [scored_dialogue(number, turns, answers) for number, turns in enumerate(batch["dialogues"])]
        config = make_config(kl_penalty_coef=coef, kl_discount_factor=discount, num_envs=len(group))
        return make_examples([group], config, step=0)

    return make


def advantages(example):
    """Those of a datum's targets, `[N - 1]`."""
    return example.datum.loss_fn_inputs["advantages"].to_numpy()


def pairs(batch, result, ours_of):
    """Of each datum: where the tutor's tokens are, our advantages there, and the cookbook's."""
    examples = ours_of(batch, result["coef"], result["discount"])
    return [
        (one.mask, advantages(one)[one.mask], np.asarray(theirs)[one.mask])
        for one, theirs in zip(examples, result["advantages"], strict=True)
    ]


def test_sample_holds_every_batch_with_every_coefficient_and_discount():
    assert set(BATCHES) == {"one_turn", "several_turns", "split"}
    for batch in BATCHES.values():
        found = {(one["coef"], one["discount"]) for one in batch["results"]}
        assert found == {(coef, discount) for coef in (1.0, 0.3) for discount in (0.0, 0.5, 1.0)}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_dialogues_become_the_same_data(batch, ours_of):
    examples = ours_of(batch, 1.0, 0.0)
    tokens = [
        [*one.datum.model_input.to_ints(), int(one.datum.loss_fn_inputs["target_tokens"].to_numpy()[-1])]
        for one in examples
    ]
    assert tokens == [one["tokens"] for one in batch["data"]]


@results(*BATCHES, discounts=(0.0,))
def test_advantages_are_the_cookbooks_without_a_discount(batch, result, ours_of):
    for _, ours, theirs in pairs(batch, result, ours_of):
        assert_same(ours, theirs)
        assert np.abs(theirs).max() > 0.1, "the sample says nothing"


@results("one_turn")
def test_advantages_of_one_turn_are_the_cookbooks_at_any_discount(batch, result, ours_of):
    for _, ours, theirs in pairs(batch, result, ours_of):
        assert_same(ours, theirs)


@results("several_turns", discounts=(1.0,))
def test_undiscounted_advantages_of_several_turns_are_the_cookbooks(batch, result, ours_of):
    for _, ours, theirs in pairs(batch, result, ours_of):
        assert_same(ours, theirs)


@results("several_turns", discounts=(0.5,))
def test_only_the_cookbooks_discount_decays_over_tokens_between_turns(batch, result, ours_of):
    signals = [advantages(one).astype(float) for one in ours_of(batch, result["coef"], 0.0)]
    for signal, (mask, ours, theirs) in zip(signals, pairs(batch, result, ours_of), strict=True):
        assert_same(ours, discounted(signal[mask], result["discount"]))
        assert_same(theirs, discounted(signal, result["discount"])[mask])
        last = np.flatnonzero(np.diff(np.flatnonzero(mask)) > 1)[-1] + 1  # where the last turn begins
        assert_same(ours[last:], theirs[last:])
        assert (np.abs(ours - theirs)[:last] > 1e-3).all(), "the cookbook no longer decays between turns"


@results("split", discounts=(0.5, 1.0))
def test_the_cookbooks_sum_ends_with_the_datum_and_ours_with_the_dialogue(batch, result, ours_of):
    (_, ours, theirs), (_, ours_behind, theirs_behind) = pairs(batch, result, ours_of)
    assert_same(ours_behind, theirs_behind)
    places = np.arange(len(ours), 0, -1)  # from each token to the first of the second datum
    assert_same(ours, theirs + result["discount"] ** places * ours_behind[0])
    assert (np.abs(ours - theirs) > 1e-3).all()


@results(*BATCHES)
def test_only_in_the_cookbook_has_context_a_discounted_advantage(batch, result, ours_of):
    """Theirs reaches the places before a turn too, and the mask that says so is dropped before training."""
    examples = ours_of(batch, result["coef"], result["discount"])
    for one, theirs in zip(examples, result["advantages"], strict=True):
        # A prompt of one token is no target.
        context = np.asarray(theirs)[~one.mask]
        assert not advantages(one)[~one.mask].any(), "context has an advantage"
        assert (np.abs(context) > 1e-6).all() if result["discount"] else not context.any()
