"""Losing the service's clients in the middle of a run: what is behind the loss is void, and done again."""

import json

import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, rows_but_recoveries

from socratic_distill import TrainingError, load_checkpoints
from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

pytestmark = pytest.mark.thinned


@pytest.fixture
def whole_rows(whole_run):
    return rows_but_recoveries(whole_run())


class LateToFail(FakeServiceClient):
    """Its failures come after what was submitted behind the failed call, as over a network."""

    def submit(self, call, action, **arguments):
        answer = super().submit(call, action, **arguments)
        error = answer.future().exception()
        return answer if error is None else ServiceFuture.later(error, 0.01)


def test_calls_queued_after_a_failed_pass_are_not_recorded_but_repeated(make_config, tmp_path, whole_rows):
    service = LateToFail(faults=[Fault("forward_backward", nth=4)])
    train_on_fake(service, make_config())
    lost = "fake-0001:train:0"
    behind = [call for call in service.calls if call.server_run == lost][-2:]
    assert [(call.call, call.outcome) for call in behind] == [
        ("optim_step", "done"),
        ("save_weights_for_sampler", "done"),
    ]
    saved = [one.tinker_path for one in FakeRestClient(service).list_checkpoints(lost).result().checkpoints]
    void = f"tinker://{lost}/sampler_weights/000004"
    assert void in saved, "the service did carry out what was queued"
    records = load_checkpoints(tmp_path / "run")
    assert void not in {path for record in records for path in record.paths}
    assert [record.batch for record in records if record.resumed_at] == [2]
    assert rows_but_recoveries(tmp_path / "run") == whole_rows


def test_recovery_is_logged_and_counted(make_config, tmp_path, caplog):
    train_on_fake(FakeServiceClient(faults=[Fault("optim_step", nth=4, error="connection")]), make_config())
    counts = [row["recovery/count"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    assert counts == [0, 0, 1, 1, 1, 1], "the rows from the newest state on are of the second life"
    assert "recovery 1 of 3" in caplog.text and "training step of batch 3" in caplog.text
    lives = read_rows(tmp_path / "run" / "server_runs.jsonl")
    assert [life["batch"] for life in lives] == [0, 2]


@pytest.mark.parametrize("error", ["submission", "poisoned", "lost_answer", "timeout"])
def test_every_training_client_may_be_lost_once(make_config, tmp_path, whole_rows, error):
    faults = [Fault("forward_backward", nth=nth, error=error) for nth in (1, 4, 7)]
    train_on_fake(FakeServiceClient(faults=faults), make_config())
    assert rows_but_recoveries(tmp_path / "run") == whole_rows


def test_losses_that_no_batch_comes_between_end_the_run(make_config, tmp_path, whole_rows):
    service = FakeServiceClient(tmp_path / "server", faults=[Fault("optim_step", nth=3, times=4)])
    with pytest.raises(TrainingError, match="Start the same script again"):
        train_on_fake(service, make_config(max_recoveries=3))
    assert service.count("optim_step") == 2 + 4
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config())
    assert rows_but_recoveries(tmp_path / "run") == whole_rows


def test_losses_with_batches_between_them_go_on_for_ever(make_config, tmp_path, whole_rows):
    faults = [Fault("optim_step", nth=nth) for nth in (2, 4, 6, 8, 10)]
    train_on_fake(FakeServiceClient(faults=faults), make_config(max_recoveries=1, save_every=1))
    assert rows_but_recoveries(tmp_path / "run") == whole_rows
    assert read_rows(tmp_path / "run" / "metrics.jsonl")[-1]["recovery/count"] == 5


def test_loss_before_the_first_state_begins_from_the_origin_again(make_config, tmp_path):
    service = FakeServiceClient()
    train_on_fake(service, make_config(log_path=tmp_path / "sft", max_steps=2))
    config = make_config(load_checkpoint_path=tmp_path / "sft")
    train_on_fake(service, config.model_copy(update={"log_path": str(tmp_path / "whole")}))
    failing = FakeServiceClient(faults=[Fault("forward_backward", nth=3 + 2)])
    train_on_fake(failing, make_config(log_path=tmp_path / "sft2", max_steps=2))
    train_on_fake(failing, config.model_copy(update={"load_checkpoint_path": str(tmp_path / "sft2")}))
    assert rows_but_recoveries(tmp_path / "run") == rows_but_recoveries(tmp_path / "whole")
    assert json.loads((tmp_path / "run" / "origin.json").read_text())["resolved"].endswith("/final")


def test_rows_of_the_lost_batches_are_moved_aside(make_config, tmp_path):
    train_on_fake(FakeServiceClient(faults=[Fault("forward_backward", nth=4)]), make_config())
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.superseded.jsonl")] == [2]
