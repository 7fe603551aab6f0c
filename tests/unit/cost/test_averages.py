"""What a run's rows say of how dialogues go, and the corrections that follow."""

from typing import Any

import pytest

from socratic_distill.cost.averages import Averages, Factors
from socratic_distill.cost.costs import Use
from socratic_distill.cost.workload import Key, Talk, Tokens, Workload
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.plan import read_plan

ROW: dict[str, Any] = {
    "step": 0, "dialogues": 6, "dialogues/recorded": 0, "turns/tutor": 9, "tokens/student": 150,
    "reply_tokens/mean": 8.0, "sampled_tokens/tutor": 72, "sampled_tokens/student": 150, "sampled_tokens/teacher": 6,
    "prompt_tokens/tutor": 900, "prompt_tokens/tutor_cached": 0, "tokens/trained": 700,
}  # fmt: skip
PROMPT, CACHED, SAMPLE = (Key("dialogues", "tutor", phase) for phase in ("prefill", "cached_prefill", "sample"))


def corrected(counted: tuple[float, float], expected: tuple[float, float], asked: tuple[float, float]) -> Tokens:
    """Prompt tokens (new, cached), corrected by what was counted over what was expected of others."""
    uses = [Use("tutor", "prefill", counted[0]), Use("tutor", "cached_prefill", counted[1])]
    factors = Factors.between(uses, {PROMPT: expected[0], CACHED: expected[1]})
    return Averages(Talk(1.0, 1.0, 1.0), "").correct({PROMPT: asked[0], CACHED: asked[1]}, factors)


@pytest.fixture
def workload(make_config):
    config = make_config()
    return Workload(read_plan(config, RunDirectory(config.log_path)))


def test_averages_are_of_the_dialogues_that_were_played(workload):
    found = Averages.of(workload, [ROW, ROW | {"step": 1, "turns/tutor": 12}], [], "a run")
    assert found is not None and found.basis == "2 steps of a run"
    assert found.talk == Talk(turns=21 / 12 / 2, tutor=8.0, student=300 / (21 + 12))


def test_rows_that_do_not_tell_their_tokens_are_passed_over(workload):
    old = {key: value for key, value in ROW.items() if not key.startswith("sampled_tokens")}
    assert Averages.of(workload, [old], [], "a run") is None
    found = Averages.of(workload, [old, ROW | {"step": 1}], [], "a run")
    assert found is not None and found.basis == "1 steps of a run"


def test_what_was_counted_corrects_what_is_expected(workload):
    found = Averages.of(workload, [ROW], [], "a run")
    assert found is not None
    again = found.correct(workload.steps(found.talk, 0, 1), found.of_steps)
    by_phase = {
        phase: sum(n for key, n in again.items() if key[1:] == ("tutor", phase)) for phase in ("sample", "train")
    }
    assert by_phase == pytest.approx({"sample": 72, "train": 700})
    assert sum(n for key, n in again.items() if key.role == "tutor" and "prefill" in key.phase) == pytest.approx(900)


def test_service_without_a_cache_is_taken_to_have_none():
    assert corrected((1000, 0), (300, 600), asked=(500, 1000)) == pytest.approx({PROMPT: 1500 * 10 / 9, CACHED: 0})


def test_better_cache_than_expected_never_caches_more_than_is_sent():
    found = corrected((1, 999), (500, 500), asked=(10, 990))
    assert found[PROMPT] > 0 and sum(found.values()) == pytest.approx(1000)


def test_same_work_comes_out_as_it_was_counted():
    assert corrected((123, 456), (300, 600), asked=(300, 600)) == pytest.approx({PROMPT: 123, CACHED: 456})


def test_tokens_that_nothing_was_expected_of_stay_as_they_are():
    factors = Factors.between([], {PROMPT: 10.0})
    assert Averages(Talk(1.0, 1.0, 1.0), "").correct({SAMPLE: 7.0}, factors) == {SAMPLE: 7.0}


def test_turns_keep_to_the_configs_limit_and_thinking_takes_all_of_it(make_config):
    assert Talk(1.0, 500.0, 20.0).within(make_config()) == Talk(1.0, 12.0, 12.0)
    thinking = make_config(max_tokens=4000, student_max_tokens=300, tutor_enable_thinking=True)
    assert (Talk.unknown(thinking).tutor, Talk.unknown(thinking).student) == (4000, 150)
