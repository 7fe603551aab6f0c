"""Prices, and what a step costs by them."""

from typing import Any

import pytest

from socratic_distill import ConfigError, build_socratic_config
from socratic_distill.config.catalogue import catalogue
from socratic_distill.config.model_names import full_model_name
from socratic_distill.config.named_models import with_known_names
from socratic_distill.config.parts import Price, Teacher
from socratic_distill.cost.costs import (
    Tariff,
    Use,
    check_limit,
    evaluation_uses,
    models_of,
    step_cost,
    step_uses,
    tariff_of,
)
from socratic_distill.dialogues.dialogue import PromptUse

SMALL, LARGE = "Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-8B"

ROW = {
    "sampled_tokens/tutor": 1_000_000, "sampled_tokens/student": 2_000_000, "sampled_tokens/teacher": 0,
    "tokens/trained": 3_000_000, "tokens/forward": 0,
    "prompt_tokens/tutor": 10_000_000, "prompt_tokens/tutor_cached": 4_000_000,
    "prompt_tokens/student": 20_000_000, "prompt_tokens/student_cached": 0,
    "prompt_tokens/teacher": 30_000_000, "prompt_tokens/teacher_cached": 30_000_000,
}  # fmt: skip


def config_of(**changes):
    fields: dict[str, Any] = dict(
        tutor_model_name="Qwen3-4B-Instruct-2507", student_model_name="Qwen3-8B",
        teacher_model_name="Qwen3-4B-Instruct-2507", learning_rate=1e-5, max_tokens=8, log_path="run",
    )  # fmt: skip
    return with_known_names(build_socratic_config(**(fields | changes)))


def cost_of(row, **changes):
    return step_cost(row, tariff_of(config_of(**changes)))


def test_step_costs_the_sum_over_roles_and_phases():
    tutor = 6 * 0.07 + 4 * 0.2 * 0.07 + 1 * 0.22 + 3 * 0.22
    student = 20 * 0.195 + 2 * 0.60
    teacher = 30 * 0.2 * 0.07
    assert cost_of(ROW) == pytest.approx(tutor + student + teacher)


def test_step_without_tokens_costs_nothing():
    assert cost_of({"dialogues": 0}) == 0.0


def test_tokens_that_a_recording_holds_cost_no_sampling():
    assert cost_of({"dialogues": 4, "dialogues/recorded": 4, "tokens/tutor": 1_000_000}) == 0.0


def test_token_that_a_scoring_request_samples_costs():
    row = {key: value for key, value in ROW.items() if "student" not in key}
    before, after = cost_of(row), cost_of(row | {"sampled_tokens/teacher": 1_000_000})
    assert before is not None and after == pytest.approx(before + 0.22)


def test_pass_forward_costs_what_training_does():
    assert cost_of({"tokens/forward": 1_000_000}) == cost_of({"tokens/trained": 1_000_000}) == pytest.approx(0.22)


def test_evaluation_costs_what_its_requests_do_the_judge_at_its_own_price():
    tariff = tariff_of(config_of(judge={"model_name": "Qwen3-8B"}))
    assert tariff is not None
    uses = evaluation_uses({"tutor": PromptUse(3_000_000, 1_000_000, 500_000), "judge": PromptUse(1_000_000)})
    assert tariff.cost(uses) == pytest.approx(2 * 0.07 + 0.2 * 0.07 + 0.5 * 0.22 + 0.195)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"student_model_name": "some/pupil"}, "some/pupil"),
        ({"base_url": "http://localhost:8000"}, f"{SMALL}, {LARGE}"),
        ({"teachers": (Teacher(name="a"), Teacher(name="b", model_name=LARGE, tags=("x",)))}, "of different prices"),
    ],
)
def test_limit_without_a_price_is_refused_with_the_models(changes, told):
    for limit in (None, 5.0):
        config = config_of(max_cost_usd=limit, **changes)
        tariff = tariff_of(config)
        if limit is None:
            check_limit(config, tariff)
        else:
            with pytest.raises(
                ConfigError, match=rf"max_cost_usd=5.0 cannot be checked: no single price.*{told}.*prices="
            ):
                check_limit(config, tariff)


def test_limit_of_a_run_in_this_process_is_kept_by_costing_nothing():
    config = config_of(max_cost_usd=1.0, base_url="local")
    check_limit(config, tariff_of(config))


def test_local_run_has_no_cost():
    assert cost_of(ROW, base_url="local", prices={SMALL: Price(prefill=1.0, sample=1.0, train=1.0)}) is None


def test_another_server_is_not_billed_by_the_packaged_list():
    free = Price(prefill=0.0, sample=0.0, train=1.0)
    server = {"base_url": "http://localhost:8000"}
    assert cost_of(ROW, **server) is None
    assert cost_of(ROW, **server, prices={SMALL: free, LARGE: free}) == pytest.approx(3.0)


def test_own_prices_precede_the_packaged_and_may_have_short_names():
    own = Price(prefill=0.0, sample=0.0, train=2.0, cached_prefill=0.5)
    student = 20 * 0.195 + 2 * 0.60
    for name in (SMALL, "Qwen3-4B-Instruct-2507"):
        assert cost_of(ROW, prices={name: own}) == pytest.approx(student + 3 * 2.0 + 34 * 0.5)


def test_unknown_price_is_named_with_the_models_and_gives_no_cost():
    config = config_of(student_model_name="some/pupil", teacher_model_name="some/judge")
    tariff = tariff_of(config)
    assert [step_cost(ROW, tariff) for _ in range(3)] == [None] * 3
    assert tariff is not None and "some/judge, some/pupil: the cost is not" in str(tariff.what_is_unknown)
    assert "Set prices={'some/judge': {'prefill': …" in str(tariff.what_is_unknown)


def test_model_that_was_not_used_needs_no_price():
    row = {key: value for key, value in ROW.items() if "student" not in key}
    assert cost_of(row, student_model_name="some/pupil") == pytest.approx(cost_of(row))


@pytest.mark.parametrize(("second", "known"), [(SMALL, True), (LARGE, False)])
def test_several_teachers_are_priced_where_they_cost_the_same(second, known):
    teachers = (Teacher(name="a"), Teacher(name="b", model_name=second, tags=("hard",)))
    config = config_of(teachers=teachers)
    assert models_of(config)["teacher"] == {SMALL, second}
    assert (step_cost(ROW, tariff_of(config)) is not None) == known


def test_uses_name_every_role_and_phase_of_a_row():
    found = {(use.role, use.phase): use.tokens for use in step_uses(ROW | {"tokens/forward": 500})}
    assert found == {
        ("tutor", "prefill"): 6e6, ("tutor", "cached_prefill"): 4e6, ("tutor", "sample"): 1e6, ("tutor", "train"): 3e6,
        ("tutor", "forward"): 500, ("student", "prefill"): 2e7, ("student", "sample"): 2e6,
        ("teacher", "cached_prefill"): 3e7,
    }  # fmt: skip


def test_tariff_prices_expected_tokens_as_it_does_those_of_a_row():
    tariff = Tariff({"tutor": Price(prefill=1.0, sample=2.0, train=3.0, cached_prefill=0.0)})
    assert tariff.cost([Use("tutor", "train", 500_000), Use("tutor", "sample", 500_000)]) == pytest.approx(2.5)
    assert tariff.cost([Use("teacher", "prefill", 1)]) is None


def test_every_short_model_name_of_the_guides_has_a_price():
    names = ("Qwen3-8B", "Kimi-K2-Thinking", "Qwen3-35B-A22B-Instruct", "Qwen3-30B-A3B-Instruct-2507", "Qwen3-32B")
    assert all(catalogue().price(full_model_name(name)) is not None for name in names)
