"""Evaluations beside a run's training, on the fake."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.on_the_fake import strict_run
from tests.support.rows import read_rows, rows_of_run
from tests.support.strict import StrictServiceClient

from socratic_distill import ConfigError, SeedError, load_evaluations, load_seeds, train, train_async
from socratic_distill.dialogues.batches import hold_out
from socratic_distill.evaluation import evaluate
from socratic_distill.in_process import LANE
from socratic_distill.testing import FakeRestClient, FakeServiceClient


def evaluations(log_path: Path) -> dict[int, dict]:
    return {one.batch: {name: vars(m) for name, m in one.measures.items()} for one in load_evaluations(log_path)}


def unfinish(log_path: Path, batch: int) -> None:
    """Makes an evaluation one that was begun and not finished."""
    path = log_path / "evaluations" / f"{batch:06d}.json"
    row = json.loads(path.read_text())
    path.write_text(json.dumps({key: row[key] for key in ("batch", "name", "tutor")} | {"error": "not finished yet"}))


def talks(log_path: Path, batch: int) -> list[dict]:
    return json.loads((log_path / "evaluations" / f"{batch:06d}.json").read_text())["dialogues"]


def test_evaluations_run_before_the_first_step_periodically_and_at_the_end(make_config, tmp_path):
    strict_run(make_config(eval_every=4, eval_seeds=2, eval_dialogues_per_seed=3))
    found = load_evaluations(tmp_path / "run")
    assert [one.batch for one in found] == [0, 4, 6] and all(one.error is None for one in found)
    assert all(one.measures["solved"].count == 6 for one in found)
    first, last = (found[i].measures["teacher_kl"].value for i in (0, -1))
    assert first is not None and last is not None and last < first, "the fake's tutor learns"


def test_no_token_of_a_held_out_seed_is_trained_on(make_config, tmp_path, seeds_file):
    strict_run(make_config(eval_every=3, eval_seeds=2, epochs=2, max_steps=None))
    _, held_out = hold_out(load_seeds(seeds_file), 2)
    trained = {row["seed"] for row in read_rows(tmp_path / "run" / "dialogues.jsonl")}
    assert len(held_out) == 2 and trained == {f"s{i}" for i in range(6)} - {seed.id for seed in held_out}
    assert {row["seed"] for row in talks(tmp_path / "run", 0)} == {seed.id for seed in held_out}


def test_evaluation_in_training_equals_the_call(make_config, tmp_path):
    config, server = make_config(eval_every=3, eval_seeds=2), FakeServiceClient()
    strict_run(config, server)
    (stored,) = [one for one in load_evaluations(tmp_path / "run") if one.batch == 3]
    again = evaluate(config, stored.tutor, service_client=server)
    assert again.measures == stored.measures
    assert [row["turns"] for row in json.loads(json.dumps(again.row()))["dialogues"]] == [
        row["turns"] for row in talks(tmp_path / "run", 3)
    ]


def test_training_is_the_same_with_and_without_evaluations(make_config, tmp_path):
    strict_run(make_config(eval_seeds=2))
    strict_run(make_config(eval_seeds=2, eval_every=1, log_path=tmp_path / "evaluated"))
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "evaluated")


def test_evaluation_that_fails_is_written_down_and_training_goes_on(make_config, tmp_path, caplog):
    class Refusing(FakeServiceClient):
        """Opens the weights before batch 3 for the training alone."""

        def create_sampling_client(self, model_path=None, *others, **named):
            if model_path is not None and model_path.endswith("000003") and LANE.get() == "evaluation":
                raise ValueError("the weights are gone")
            return super().create_sampling_client(model_path, *others, **named)

    result = train(make_config(eval_every=3, eval_seeds=2), service_client=Refusing())
    assert result.status == "completed"
    found = {one.batch: one.error for one in load_evaluations(tmp_path / "run")}
    assert found[0] is None and found[6] is None and "the weights are gone" in (found[3] or "")
    assert "the evaluation before batch 3 failed" in caplog.text


def test_evaluation_that_failed_or_is_missing_runs_at_the_next_start(make_config, tmp_path):
    config, server = make_config(eval_every=3, eval_seeds=2), FakeServiceClient()
    strict_run(config, server)
    whole = evaluations(tmp_path / "run")
    unfinish(tmp_path / "run", 3)
    (tmp_path / "run" / "evaluations" / "000006.json").unlink()  # a kill before it was even begun
    result = train(config, service_client=StrictServiceClient(server), rest_client=FakeRestClient(server))
    assert result.status == "already_complete"
    assert evaluations(tmp_path / "run") == whole


def test_resumed_run_has_the_evaluations_of_one_never_interrupted(make_config, tmp_path):
    server = FakeServiceClient()
    strict_run(make_config(eval_every=1, eval_seeds=2, log_path=tmp_path / "whole"), server)
    strict_run(make_config(eval_every=1, eval_seeds=2, max_steps=3), server)
    unfinish(tmp_path / "run", 1)  # as a kill leaves it
    unfinish(tmp_path / "run", 2)
    strict_run(make_config(eval_every=1, eval_seeds=2), server)
    assert evaluations(tmp_path / "run") == evaluations(tmp_path / "whole")


def test_evaluations_of_batches_that_run_again_are_set_aside(make_config, tmp_path):
    config, server = make_config(eval_every=1, eval_seeds=2, max_steps=5, save_every=2), FakeServiceClient()
    strict_run(config, server)
    directory = tmp_path / "run" / "evaluations"
    journal = tmp_path / "run" / "checkpoints.jsonl"
    lines = [line for line in journal.read_text().splitlines(keepends=True) if json.loads(line)["batch"] < 5]
    journal.write_text("".join(lines))  # the final state is lost: batch 4 runs again
    strict_run(config, server)
    assert (directory / "000005.superseded.json").exists()
    assert sorted(evaluations(tmp_path / "run")) == [0, 1, 2, 3, 4, 5]


def test_evaluations_that_are_switched_on_at_a_resume_begin_there(make_config, tmp_path):
    server = FakeServiceClient()
    strict_run(make_config(eval_seeds=2, max_steps=4), server)
    strict_run(make_config(eval_seeds=2, eval_every=1), server)
    assert sorted(evaluations(tmp_path / "run")) == [4, 5, 6], "what was not asked for then is not paid for now"


async def test_interrupted_run_leaves_no_evaluation_running(make_config, tmp_path):
    config, server = make_config(eval_every=1, eval_seeds=2, max_steps=50), FakeServiceClient()
    task = asyncio.create_task(train_async(config, service_client=StrictServiceClient(server)))
    while not any(one.error is None for one in load_evaluations(tmp_path / "run")):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(20):  # of the loop, for what was cancelled to end
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_held_out_seeds_are_the_same_whatever_their_order():
    seeds = load_seeds()
    train_on, held_out = hold_out(seeds, 5)
    again_on, again_out = hold_out(seeds[::-1], 5)
    assert len(held_out) == 5 and set(held_out) == set(again_out) and set(train_on) == set(again_on)
    assert not {seed.question for seed in train_on} & {seed.question for seed in held_out}
    assert set(held_out) < set(hold_out(seeds, 6)[1]), "a larger share holds the smaller one"


def test_eval_seeds_that_leave_nothing_to_train_on_are_refused(make_config):
    with pytest.raises(SeedError, match=r"eval_seeds=6 of 6 seeds on 6 questions leaves none to train on"):
        train(make_config(eval_seeds=6), service_client=FakeServiceClient())


def test_eval_every_without_seeds_is_refused(make_config):
    with pytest.raises(ConfigError, match=r"eval_every=2 has no seeds to evaluate on; set eval_seeds"):
        make_config(eval_every=2)
