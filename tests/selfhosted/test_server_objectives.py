"""What the servers can train on, and a clear refusal of the rest."""

import asyncio
import json
import time
from typing import Any

import pytest
from tests.selfhosted.hosting import SKYRL, TUFT, only
from tests.selfhosted.runs import assert_alike, dialogues_played, finished_rows

from socratic_distill import UnsupportedFeature, train
from socratic_distill.evaluation.stored import load_evaluations
from socratic_distill.training.evaluations import Evaluations

pytestmark = pytest.mark.selfhosted

SERVED: dict[str, dict[str, Any]] = {
    "ppo": {"loss_fn": "ppo"},
    "cispo": {"loss_fn": "cispo"},
    "rewards": {"rewards": [{"kind": "not_telling"}], "reward_coef": 0.5},
    "another temperature": {"temperature": 0.8},
    "two steps a batch": {"num_substeps": 2},
}
LACKING = {
    SKYRL.name: ("forward_kl", "reverse_kl", "jensen_shannon", "monte_carlo_kl"),
    TUFT.name: ("reverse_kl", "jensen_shannon", "monte_carlo_kl"),
}
OLDER = {"max_staleness=1": {"max_staleness": 1}, "a teacher that lags 2 steps": {"teacher_lag_steps": 2}}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.objective(name)) for name in SERVED])
def test_training_on_what_is_played_goes_with(make_config, whole, tmp_path, name):
    assert train(make_config(**SERVED[name], max_steps=2)).steps == 2
    assert dialogues_played(tmp_path / "run") == dialogues_played(whole)[:8]
    assert all(row["datums"] for row in finished_rows(tmp_path / "run"))


@only(TUFT)
@pytest.mark.objective("supervised")
def test_recorded_messages_are_learned_by_supervised_training(make_config, tmp_path):
    talk = [{"role": "user", "content": "17 + 25 is 32."}, {"role": "assistant", "content": "What is 7 + 5?"}]
    recorded = tmp_path / "recorded.jsonl"
    recorded.write_text((json.dumps({"messages": talk}) + "\n") * 4)
    train(make_config(recordings={"files": [recorded]}, max_steps=2))
    first, second = (row["teacher_kl"] for row in finished_rows(tmp_path / "run"))
    assert [row["dialogues/recorded"] for row in finished_rows(tmp_path / "run")] == [2, 2]
    assert first is None and second is None, "nobody was asked for scores"


@only(SKYRL)
def test_a_loss_that_is_divided_by_its_weights_is_refused(make_config, tmp_path):
    talk = [{"role": "user", "content": "17 + 25 is 32."}, {"role": "assistant", "content": "What is 7 + 5?"}]
    recorded = tmp_path / "recorded.jsonl"
    recorded.write_text((json.dumps({"messages": talk}) + "\n") * 4)
    with pytest.raises(UnsupportedFeature, match="divides the loss cross_entropy by"):
        train(make_config(recordings={"files": [recorded]}, max_steps=2))
    assert not finished_rows(tmp_path / "run")


@pytest.mark.objective("sampled_reverse_kl")
def test_a_runs_own_dialogues_are_distilled_again(make_config, whole, tmp_path):
    lines = (whole / "dialogues.jsonl").read_text().splitlines(keepends=True)
    own = tmp_path / "own.jsonl"
    own.write_text("".join(line for line in lines if json.loads(line)["step"] == 0))  # by weights that are trained here
    recordings = {"files": [own], "objective": {"kind": "sampled_reverse_kl"}}
    train(make_config(recordings=recordings, max_steps=1))
    (row,) = finished_rows(tmp_path / "run")
    assert row["datums"] > 0


@pytest.mark.parametrize(
    ("host", "kind"), [(name, kind) for name, kinds in LACKING.items() for kind in kinds], indirect=["host"]
)
def test_an_objective_that_the_server_cannot_serve_is_refused(make_config, tmp_path, kind):
    with pytest.raises(UnsupportedFeature, match=f"{kind!r} needs .*'sampled_reverse_kl'"):
        train(make_config(objective={"kind": kind}))
    assert not finished_rows(tmp_path / "run")


@only(TUFT)
@pytest.mark.parametrize("named", [pytest.param(name, marks=pytest.mark.objective(name)) for name in OLDER])
def test_weights_left_behind_are_sampled_from(make_config, tmp_path, named):
    train(make_config(**OLDER[named], max_steps=4))
    assert [row["step"] for row in finished_rows(tmp_path / "run")] == [0, 1, 2, 3]


@only(SKYRL)
@pytest.mark.parametrize("named", OLDER)
def test_what_samples_from_weights_left_behind_is_refused(make_config, tmp_path, named):
    with pytest.raises(UnsupportedFeature, match=named):
        train(make_config(**OLDER[named]))
    assert not finished_rows(tmp_path / "run")


@pytest.mark.scenario("evaluations")
def test_a_run_that_is_evaluated_trains_as_one_that_is_not(make_config, host, tmp_path, monkeypatch):
    measure = Evaluations._measure

    async def measure_late(self: Any, service: Any, batch: int, sampler_path: str) -> Any:
        """Not before the weights are left behind, if ever: what is sampled then would put them back."""
        until = time.monotonic() + 5
        while len(finished_rows(self._run.path)) <= batch and time.monotonic() < until:
            await asyncio.sleep(0.05)
        return await measure(self, service, batch, sampler_path)

    monkeypatch.setattr(Evaluations, "_measure", measure_late)
    fields = {"eval_seeds": 2, "eval_dialogues_per_seed": 2, "max_steps": 4}
    train(make_config(**fields, log_path=tmp_path / "bare"))
    train(make_config(**fields, log_path=tmp_path / "evaluated", eval_every=2))
    assert_alike(tmp_path / "evaluated", tmp_path / "bare", host.server.leeway)
    evaluations = load_evaluations(tmp_path / "evaluated")
    assert [(one.batch, one.error) for one in evaluations] == [(0, None), (2, None), (4, None)]


@only(TUFT)
@pytest.mark.objective("forward_kl of 4 tokens")
def test_targets_in_two_dimensions_are_sent_one_by_one(make_config, tmp_path):
    train(make_config(objective={"kind": "forward_kl", "k": 4}, max_steps=2))
    first, second = finished_rows(tmp_path / "run")
    assert first["datums"] > 0 and second["teacher_kl"] != first["teacher_kl"]


@only(TUFT)
def test_too_many_tokens_to_send_one_by_one_are_refused(make_config, tmp_path):
    with pytest.raises(UnsupportedFeature, match=r"one dimension, where 16 target tokens .* up to 8"):
        train(make_config(objective={"kind": "forward_kl"}))
    assert not finished_rows(tmp_path / "run")
