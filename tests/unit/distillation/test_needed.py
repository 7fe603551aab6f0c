import pytest

from socratic_distill import Seed
from socratic_distill.dialogues.dialogue import Dialogue, StopReason, Turn
from socratic_distill.dialogues.reward_sums import terms_of
from socratic_distill.dialogues.rewards import Rewarded
from socratic_distill.distillation.datums import Span, TokenSequence, merge_turns
from socratic_distill.distillation.needed import Needed, cut, needed_scores, waits_for_rewards

HEARD = Turn("student", "Hm.", (), (), (), (), 0, "stop")
PREFIX = {"kind": "prefix", "tokens": 2}
GATE = {"kind": "reward_gate", "reward": "solved"}
GATED = {"rewards": ["solved", "not_telling"], "reward_coef": 0.0}


def said(length: int, stop_reason: StopReason = "stop", thought: int = 0) -> Turn:
    tokens = tuple(range(length))
    return Turn("tutor", "So?", (9,), tokens, tokens, (-1.0,) * length, 0, stop_reason, thought)


def dialogue_of(*turns, recording=None):
    every = tuple(turn for own in turns for turn in (HEARD, own))
    return Dialogue(Seed("s", "q", "1"), 0, 0, every, "max_turns", recording=recording)


def rewarded(config, *values):
    return Rewarded(dict(zip(("solved", "not_telling"), values, strict=True)), terms_of(config.rewards, list(values)))


@pytest.mark.parametrize(
    ("fields", "lengths"),
    [
        ({}, (4, 3)),
        ({"token_weights": [PREFIX]}, (2, 2)),
        ({"token_weights": [PREFIX], "skip_first_tokens": 1}, (3, 3)),
        ({"token_weights": [{**PREFIX, "tokens": 9}]}, (4, 3)),
        ({"token_weights": [PREFIX, "entropy", "freshness"], "num_substeps": 3}, (2, 2)),
        ({"cut_replies": "mask"}, (4, 0)),
        ({"skip_first_tokens": 3}, (4, 0)),
        ({"skip_first_tokens": 4}, (0, 0)),
        ({"cut_replies": "mask", "score_untrained": True}, (4, 3)),
        # Each of these lets a token depend on the scores of later ones.
        ({"token_weights": [PREFIX, "disagreement"]}, (4, 3)),
        ({"token_weights": [PREFIX, "position"]}, (4, 3)),
        ({"token_weights": [PREFIX], "kl_discount_factor": 0.5}, (4, 3)),
        ({"token_weights": [PREFIX], "objective": {"kind": "sampled_reverse_kl", "baseline": "group"}}, (4, 3)),
        ({"token_weights": [PREFIX], "objective": "control_shuffled_teacher"}, (4, 3)),
        ({"token_weights": [PREFIX], "objective": {"kind": "forward_kl"}}, (2, 2)),
    ],
)
def test_scores_are_needed_as_far_as_something_is_trained(make_config, fields, lengths):
    config = make_config(**fields)
    assert needed_scores(dialogue_of(said(4), said(3, "length")), config).lengths == lengths


def test_recordings_have_no_weights(make_config, tmp_path):
    (tmp_path / "talk.jsonl").write_text("{}\n")
    recordings = {"files": [tmp_path / "talk.jsonl"], "objective": {"kind": "forward_kl"}, "on_policy_fraction": 0.5}
    config = make_config(token_weights=[PREFIX], recordings=recordings)
    assert needed_scores(dialogue_of(said(4), recording="r"), config) == Needed((4,))
    assert needed_scores(dialogue_of(said(4)), config) == Needed((2,))


@pytest.mark.parametrize(
    ("fields", "values", "needed"),
    [
        ({}, (1.0, 1.0), Needed((4,))),
        ({}, (0.0, 1.0), Needed((0,), tutor=False)),
        ({"reward_coef": 1.0}, (0.0, 1.0), Needed((0,))),
        ({"cut_replies": "penalize"}, (0.0, 1.0), Needed((0,))),
        ({"token_weights": [{**GATE, "failure": 0.5}]}, (0.0, 1.0), Needed((4,))),
        ({"token_weights": [{**GATE, "success": 0.0, "failure": 1.0}]}, (1.0, 1.0), Needed((0,), tutor=False)),
        ({"objective": {"kind": "sampled_reverse_kl", "baseline": "group"}}, (0.0, 1.0), Needed((4,))),
        ({"score_untrained": True}, (0.0, 1.0), Needed((4,))),
    ],
)
def test_a_closed_gate_needs_no_score(make_config, fields, values, needed):
    config = make_config(**({"token_weights": [GATE], **GATED} | fields))
    assert needed_scores(dialogue_of(said(4)), config, rewarded(config, *values)) == needed
    assert needed_scores(dialogue_of(said(4)), config) == Needed((4,)), "the reward is not known yet"


def test_rewards_come_first_only_where_a_gate_may_close(make_config):
    def waits(*weights, **fields):
        return waits_for_rewards(make_config(token_weights=list(weights), **GATED, **fields))

    assert waits(GATE) and waits({**GATE, "success": 0.0, "failure": 1.0})
    assert not waits({**GATE, "failure": 0.5}) and not waits("sign_gate") and not waits(GATE, score_untrained=True)


def test_a_request_ends_with_the_last_token_that_needs_a_score():
    whole = merge_turns([([1], [2, 3]), ([1, 2, 3, 4], [5, 6, 7]), ([1, 4], [8, 9])])
    assert cut(whole, (2, 3, 2)) == whole
    assert cut(whole, (2, 1, 0)) == [TokenSequence((1, 2, 3, 4, 5), (Span(0, 1, 3), Span(1, 4, 5)))]
    assert cut(whole, (1, 3, 1)) == [whole[0], TokenSequence((1, 4, 8), (Span(2, 2, 3),))], "the middle comes with it"
    assert cut(whole, (0, 2, 0)) == [TokenSequence((1, 2, 3, 4, 5, 6), (Span(1, 4, 6),))], "from the first needed turn"
    assert cut(whole, (0, 0, 0)) == []
