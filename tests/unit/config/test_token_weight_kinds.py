"""Which token weights a config takes, in which forms, and which it refuses."""

from typing import get_args

import pytest

from socratic_distill import (
    ConfigError,
    DisagreementWeight,
    EntropyGate,
    EntropyWeight,
    PositionWeight,
    PrefixWeight,
    Schedule,
    SocraticConfig,
    WeightClip,
)
from socratic_distill.config.objectives import SampledReverseKL
from socratic_distill.config.token_weights import TokenWeight, TokenWeightName
from socratic_distill.config.wanted import Wanted, features_of_weights
from socratic_distill.distillation.token_weights import FACTORS
from socratic_distill.run.given_config import given_config

KINDS = get_args(get_args(TokenWeight)[0])
SAMPLED, FORWARD = {"kind": "sampled_reverse_kl"}, {"kind": "forward_kl"}
GATE = {"kind": "entropy_gate", "threshold": 1.0}


def test_every_kind_has_a_formula_or_a_place_of_its_own():
    names = {kind.model_fields["kind"].default for kind in KINDS}
    assert names - set(FACTORS) == {"entropy_gate", "clip", "trust_region"} and set(FACTORS) < names


def test_a_name_alone_selects_the_kinds_that_have_defaults():
    def is_whole(kind):
        return not any(field.is_required() for field in kind.model_fields.values())

    assert {kind.model_fields["kind"].default for kind in KINDS if is_whole(kind)} == set(get_args(TokenWeightName))


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ("position", (PositionWeight(),)),
        (["entropy", {"kind": "prefix", "tokens": 9}], (EntropyWeight(), PrefixWeight(tokens=9))),
        (
            PrefixWeight(tokens=Schedule(start=1.0, end=9.0, steps=2)),
            (PrefixWeight(tokens=Schedule(start=1.0, end=9.0, steps=2)),),
        ),
    ],
)
def test_short_and_full_forms_are_held_as_one(make_config, given, held):
    config = make_config(token_weights=given)
    assert config.token_weights == held
    assert SocraticConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_weights": "prefix"}, "tokens is missing"),
        ({"token_weights": {"kind": "prefix", "tokens": 0}}, "tokens"),
        ({"token_weights": {"kind": "prefix", "tokens": {"start": 0.5, "end": 3.0, "steps": 2}}}, "expected 1 or more"),
        ({"token_weights": {"kind": "entropy", "share": 0.0}}, "share=0.0"),
        ({"token_weights": "shuffled"}, "shuffled"),
        ({"token_weights": ["position", "position"]}, "'position' more than once; keep one"),
        ({"token_weights": {"kind": "clip", "high": 2.0}}, "'clip' alone"),
        ({"token_weights": {"kind": "clip", "low": 2.0, "high": 1.0}}, "low=2 is above high=1; swap them"),
        ({"token_weights": "freshness"}, "max_staleness=0 and num_substeps=1"),
        ({"token_weights": "trust_region", "max_probability_change": 0.5}, "max_probability_change=0.5 both leave out"),
        ({"token_weights": GATE}, "objective='sampled_reverse_kl' does not have both; set a mixture"),
        ({"token_weights": GATE, "objective": FORWARD}, "objective='forward_kl' does not have both"),
        ({"token_weights": "reward_gate"}, "there is none; add rewards, with reward_coef=0.0"),
        ({"token_weights": "sign_gate"}, "there is none; add rewards"),
        (
            {"token_weights": {"kind": "reward_gate", "reward": "solved"}, "rewards": ["not_telling"]},
            "names the reward 'solved'; expected one of 'not_telling'",
        ),
        (
            {
                "token_weights": {"kind": "reward_gate", "reward": "solved"},
                "rewards": [{"kind": "solved", "veto": "soft"}],
            },
            "expected one of none: each has a veto",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make_config, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**changes)


def test_weights_are_read_from_a_file_and_from_the_command_line(make_config, tmp_path):
    (tmp_path / "config.json").write_text(make_config(token_weights=["entropy", "position"]).model_dump_json())
    kinds = [weight.kind for weight in given_config(tmp_path / "config.json", ()).token_weights]
    assert kinds == ["entropy", "position"]
    (tmp_path / "c.yaml").write_text(
        "tutor_model_name: a\nstudent_model_name: b\nteacher_model_name: c\nlearning_rate: 1e-5\nmax_tokens: 40\n"
        "log_path: runs/a\ntoken_weights: [disagreement, {kind: prefix, tokens: 32}]\n"
    )
    changes = ("token_weights.0.share=0.25", "token_weights.2={kind: clip, high: 2.0}")
    expected = (DisagreementWeight(share=0.25), PrefixWeight(tokens=32), WeightClip(high=2.0))
    assert given_config(tmp_path / "c.yaml", changes).token_weights == expected
    only = given_config(tmp_path / "c.yaml", ("token_weights=[{kind: prefix, tokens: 8}]",)).token_weights
    assert only == (PrefixWeight(tokens=8),)


def test_recordings_alone_have_no_weights(make_config, tmp_path):
    (tmp_path / "recorded.jsonl").write_text('{"messages": []}\n')
    recordings = {"files": [tmp_path / "recorded.jsonl"]}
    with pytest.raises(ConfigError, match=r"on_policy_fraction=0.0 plays none"):
        make_config(token_weights="position", recordings=recordings)
    make_config(token_weights="position", recordings=recordings | {"on_policy_fraction": 0.5})


def test_weights_ask_for_the_entropies_that_they_look_at():
    weights = (EntropyWeight(k=7), EntropyGate(threshold=1.0, k=5), PositionWeight(), WeightClip(high=2.0))
    assert Wanted.of(SampledReverseKL(), weights) == Wanted(teacher_top=5, entropy_top=7)
    assert [Wanted.of(SampledReverseKL(), weights).reply_top(temperature) for temperature in (1.0, 0.5)] == [7, 0]
    nothing = {"position": frozenset(), "clip": frozenset()}
    of_teacher = {"entropy_gate": {"topk_prompt_logprobs"}}
    assert features_of_weights(weights, 1.0) == nothing | of_teacher | {"entropy": {"topk_sample_logprobs"}}
    assert features_of_weights(weights, 0.5) == nothing | of_teacher | {"entropy": {"topk_prompt_logprobs"}}
