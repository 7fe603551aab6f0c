"""Runs on the fake whose rewards ask models: what they train, count, cost and refuse, and that they resume exactly."""

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.chat_server import ChatServer
from tests.support.on_the_fake import strict_run, train_on_fake, train_until_it_dies, train_virtually
from tests.support.rows import read_rows, rows_but_recoveries

from socratic_distill import CostLimitReached, PreflightError, RolloutError, SocraticError, evaluate, preflight
from socratic_distill.distillation.objective import make_examples
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault, Latency, VirtualServiceClient
from socratic_distill.training import loop

ASYNC = {"kind": "function", "function": f"{__name__}:length_later", "weight": 0.01}
REWARDS = [{"kind": "solve_rate", "samples": 3, "less_before": True}, ASYNC]
PRICES = {name: {"prefill": 0.13, "sample": 0.4, "train": 0.4} for name in ("small", "pupil", "gpt-x")}


async def length_later(dialogue) -> float:
    await asyncio.sleep(0)
    return float(sum(len(turn.tokens) for turn in dialogue.turns))


async def refuses_one(dialogue) -> float:
    if (dialogue.step, dialogue.number) == (0, 1):
        raise ValueError("no such thing")
    return 1.0


def opinion(messages, seed):
    """A judge that goes by what it reads, and sometimes gives no verdict."""
    said = sum(map(ord, messages[0]["content"].partition("quotation marks")[2]))
    return ("It asks.\nVERDICT: ACCEPT", "VERDICT: REJECT", "Hm.")[said % 3]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-and-secret")


def judge_at(server: ChatServer, **fields: Any) -> dict[str, Any]:
    endpoint = {"base_url": server.url, "max_concurrent_requests": 4}
    return {"kind": "judge", "model_name": "gpt-x", "endpoint": endpoint} | fields


def run_files(config) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    metrics, dialogues = (read_rows(Path(config.log_path) / f"{name}.jsonl") for name in ("metrics", "dialogues"))
    return metrics, dialogues


@pytest.mark.parametrize("veto", ["soft", "hard"])
def test_data_hold_the_advantages_of_the_objectives_formula(make_config, tmp_path, monkeypatch, veto):
    """r = r_sol + (r_ped - 1) lambda, or -lambda in its place, minus the group's mean; unknown values are neutral."""
    made = []

    def kept(groups, config, step):
        examples = make_examples(groups, config, step)
        made.extend((group, examples) for group in groups)
        return examples

    monkeypatch.setattr(loop, "make_examples", kept)
    with ChatServer(opinion) as server:
        config = make_config(
            rewards=[{"kind": "solve_rate", "samples": 8}, judge_at(server, veto=veto, penalty=0.5)],
            kl_penalty_coef=0.0, num_envs=4, max_steps=1, groups_per_minibatch=1,
        )  # fmt: skip
        strict_run(config)
    assert len(made) == 3 and len({row["rewards"]["judge"] for row in run_files(config)[1]}) == 3
    for group, examples in made:
        values = [scored.rewarded.values for scored in group]
        r_sol = [value["solve_rate"] for value in values]
        r_ped = [value["judge"] for value in values]
        if veto == "soft":
            known = [(ped - 1) * 0.5 for ped in r_ped if ped is not None]
            paid = [np.mean(known) if ped is None else (ped - 1) * 0.5 for ped in r_ped]
            formula = np.add(r_sol, paid)
        else:
            formula = np.array([-0.5 if ped == 0 else sol for sol, ped in zip(r_sol, r_ped, strict=True)])
        expected = formula - formula.mean()
        assert len(examples) == len(group)
        for example, advantage in zip(examples, expected, strict=True):
            found = example.datum.loss_fn_inputs["advantages"].to_numpy()[example.mask]
            assert found == pytest.approx(advantage, abs=1e-6)


def test_rewards_by_models_are_in_rows_metrics_and_costs(make_config):
    with ChatServer(opinion) as server:
        config = make_config(
            rewards=[*REWARDS, judge_at(server, name="style", veto="soft")], max_steps=2, prices=PRICES
        )
        service = FakeServiceClient()
        train_on_fake(service, config)
        metrics, dialogues = run_files(config)
        assert len(server.asked) == len(dialogues) == 12
    for step, row in enumerate(metrics):
        own = [dialogue for dialogue in dialogues if dialogue["step"] == step]
        for name in ("solve_rate", "length_later", "style"):
            known = [value for dialogue in own if (value := dialogue["rewards"][name]) is not None]
            assert row[f"reward/{name}"] == (pytest.approx(np.mean(known)) if known else None)
        assert row["reward/style/unparsed"] == sum(dialogue["rewards"]["style"] is None for dialogue in own)
        assert row["reward_vetoed"] == np.mean([dialogue["rewards"]["style"] == 0 for dialogue in own])
        assert (row["prompt_tokens/judge"], row["sampled_tokens/judge"]) == (11 * 6, 7 * 6)
        assert row["reward"] == pytest.approx(np.mean([dialogue["reward"] for dialogue in own]))
        assert row["cost/usd"] > 0
    asked = [call for call in service.calls if call.call == "sample" and call.arguments["num_samples"] == 3]
    assert len(asked) == 2 * (3 + 6), "before for each group, after for each dialogue"
    assert all(row["sampled_tokens/student"] > row["tokens/student"] for row in metrics)


def test_tokens_of_rewards_are_counted_to_the_token(make_config):
    """What the service served to the students equals the rows' tokens."""
    config = make_config(rewards=REWARDS, max_steps=2, teacher_model_name="mentor", tutor_model_name="small")
    service = train_virtually(VirtualServiceClient(Latency()), config)
    served = [one for one in service.ledger if one.call == "sample" and one.model == "pupil"]
    metrics, _ = run_files(config)
    assert sum(row["prompt_tokens/student"] for row in metrics) == sum(one.prompt_tokens for one in served)
    assert sum(row["sampled_tokens/student"] for row in metrics) == sum(one.output_tokens for one in served)


@pytest.mark.parametrize("normalization", ["none", "group"])
def test_a_resumed_run_equals_a_whole_one(make_config, tmp_path, normalization):
    with ChatServer(opinion) as server:
        rewards = [*REWARDS, judge_at(server, name="style"), judge_at(server, name="leak", veto="soft")]
        fields = {"rewards": rewards, "reward_normalization": normalization, "num_envs": 3}
        whole = make_config(**fields, log_path=tmp_path / "whole")
        train_on_fake(FakeServiceClient(), whole)
        parts = make_config(**fields, log_path=tmp_path / "parts")
        train_until_it_dies(tmp_path / "server", parts, steps=3)
        train_on_fake(FakeServiceClient(tmp_path / "server"), parts)
    assert rows_but_recoveries(parts.log_path) == rows_but_recoveries(whole.log_path)
    found = rows_but_recoveries(whole.log_path)[1]
    assert len({row["rewards"]["style"] for row in found}) == 3 and len(found) == 54


def test_two_rewards_on_a_busy_endpoint_train_to_the_same_rows(make_config, tmp_path):
    rows = []
    for name, fails in (("calm", lambda number: None), ("busy", lambda number: 429 if number % 7 == 3 else None)):
        with ChatServer(opinion, fails) as server:
            config = make_config(rewards=[judge_at(server), "solve_rate"], log_path=tmp_path / name, max_steps=2)
            train_on_fake(FakeServiceClient(), config)
        rows.append(rows_but_recoveries(config.log_path))
    assert rows[0] == rows[1]


def test_rewards_may_stand_beside_distillation_and_dialogues_run_ahead(make_config):
    config = make_config(rewards=REWARDS, objective="reverse_kl", max_staleness=2, max_steps=4)
    strict_run(config)
    metrics, _ = run_files(config)
    assert max(row["staleness/max"] for row in metrics) == 2
    assert all(row["reward/solve_rate"] is not None and row["end/failed"] == 0 for row in metrics)


def test_failed_rewards_fail_their_dialogue_as_other_requests_do(make_config):
    config = make_config(rewards={"kind": "function", "function": f"{__name__}:refuses_one"}, max_failed_fraction=0.5)
    train_on_fake(FakeServiceClient(), config.model_copy(update={"max_steps": 1}))
    (row,), dialogues = run_files(config)
    failed = [dialogue for dialogue in dialogues if dialogue["ending"] == "failed"]
    assert row["end/failed"] == len(failed) == 3 and row["reward/refuses_one"] == 1.0
    assert all("refuses_one' raised ValueError: no such thing" in dialogue["error"] for dialogue in failed)
    assert all(dialogue["reward"] is None and "rewards" not in dialogue for dialogue in failed)


def test_failed_attempts_before_fail_the_group(make_config):
    """The student's first request is the opening of a group, the second its attempts."""
    service = FakeServiceClient(faults=[Fault("sample", nth=2, error=400)])
    with pytest.raises(RolloutError, match="the student's attempts before the dialogue failed"):
        train_on_fake(service, make_config(rewards=REWARDS, groups_per_batch=1))


def test_a_judge_that_refuses_ends_the_run_with_its_reason(make_config):
    refused = pytest.raises(RolloutError, match=r"the judge 'judge' in rewards failed: .*AuthenticationError")
    with ChatServer(opinion, lambda number: 401) as server, refused as caught:
        train_on_fake(FakeServiceClient(), make_config(rewards=judge_at(server)))
    assert "sk-planted" not in str(caught.value)


def test_a_lost_service_reopens_and_the_run_goes_on(make_config, tmp_path):
    whole = make_config(rewards=REWARDS, log_path=tmp_path / "whole")
    train_on_fake(FakeServiceClient(), whole)
    config = make_config(rewards=REWARDS)
    service = FakeServiceClient(tmp_path / "server", faults=[Fault("optim_step", nth=3)])
    assert train_on_fake(service, config).status == "completed"
    assert rows_but_recoveries(config.log_path) == rows_but_recoveries(whole.log_path)


def test_a_short_name_of_a_judge_means_the_same_model_on_resume(make_config):
    """The service alone knows the full name."""
    models = ["lab/small", "lab/pupil", "lab/judge-x"]
    service = FakeServiceClient(models=models)
    config = make_config(rewards={"kind": "judge", "model_name": "judge-x"}, max_steps=2)
    train_on_fake(service, config)
    assert train_on_fake(service, config.model_copy(update={"max_steps": 4})).status == "completed"
    assert len(run_files(config)[0]) == 4


# Refusals before anything is paid


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([{"kind": "judge", "model_name": "judge-x"}], r"rewards\[0\].model_name='judge-x' is none of"),
        (
            ["solved", {"kind": "judge", "model_name": "small", "prompt_file": "no.txt"}],
            r"prompt file 'no.txt' cannot be read",
        ),
        (
            [{"kind": "judge", "model_name": "g", "endpoint": {"base_url": "http://127.0.0.1:9/v1"}}],
            "OPENAI_API_KEY is not set",
        ),
        ([{"kind": "function", "function": f"{__name__}:no_such"}], "has no 'no_such'"),
    ],
)
def test_rewards_that_cannot_be_given_are_refused_before_a_request(make_config, monkeypatch, rewards, message):
    monkeypatch.delenv("OPENAI_API_KEY")
    service = FakeServiceClient(models=["small", "pupil"])
    config = make_config(rewards=rewards)
    seen = preflight(config, service_client=service, rest_client=FakeRestClient(service))
    assert len([problem for problem in seen.problems if re.search(message, str(problem))]) == 1, seen.problems
    with pytest.raises(SocraticError, match=message) as caught:
        train_on_fake(service, config)
    assert not isinstance(caught.value, PreflightError), "one problem is reported once"
    assert service.count("sample") == 0 and not (Path(config.log_path) / "metrics.jsonl").exists()


def test_preflight_opens_the_judges_and_finds_nothing(make_config):
    service = FakeServiceClient()
    config = make_config(rewards=[{"kind": "judge", "model_name": "judge-x"}, *REWARDS])
    seen = preflight(config, service_client=service, rest_client=FakeRestClient(service))
    assert seen.problems == () and seen.models["rewards[0].model_name"] == "judge-x"


def test_evaluations_ask_no_judge_of_rewards(make_config):
    with ChatServer(opinion) as server:
        config = make_config(rewards=[judge_at(server), *REWARDS], eval_seeds=2)
        service = FakeServiceClient()
        evaluate(config, "base", service_client=service, rest_client=FakeRestClient(service))
        assert server.asked == []


# Costs


def test_a_cost_limit_sees_what_rewards_cost(make_config, tmp_path):
    service = FakeServiceClient()
    spent = {}
    for name, rewards in (("without", ()), ("with", [{"kind": "solve_rate", "samples": 16}])):
        config = make_config(rewards=rewards, prices=PRICES, max_steps=3, log_path=tmp_path / name)
        train_on_fake(service, config)
        spent[name] = sum(row["cost/usd"] for row in run_files(config)[0])
    assert spent["with"] > 1.2 * spent["without"]
    limited = config.model_copy(update={"log_path": str(tmp_path / "limited"), "max_cost_usd": 0.6 * spent["with"]})
    with pytest.raises(CostLimitReached):
        train_on_fake(service, limited)
