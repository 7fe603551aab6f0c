"""`max_cost_usd` on the fake: a run stops before it with a state saved, and a higher one resumes it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows

from socratic_distill import ConfigError, CostLimitReached, estimate_cost, train, train_async
from socratic_distill.testing import FakeRestClient, FakeServiceClient

PRICES = {name: {"prefill": 0.13, "sample": 0.4, "train": 0.4} for name in ("small", "pupil")}


def spent(log_path: Path) -> float:
    rows = read_rows(log_path / "metrics.jsonl")
    return sum(row["cost/usd"] for row in rows)


@pytest.mark.parametrize("staleness", [0, 2])
def test_run_stops_before_its_cost_limit_and_a_higher_limit_resumes_it(make_config, tmp_path, staleness):
    """It saves a state before it stops."""
    options: dict[str, Any] = {"max_steps": 8, "save_every": 100, "max_staleness": staleness}
    service = FakeServiceClient()

    def run(name: str, **changes: Any) -> Any:
        config = make_config(log_path=tmp_path / name, prices=PRICES, **options | changes)
        return train_on_fake(service, config)

    run("whole")
    limit = 0.6 * spent(tmp_path / "whole")
    with pytest.raises(
        CostLimitReached, match=r"exceeds max_cost_usd=.*higher max_cost_usd to resume.*state tinker://"
    ) as stopped:
        run("run", max_cost_usd=limit)
    assert stopped.value.exit_code == 3
    done = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert 0 < len(done) < 8 and spent(tmp_path / "run") <= limit
    if not staleness:
        assert spent(tmp_path / "run") > 0.7 * limit, "it stopped long before"

    asked = service.count("sample")
    with pytest.raises(CostLimitReached, match="no batch was done since the start"):
        run("run", max_cost_usd=limit)
    assert service.count("sample") == asked, "it sampled before it looked at what was spent"

    result = run("run", max_cost_usd=10 * limit)
    assert result.status == "completed"
    whole, resumed = (read_rows(tmp_path / name / "metrics.jsonl") for name in ("whole", "run"))
    assert resumed[: len(done)] == done and [row["step"] for row in resumed] == list(range(8))
    if not staleness:
        assert resumed == whole


def test_steps_that_ran_twice_count_towards_the_limit(make_config, tmp_path):
    config = make_config(prices=PRICES, max_steps=4, save_every=2)
    service = FakeServiceClient()
    train_on_fake(service, config)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    before = estimate_cost(config).spent_usd
    (tmp_path / "run" / "metrics.superseded.jsonl").write_text(rows + "torn {")
    assert estimate_cost(config).spent_usd == pytest.approx(2 * before)


def test_evaluations_count_towards_the_limit(make_config, tmp_path):
    options: dict[str, Any] = {"max_steps": 8, "eval_every": 1, "eval_seeds": 2, "eval_dialogues_per_seed": 6}
    service = FakeServiceClient()

    def run(name: str, **changes: Any) -> None:
        train(
            make_config(log_path=tmp_path / name, prices=PRICES, **options | changes),
            service_client=service,
            rest_client=FakeRestClient(service),
        )

    run("whole")
    steps = spent(tmp_path / "whole")
    with pytest.raises(CostLimitReached):
        run("run", max_cost_usd=1.5 * steps)
    assert spent(tmp_path / "run") < steps


def test_limit_that_cannot_be_kept_is_refused_before_anything_is_paid_for(make_config):
    service = FakeServiceClient()
    with pytest.raises(ConfigError, match="no single price is known for pupil, small"):
        train(make_config(max_cost_usd=1.0), service_client=service)
    assert not any(service.count(call) for call in ("sample", "compute_logprobs", "create_lora_training_client"))


def test_start_tells_the_estimate_and_where_the_limit_will_stop_the_run(make_config, capsys):
    config = make_config(prices=PRICES, display="plain", max_cost_usd=1e-6)
    with pytest.raises(CostLimitReached):
        train(config, service_client=FakeServiceClient())
    told = capsys.readouterr().out + capsys.readouterr().err
    assert "estimated cost" in told and "averages: defaults; prices: the config's" in told
    assert "max_cost_usd=1e-06 will stop it after about 0 more steps" in told


def test_start_without_prices_names_the_models_once_and_no_cost(make_config, capsys):
    train(make_config(display="plain"), service_client=FakeServiceClient())
    printed = capsys.readouterr().out
    assert printed.count("no price is known for pupil, small") == 1 and "estimated cost" not in printed


def test_limit_stops_a_run_that_is_awaited_without_leaving_tasks(make_config):
    config = make_config(prices=PRICES, max_steps=6, max_cost_usd=1e-6)

    async def main() -> set[Any]:
        with pytest.raises(CostLimitReached):
            await train_async(config, service_client=FakeServiceClient())
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()


def test_rows_of_another_tool_neither_cost_nor_stop_a_start(make_config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"progress/batch": 3}\n{"step": "five", "cost/usd": "much"}\n')
    found = estimate_cost(make_config(prices=PRICES))
    assert (found.steps, found.spent_usd, found.basis) == (6, 0.0, "defaults")
