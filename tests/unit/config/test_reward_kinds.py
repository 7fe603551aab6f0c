"""What a config says of rewards, and refuses of them."""

import pytest

from socratic_distill import ConfigError, JudgeReward, OutcomeReward, SolveRateReward, UntrustedConfig
from socratic_distill.config.named_models import is_judge, named_models, with_known_names, with_names
from socratic_distill.config.rewards import judge_rewards, reward_names
from socratic_distill.cost.costs import models_of
from socratic_distill.run.directory import load_config
from socratic_distill.service.endpoints import check_endpoints

JUDGE = {"kind": "judge", "model_name": "Qwen3-8B"}
REMOTE = {"kind": "judge", "name": "far", "model_name": "gpt-x", "endpoint": {"base_url": "http://127.0.0.1:9/v1"}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rewards": {"kind": "judge"}}, r"rewards.0.judge.model_name is missing"),
        ({"rewards": {"kind": "solve_rate", "samples": 0}}, r"rewards.0.solve_rate.samples=0"),
        ({"rewards": {"kind": "solve_rate", "veto": "hard"}}, r"it has no field 'veto'"),
        ({"rewards": JUDGE | {"penalty": 2.0}}, r"penalty=2 has no effect without veto"),
        ({"rewards": JUDGE | {"veto": "hard", "weight": 2.0}}, r"weight=2 has no effect with veto='hard'; set penalty"),
        ({"rewards": JUDGE | {"veto": "maybe"}}, r"rewards.0.judge.veto='maybe'"),
        ({"rewards": JUDGE | {"rubric": "kind", "rubric_file": "kind.txt"}}, r"has rubric and rubric_file; keep one"),
        ({"rewards": JUDGE | {"rubric": " "}}, r"rewards.0.judge.rubric"),
        ({"rewards": JUDGE | {"name": "a/b"}}, r"rewards.0.judge.name='a/b'"),
        ({"rewards": JUDGE | {"enable_thinking": True, "reasoning": "on"}}, r"rewards\[0\].enable_thinking and"),
        ({"rewards": [JUDGE, JUDGE]}, r"rewards holds the name 'judge' more than once; give each judge its own"),
        ({"rewards": ["solved", JUDGE | {"name": "solved"}]}, r"the name 'solved' more than once"),
        ({"rewards": ["solve_rate", {"kind": "solve_rate", "samples": 2}]}, r"'solve_rate' more than once; keep one"),
        ({"reward_normalization": "group"}, r"reward_normalization='group' has no effect without rewards"),
        ({"reward_normalization": "batch", "rewards": "solved"}, r"reward_normalization='batch'"),
        (
            {"reward_normalization": "group", "rewards": ["solve_rate", JUDGE | {"veto": "hard"}]},
            r"'judge' has veto='hard', .*; set veto='soft', or leave reward_normalization out",
        ),
    ],
)
def test_rewards_that_cannot_be_meant_are_refused(make_config, fields, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**fields)


def test_short_forms_and_defaults(make_config):
    rewards = make_config(rewards=["solve_rate", JUDGE, "solved"]).rewards
    assert rewards == (SolveRateReward(), JudgeReward(model_name="Qwen3-8B"), OutcomeReward(kind="solved"))
    assert (rewards[0].samples, rewards[0].less_before, rewards[1].veto) == (8, False, None)


def test_every_reward_has_a_name_of_its_own(make_config):
    function = {"kind": "function", "function": "a:grade"}
    rewards = make_config(
        rewards=["solved", function, function | {"function": "b:grade"}, JUDGE | {"name": "x"}]
    ).rewards
    assert reward_names(rewards) == ("solved", "grade", "grade_2", "x")


def test_models_of_judges_are_named_but_those_on_endpoints(make_config):
    config = make_config(rewards=["solved", JUDGE, REMOTE])
    assert {field: name for field, name in named_models(config).items() if "rewards" in field} == {
        "rewards[1].model_name": "Qwen3-8B"
    }
    assert [field for field in named_models(config) if is_judge(field)] == ["rewards[1].model_name"]
    full = with_known_names(config)
    assert [judge.model_name for _, judge in judge_rewards(full.rewards)] == ["Qwen/Qwen3-8B", "gpt-x"]
    other = with_names(full, lambda field, name: "other" if is_judge(field) else name)
    assert [judge.model_name for _, judge in judge_rewards(other.rewards)] == ["other", "gpt-x"]
    assert other.rewards[0] == config.rewards[0]
    assert models_of(full)["judge"] == {"Qwen/Qwen3-8B", "gpt-x"}


def test_an_endpoint_of_a_judge_needs_its_key_and_the_users_word(make_config, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = make_config(rewards=REMOTE)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        check_endpoints(config)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(config.model_dump_json())
    with pytest.raises(UntrustedConfig, match="--allow-server"):
        check_endpoints(load_config(run))
