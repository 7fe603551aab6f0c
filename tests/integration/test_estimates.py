"""Costs against the ledger of a virtual service: rows and evaluations to the token, estimates within 15 %."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.on_the_fake import train_virtually
from tests.support.rows import read_rows, write_rows

from socratic_distill import ConfigError, SocraticConfig, build_socratic_config, cli, estimate_cost, load_evaluations
from socratic_distill.cost.costs import Tariff, Use, evaluation_uses, step_uses, tariff_of
from socratic_distill.cost.workload import Part
from socratic_distill.testing import VirtualServiceClient
from socratic_distill.testing.scripted import ScriptedWeights, scripted_logprobs
from socratic_distill.testing.weights import Weights

pytestmark = pytest.mark.thinned

PRICES = {
    "tutor": {"prefill": 0.13, "sample": 0.4, "train": 0.4},
    "student": {"prefill": 0.98, "sample": 2.44, "train": 2.93},
    "teacher": {"prefill": 0.68, "sample": 1.7, "train": 2.04},
    "judge": {"prefill": 0.12, "sample": 0.3, "train": 0.36},
}
EVALUATED: dict[str, Any] = {
    "eval_every": 2, "eval_seeds": 2, "eval_dialogues_per_seed": 2, "eval_solve_samples": 2,
    "judge": {"model_name": "judge"},
}  # fmt: skip
JENSEN_SHANNON = {"kind": "jensen_shannon", "k": 4}
REWARDED: dict[str, Any] = {
    "rewards": [
        {"kind": "solve_rate", "samples": 4, "less_before": True},
        {"kind": "judge", "model_name": "judge", "rubric": "The tutor asks, and never tells."},
        {"kind": "judge", "model_name": "judge", "name": "strict", "veto": "soft"},
    ]
}
MIXTURE = {
    "kind": "mixture",
    "parts": [{"objective": {"kind": "sampled_reverse_kl"}}, {"objective": {"kind": "monte_carlo_kl", "k": 2}}],
}


class CountingService(VirtualServiceClient):
    """Counts the tokens of passes too, which the ledger lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = Counter[str]()

    def make_weights(self, model_name: str) -> Weights:
        return CountingWeights(self.model(model_name), self.passes)

    def counted(self) -> Counter[tuple[str, str]]:
        """Tokens by model and phase."""
        found = Counter({("tutor", phase): number for phase, number in self.passes.items()})
        for served in self.ledger:
            if served.call == "sample":
                model = str(served.model)
                found[model, "prefill"] += served.prompt_tokens - served.cached_tokens
                found[model, "cached_prefill"] += served.cached_tokens
                found[model, "sample"] += served.output_tokens
        return found

    def usd(self, config: SocraticConfig) -> float:
        """What they cost."""
        return cost(self.counted(), config)


class CountingWeights(ScriptedWeights):
    """Scripted weights that answer for several targets a place."""

    def __init__(self, model: Any, passes: Counter[str]) -> None:
        super().__init__(model)
        self._passes = passes

    def forward(self, tokens, targets, inputs, loss_fn, config, backward, share=1.0):
        self._passes["train" if backward else "forward"] += len(tokens)
        before = np.asarray(tokens)[:, None] if targets.ndim == 2 else np.asarray(tokens)
        return 0.0, scripted_logprobs(before, targets, salt=3)


def cost(counted: Counter[tuple[Any, Any]], config: SocraticConfig) -> float:
    tariff = tariff_of(config)
    assert isinstance(tariff, Tariff)
    usd = tariff.cost(Use(role, phase, number) for (role, phase), number in counted.items())
    assert usd is not None
    return usd


def written(log_path: Path) -> Counter[tuple[str, str]]:
    """Tokens by role and phase, as the run directory tells of them."""
    uses = [use for row in read_rows(log_path / "metrics.jsonl") for use in step_uses(row)]
    uses += [use for one in load_evaluations(log_path) for use in evaluation_uses(one.tokens)]
    found = Counter[tuple[str, str]]()
    for use in uses:
        found[use.role, use.phase] += int(use.tokens)
    return found


@pytest.fixture
def config_named(tmp_path: Path):
    """Configs of runs whose replies have lengths as real ones do."""
    return partial(config_in, tmp_path)


def config_in(directory: Path, name: str, **changes: Any) -> SocraticConfig:
    seeds = directory / "seeds.jsonl"
    rows = [
        {"id": f"s{i}", "question": f"Tom has {i} apples, and gets {i + 30} more of them. How many are there now?",
         "expected_answer": str(2 * i + 30), "initial_error": f"{i + 30} - {i} = 30."}
        for i in range(24)
    ]  # fmt: skip
    write_rows(seeds, *rows)
    fields: dict[str, Any] = dict(
        tutor_model_name="tutor", student_model_name="student", teacher_model_name="teacher", learning_rate=0.1,
        max_tokens=512, log_path=directory / name, seeds_file=seeds, groups_per_batch=3, num_envs=3, max_turns=3,
        max_steps=3, display="off", prices=PRICES, write_report=False,
    )  # fmt: skip
    return build_socratic_config(**(fields | changes))


def train_counted(config: SocraticConfig, service: CountingService | None = None) -> CountingService:
    return train_virtually(CountingService() if service is None else service, config)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"objective": JENSEN_SHANNON},
        {"objective": MIXTURE, "temperature": 0.7},
        {"max_staleness": 2},
        EVALUATED,
        REWARDED,
    ],
    ids=["default", "jensen_shannon", "mixture", "stale", "evaluated", "rewarded"],
)
def test_rows_and_evaluations_tell_every_token_that_the_service_counted(config_named, tmp_path, changes):
    config = config_named("run", **changes)
    service = train_counted(config)
    assert written(tmp_path / "run") == service.counted()
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    told = sum(row["cost/usd"] for row in rows) + sum(one.cost_usd or 0 for one in load_evaluations(tmp_path / "run"))
    assert told == pytest.approx(service.usd(config)) and told > 0
    assert rows[-1]["cost/total_usd"] == pytest.approx(sum(row["cost/usd"] for row in rows))


def test_batches_of_played_and_recorded_dialogues_are_told_to_the_token(config_named, tmp_path):
    train_counted(config_named("before"))
    recordings = {"files": [tmp_path / "before" / "dialogues.jsonl"], "objective": {"kind": "forward_kl", "k": 4}}
    for fraction in (0.0, 0.5):
        name = f"run-{fraction}"
        config = config_named(name, recordings=recordings | {"on_policy_fraction": fraction})
        service = train_counted(config)
        assert written(tmp_path / name) == service.counted()
        estimate = estimate_cost(config.model_copy(update={"log_path": str(tmp_path / "none")}))
        assert estimate.usd == pytest.approx(service.usd(config), rel=0.3)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> SocraticConfig:
    """A run with evaluations that is done."""
    config = config_in(tmp_path_factory.mktemp("before"), "recorded", **EVALUATED)
    train_counted(config)
    return config


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 5, "max_steps": 5},
        {"max_turns": 5},
        {"max_turns": 2, "groups_per_batch": 6, "num_envs": 4},
        {"objective": MIXTURE},
        {"num_envs": 1},
    ],
    ids=["longer run", "more turns", "larger batches", "another objective", "groups of one"],
)
def test_estimate_from_a_recorded_run_is_within_15_percent_of_the_ledger(config_named, tmp_path, recorded, changes):
    config = config_named("next", **EVALUATED | changes)
    found = estimate_cost(config, past=recorded.log_path, allow_files=True)
    assert found.basis == f"3 steps of {recorded.log_path}" and found.steps == config.max_steps
    service = train_counted(config)
    assert found.usd == pytest.approx(service.usd(config), rel=0.15)
    by_key = Counter[tuple[str, str]]()
    for line in found.lines:
        by_key[line.role, line.phase] += int(line.tokens)
    for key, number in service.counted().items():
        if cost(Counter({key: number}), config) > 0.05 * service.usd(config):
            assert by_key[key] == pytest.approx(number, rel=0.3), key


def test_estimate_of_the_rest_goes_by_the_rows_of_the_run_itself(config_named):
    config = config_named("run", **EVALUATED)
    service = train_counted(config)
    before, longer = service.usd(config), config.model_copy(update={"max_steps": 5})
    found = estimate_cost(longer)
    assert (found.steps, found.evaluations) == (2, 2), "evaluations before batches 4 and 5 are due"
    assert found.spent_usd == pytest.approx(before)
    train_counted(longer, service)
    after = service.usd(longer)
    assert found.usd == pytest.approx(after - before, rel=0.15)
    assert found.total_usd == pytest.approx(after, rel=0.15)
    done = estimate_cost(longer)
    assert (done.steps, done.evaluations, done.usd, done.spent_usd) == (0, 0, 0.0, pytest.approx(after))


def test_estimate_from_defaults_is_of_the_right_size_and_says_so(config_named):
    config = config_named("run", **EVALUATED)
    found = estimate_cost(config)
    assert found.basis == "defaults" and found.spent_usd == 0.0
    actual = train_counted(config).usd(config)
    assert found.usd is not None and 0.8 * actual < found.usd < 2 * actual


def test_estimate_has_parts_that_add_up_and_none_of_what_is_not_asked(config_named):
    found = estimate_cost(config_named("run"))
    parts: set[Part] = {line.part for line in found.lines}
    assert parts == {"dialogues", "scoring", "training"} and found.usd is not None
    assert found.usd == pytest.approx(sum(found.part_usd(part) or 0.0 for part in parts))
    assert found.total_usd == found.usd
    phases = {line.phase for line in estimate_cost(config_named("run", objective=JENSEN_SHANNON)).lines}
    assert phases - {line.phase for line in found.lines} == {"forward"}
    assert estimate_cost(config_named("run", base_url="local")).usd is None


def test_rewards_are_a_part_of_the_estimate_of_their_size(config_named):
    config = config_named("run", **REWARDED)
    found = estimate_cost(config)
    assert {line.role for line in found.lines if line.part == "rewards"} == {"student", "judge"}
    assert found.part_usd("rewards") == pytest.approx((found.usd or 0) - (estimate_cost(config_named("run")).usd or 0))
    service = train_counted(config)
    assert found.usd is not None and 0.8 * service.usd(config) < found.usd < 2 * service.usd(config)
    again = config.model_copy(update={"log_path": config.log_path + "-again", "seed": 5, "max_steps": 5})
    informed = estimate_cost(again, past=config.log_path, allow_files=True)
    assert informed.usd == pytest.approx(train_counted(again).usd(again), rel=0.15)


def test_estimate_without_prices_still_tells_tokens(config_named):
    found = estimate_cost(config_named("run", prices={}))
    assert found.usd is None and found.total_usd is None and sum(line.tokens for line in found.lines) > 1000


def test_averages_of_a_run_without_steps_are_refused(config_named, tmp_path):
    config = config_named("run")
    with pytest.raises(ConfigError, match="does not exist"):
        estimate_cost(config, past=tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(config.model_dump_json())
    with pytest.raises(ConfigError, match="has no step with token counts"):
        estimate_cost(config, past=tmp_path / "empty", allow_files=True)


def test_command_prints_the_estimate_of_a_run_and_of_a_config(recorded, config_named, tmp_path, capsys):
    assert cli.main(["cost", recorded.log_path, "--allow-files"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "0 steps and 0 evaluations are left; averages: 3 steps of" in printed and "left 0.0000" in printed
    path = tmp_path / "next.json"
    path.write_text(config_named("next").model_dump_json())
    assert cli.main(["cost", str(path), "--past", recorded.log_path, "--allow-files"]) == 0
    printed = capsys.readouterr().out
    assert "cached prefill" in printed and "3 steps and 0 evaluations are left" in " ".join(printed.split())
    path.write_text("[1]")
    assert cli.main(["cost", str(path)]) == 1
    assert "is no mapping of fields; expected" in capsys.readouterr().err


def test_estimate_of_the_longest_run_looks_at_few_of_its_steps(make_config, tmp_path, monkeypatch):
    longest = {"max_steps": 10_000_000, "eval_every": 1, "eval_seeds": 1}
    rising = {"max_turns": 8, "max_turns_schedule": {"start": 2, "end": 8, "steps": 10_000_000}}
    looked = []
    monkeypatch.setattr("socratic_distill.cost.workload.turns", lambda config, step: looked.append(step) or 4)
    found = estimate_cost(make_config(log_path=tmp_path / "new", **longest, **rising))
    assert (found.steps, found.evaluations) == (10_000_000, 10_000_001)
    assert len(looked) <= 300_000 and max(looked) > 9_900_000


def test_scores_that_are_not_asked_for_are_not_estimated(config_named, tmp_path):
    def scoring(**changes: Any) -> float:
        return estimate_cost(config_named("new", **changes)).part_usd("scoring") or 0.0

    short = {"token_weights": [{"kind": "prefix", "tokens": 20}]}
    assert 0.0 < scoring(**short) < scoring() == scoring(**short, score_untrained=True)
    train_counted(config_named("played", max_steps=1))
    sampled = {"files": [tmp_path / "played" / "dialogues.jsonl"], "objective": {"kind": "sampled_reverse_kl"}}
    stale = {"max_staleness": 3}
    assert scoring(recordings=sampled, **stale) == 0.0
    asked = scoring(recordings={**sampled, "reuse_scores": False}, **stale)
    assert asked > 0.0 and scoring(recordings=sampled, teacher_sees_answer=True, **stale) > 0.0


def test_a_teacher_that_is_asked_once_a_turn_is_estimated_so(config_named, tmp_path):
    (tmp_path / "late.txt").write_text("Teach. {question} They answer: {next_student_turn}")
    plain, late = estimate_cost(config_named("plain")), config_named("late", teacher_prompt_file=tmp_path / "late.txt")
    found = estimate_cost(late)
    requests = [
        sum(line.tokens for line in one.lines if (line.part, line.phase) == ("scoring", "sample"))
        for one in (plain, found)
    ]
    assert requests[1] == pytest.approx(3 * requests[0]), "three turns a dialogue"
    service = train_counted(late)
    longer = late.model_copy(update={"log_path": late.log_path + "-longer", "seed": 5, "max_steps": 5})
    informed = estimate_cost(longer, past=late.log_path, allow_files=True)
    assert informed.usd == pytest.approx(train_counted(longer).usd(longer), rel=0.15)
    assert found.usd is not None and 0.8 * service.usd(late) < found.usd < 2 * service.usd(late)


def test_turns_of_a_teacher_are_estimated_as_its_own(config_named):
    config = config_named("run", teacher_turns=0.5)
    found, plain = estimate_cost(config), estimate_cost(config_named("plain"))
    said = [
        sum(line.tokens for line in one.lines if (line.part, line.phase) == ("dialogues", "sample"))
        for one in (found, plain)
    ]
    assert {line.role for line in found.lines if line.part == "dialogues"} == {"tutor", "student", "teacher"}
    assert said[0] == pytest.approx(said[1])
    service = train_counted(config)
    longer = config.model_copy(update={"log_path": config.log_path + "-longer", "seed": 5, "max_steps": 5})
    informed = estimate_cost(longer, past=config.log_path, allow_files=True)
    assert informed.usd == pytest.approx(train_counted(longer).usd(longer), rel=0.15)
    assert found.usd is not None and 0.8 * service.usd(config) < found.usd < 2 * service.usd(config)


def test_dialogues_that_begin_with_recordings_are_estimated_as_played(config_named, tmp_path):
    train_counted(config_named("played", max_steps=1))
    recordings = {"files": [tmp_path / "played" / "dialogues.jsonl"], "take_over": 3}
    config = config_named("run", recordings=recordings)
    found = estimate_cost(config)
    assert {line.part for line in found.lines} == {"dialogues", "scoring", "training"}
    assert found.usd is not None and 0.7 * (actual := train_counted(config).usd(config)) < found.usd < 2 * actual
