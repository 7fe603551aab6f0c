"""Several optimizer steps on a batch: their order, their count, and that no run is left standing between two."""

import asyncio
import os
import signal
from typing import Any

import pytest
from tests.support.on_the_fake import strict_run, train_on_fake, train_on_fake_async
from tests.support.rows import read_rows, rows_of_run

from socratic_distill import RolloutError, RunInterrupted, TrainingError, load_checkpoints, train_async
from socratic_distill.testing import FakeServiceClient, FakeTrainingClient, Fault

pytestmark = pytest.mark.thinned

REVERSE = {"kind": "reverse_kl"}
TRAINING = ("forward", "forward_backward", "optim_step", "save_weights_for_sampler")
SUBSTEPS: dict[str, Any] = dict(num_substeps=3, groups_per_batch=3)


class Interrupting(FakeServiceClient):
    """Sends this process a signal when the nth call of a name is made."""

    def __init__(self, directory, call, nth):
        super().__init__(directory)
        self._at = (call, nth)
        self.steps_by_then: int | None = None

    def submit(self, call, action, **arguments):
        future = super().submit(call, action, **arguments)
        if self._at == (call, self.count(call)):
            self.steps_by_then = self.count("optim_step")
            os.kill(os.getpid(), signal.SIGTERM)
        return future


@pytest.fixture
def data(monkeypatch) -> list[Any]:
    """All that is trained on, bit for bit, in order."""
    found: list[Any] = []
    right = FakeTrainingClient.forward_backward

    def forward_backward(self, data, *rest):
        for datum in data:
            arrays = {name: value.to_numpy().tobytes() for name, value in datum.loss_fn_inputs.items()}
            found.append((datum.model_input.to_ints(), arrays))
        return right(self, data, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    return found


def training(server):
    return [one.call for one in server.calls if one.call in TRAINING]


@pytest.mark.parametrize(
    ("objective", "substep"),
    [
        ({"kind": "sampled_reverse_kl"}, ["forward_backward", "optim_step"]),
        ({"kind": "forward_kl"}, ["forward_backward", "optim_step"]),
        (REVERSE, ["forward", "forward_backward", "optim_step"]),
        ({"kind": "monte_carlo_kl"}, ["forward", "forward_backward", "optim_step"]),
    ],
)
@pytest.mark.parametrize("groups", [1, 4])
def test_each_step_follows_its_passes_and_sampler_weights_follow_the_last(make_config, objective, substep, groups):
    """A pass forward is behind the step before it: it tells what the tutor says now."""
    server = strict_run(make_config(objective=objective, max_steps=3, groups_per_minibatch=groups, **SUBSTEPS))
    assert training(server) == ["save_weights_for_sampler"] + 3 * (3 * substep + ["save_weights_for_sampler"])
    sizes = [one.arguments["datums"] for one in server.calls if one.call == "forward_backward"]
    assert sizes == 9 * [2], "a group of two dialogues a step"


def test_a_pass_forward_sees_the_weights_behind_the_step_before(make_config, monkeypatch):
    """Asked beside each pass forward for the same datum, the training client says something else each time."""
    said: list[Any] = []
    asked: list[Any] = []
    right = FakeTrainingClient.forward

    def forward(self, data, loss_fn, *rest):
        asked.extend(data if not asked else [])
        beside = right(self, asked[:1], loss_fn, *rest).result()
        said.append(beside.loss_fn_outputs[0]["logprobs"].to_numpy())
        return right(self, data, loss_fn, *rest)

    monkeypatch.setattr(FakeTrainingClient, "forward", forward)
    strict_run(make_config(objective=REVERSE, max_steps=1, **SUBSTEPS))
    first, second, third = said
    assert abs(second - first).max() > 1e-3 and abs(third - second).max() > 1e-3


def test_versions_count_optimizer_steps(make_config, tmp_path):
    strict_run(make_config(max_steps=4, **SUBSTEPS))
    metrics, dialogues = rows_of_run(tmp_path / "run")
    assert [row["version"] for row in metrics] == [0, 3, 6, 9]
    assert [row["staleness/max"] for row in metrics] == [0, 0, 0, 0]
    versions = {(row["step"], turn["version"]) for row in dialogues for turn in row["turns"] if turn["role"] == "tutor"}
    assert versions == {(0, 0), (1, 3), (2, 6), (3, 9)}
    states = [(one.batch, one.version) for one in load_checkpoints(tmp_path / "run") if one.state_path]
    assert states == [(2, 6), (4, 12)]


def test_dialogues_that_run_ahead_are_a_batch_of_steps_old(make_config, tmp_path):
    strict_run(make_config(max_steps=4, max_staleness=1, **SUBSTEPS))
    metrics, _ = rows_of_run(tmp_path / "run")
    assert [row["staleness/max"] for row in metrics] == [0, 3, 3, 3]


def test_the_data_of_the_first_batch_are_those_of_one_step(make_config, tmp_path, data):
    strict_run(make_config(log_path=tmp_path / "one", max_steps=1))
    one_step = list(data)
    data.clear()
    strict_run(make_config(max_steps=1, **SUBSTEPS))
    assert data == one_step and len(data) == 6
    one, three = (rows_of_run(tmp_path / name)[0][0] for name in ("one", "run"))
    assert one["drift/max"] < 1e-5 < three["drift/max"], "later steps train weights that have moved"
    assert one["teacher_kl"] == three["teacher_kl"]


def test_more_steps_on_a_batch_learn_more_of_it(make_config, tmp_path):
    final = {}
    for substeps in (1, 3):
        config = make_config(
            log_path=tmp_path / str(substeps), num_substeps=substeps, max_steps=8, num_envs=4, learning_rate=0.05
        )
        strict_run(config)
        final[substeps] = sum(row["teacher_kl"] for row in rows_of_run(tmp_path / str(substeps))[0][-3:])
    assert final[3] < 0.8 * final[1], final


# Resumed


@pytest.mark.parametrize("objective", [{"kind": "sampled_reverse_kl"}, REVERSE, {"kind": "monte_carlo_kl"}])
@pytest.mark.parametrize(("call", "nth"), [("forward_backward", 8), ("optim_step", 11), ("optim_step", 13)])
def test_resumed_run_equals_one_never_interrupted(make_config, whole_run, tmp_path, objective, call, nth):
    """Lost in the middle of a batch, after some of its steps: the batch is run again from the state before it."""
    changes: dict[str, Any] = SUBSTEPS | dict(objective=objective)
    with pytest.raises(TrainingError, match=f"the training step of batch {(nth - 1) // 3}"):
        strict_run(
            make_config(max_recoveries=0, **changes), FakeServiceClient(tmp_path / "s", faults=[Fault(call, nth)])
        )
    strict_run(make_config(**changes), rest := FakeServiceClient(tmp_path / "s"))
    assert rest.count("create_training_client_from_state_with_optimizer") == 1
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(**changes))


def test_a_client_lost_between_steps_is_reopened_before_the_batch(make_config, whole_run, tmp_path):
    changes: dict[str, Any] = SUBSTEPS | dict(objective=REVERSE, save_every=1)
    server = FakeServiceClient(faults=[Fault("forward", nth=5, error="poisoned")])
    strict_run(make_config(**changes), server)
    (loaded,) = [one for one in server.calls if one.call == "create_training_client_from_state_with_optimizer"]
    assert loaded.arguments["path"].endswith("/000001")
    found, whole = rows_of_run(tmp_path / "run"), rows_of_run(whole_run(**changes))
    for row in (*found[0], *whole[0]):
        for key in [key for key in row if key.startswith("recovery/")]:
            del row[key]
    assert found == whole


# Failed dialogues


def test_a_batch_of_too_many_failures_takes_no_step_at_all(make_config, whole_run, tmp_path):
    """Also not on its first groups, though these are whole: the step could not be taken back."""
    shorter = strict_run(make_config(log_path=tmp_path / "shorter", max_steps=1, **SUBSTEPS))
    # The openings of batch 1 are 3 requests, the first turns of its first two groups 4; those of the third group fail.
    first = shorter.count("sample") + 3 + 4 + 1
    faults = [Fault("sample", nth=first, times=2)]
    server = FakeServiceClient(tmp_path / "server", faults=faults)
    config = make_config(max_failed_fraction=0.3, objective={"kind": "sampled_reverse_kl"}, **SUBSTEPS)
    with pytest.raises(RolloutError, match=r"2 of 6 dialogues failed, more than max_failed_fraction=0\.3"):
        strict_run(config, server)
    assert server.count("optim_step") == server.count("forward_backward") == 3, "those of batch 0"
    states = [(one.batch, one.version) for one in load_checkpoints(tmp_path / "run") if one.state_path]
    assert states == [(1, 3)], "a state of the batch that was done"
    strict_run(config, FakeServiceClient(tmp_path / "server"))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(max_failed_fraction=0.3, **SUBSTEPS))


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_part_without_data_takes_no_step_and_is_not_counted(make_config, tmp_path, group):
    failing = Fault("sample", nth=3 + 2 * group + 1, times=2)  # behind the openings, the group's first turns
    server = FakeServiceClient(faults=[failing])
    strict_run(make_config(max_failed_fraction=0.5, max_steps=2, **SUBSTEPS), server)
    metrics, dialogues = rows_of_run(tmp_path / "run")
    failed = [i // 2 for i, row in enumerate(dialogues) if row["ending"] == "failed"]
    assert failed == [group, group]
    assert [row["version"] for row in metrics] == [0, 2]
    calls = training(server)
    end = calls.index("save_weights_for_sampler", 1)
    assert calls[1:end] == 2 * ["forward_backward", "optim_step"], "and the sampler is saved behind the last one taken"
    assert metrics[1]["drift/max"] is not None and metrics[1]["staleness/max"] == 0


# Interrupted


@pytest.mark.parametrize("save_every", [1, 100])
@pytest.mark.parametrize("nth", [4, 5, 6])
def test_a_signal_within_a_batch_records_no_state_of_half_of_it(make_config, whole_run, tmp_path, nth, save_every):
    """Nor where no state is there yet of the batch before: what was not saved in time cannot be saved any more."""
    changes: dict[str, Any] = SUBSTEPS | dict(objective=REVERSE, save_every=save_every)
    service = Interrupting(tmp_path / "server", "forward", nth)
    with pytest.raises(RunInterrupted):
        train_on_fake(service, make_config(**changes))
    assert service.steps_by_then == nth - 1, "it is to come between two steps of batch 1"
    _no_half_states(service, tmp_path / "run")
    strict_run(make_config(**changes), FakeServiceClient(tmp_path / "server"))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(**changes))


def by_clock(save_every: int | None) -> dict[str, Any]:
    """Changes for a run that saves every few batches, or by the clock, and then never within a test."""
    seconds = 3600.0 if save_every is None else None
    return SUBSTEPS | dict(objective=REVERSE, save_every=save_every, save_every_seconds=seconds)


@pytest.fixture
def rows_by_clock(whole_run, save_every):
    return rows_of_run(whole_run(**by_clock(save_every)))


@pytest.mark.virtual_time
@pytest.mark.parametrize("call", ["forward", "forward_backward", "optim_step"])
@pytest.mark.parametrize(("nth", "save_every"), [(7, 2), (8, 2), (8, None), (9, 100)])
async def test_a_cancellation_within_a_batch_records_no_state_of_half_of_it(
    make_config, rows_by_clock, tmp_path, call, nth, save_every
):
    changes = by_clock(save_every)
    late = Fault(call, nth=nth, error="slow", seconds=0.1)
    service = FakeServiceClient(tmp_path / "server", faults=[late])
    task = asyncio.create_task(train_on_fake_async(service, make_config(**changes)))
    while service.count(call) < nth:
        await asyncio.sleep(0)
    steps = service.count("optim_step")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if call == "forward":
        assert steps == nth - 1, "it is to come between two steps of batch 2"
        # A step that is under way is let end: nothing of it is lost, however far the last state was.
        newest = [one.batch for one in load_checkpoints(tmp_path / "run") if one.state_path][-1]
        assert newest == len(read_rows(tmp_path / "run" / "metrics.jsonl")) == -(-nth // 3)
    _no_half_states(service, tmp_path / "run")
    await train_async(make_config(**changes), service_client=FakeServiceClient(tmp_path / "server"))
    assert rows_of_run(tmp_path / "run") == rows_by_clock


def _no_half_states(service, run_directory):
    """Every state was saved behind whole batches, and its record counts their steps."""
    steps = 0
    for one in service.calls:
        steps += one.call == "optim_step"
        assert one.call != "save_state" or steps % 3 == 0, f"a state was saved behind {steps} steps"
    records = [one for one in load_checkpoints(run_directory) if one.state_path]
    assert all(one.version == 3 * (one.batch or 0) for one in records)
    done = len(read_rows(run_directory / "metrics.jsonl"))
    assert all((one.batch or 0) <= done for one in records)
