"""Ctrl-C, SIGTERM and cancellation: what was submitted ends, a state is saved, and the run goes on from there."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, rows_of_run
from tests.support.run_directories import newest_state

from socratic_distill import RunInterrupted, train_async
from socratic_distill.testing import FakeServiceClient, Fault


class SignallingService(FakeServiceClient):
    """Sends this process a signal when the nth call of a name is made."""

    def __init__(self, directory, call, nth, *numbers, **options):
        super().__init__(directory, **options)
        self._at, self._numbers = (call, nth), numbers

    def submit(self, call, action, **arguments):
        future = super().submit(call, action, **arguments)
        if self._at == (call, self.count(call)):
            for number in self._numbers:
                os.kill(os.getpid(), number)
        return future


@pytest.fixture
def whole_rows(whole_run):
    return rows_of_run(whole_run())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_dialogues_are_played_drops_them_and_saves_a_state(make_config, tmp_path, whole_rows, number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    service = SignallingService(tmp_path / "server", "sample", 50, number)
    with pytest.raises(RunInterrupted) as stopped:
        train_on_fake(service, make_config(save_every=100))
    done = len(read_rows(tmp_path / "run" / "metrics.jsonl"))
    state = newest_state(tmp_path / "run")
    assert 0 < done < 6 and (state.batch, state.kind) == (done, "interrupted")
    assert stopped.value.exit_code == 128 + number
    for told in (f"{done} batches are done", str(state.state_path), "Start the same script again"):
        assert told in str(stopped.value)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    resumed = FakeServiceClient(tmp_path / "server")
    train_on_fake(resumed, make_config())
    assert rows_of_run(tmp_path / "run") == whole_rows
    assert resumed.count("forward_backward") == 6 - done, "a batch was done twice"


@pytest.mark.parametrize("call", ["forward_backward", "optim_step", "save_weights_for_sampler"])
def test_signal_within_a_training_step_lets_it_end(make_config, tmp_path, whole_rows, call):
    slow = Fault("optim_step", nth=3, error="slow", seconds=0.1)
    service = SignallingService(tmp_path / "server", call, 3, signal.SIGTERM, faults=[slow])
    with pytest.raises(RunInterrupted):
        train_on_fake(service, make_config())
    # A step is under way once its optimizer step is submitted. The first save of sampler weights is the fresh
    # tutor's, so that its third one belongs to step 1.
    assert newest_state(tmp_path / "run").batch == (3 if call == "optim_step" else 2)
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config())
    assert rows_of_run(tmp_path / "run") == whole_rows


@pytest.mark.parametrize("call", ["sample", "optim_step", "save_state"])
def test_second_signal_stops_at_once_and_corrupts_nothing(make_config, tmp_path, whole_rows, call):
    slow = Fault(call, nth=2, error="slow", seconds=3600)  # whoever waited for it would be stopped by the test's limit
    service = SignallingService(tmp_path / "server", call, 2, signal.SIGINT, signal.SIGINT, faults=[slow])
    with pytest.raises(RunInterrupted, match="at once"):
        train_on_fake(service, make_config())
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config())
    assert rows_of_run(tmp_path / "run") == whole_rows


def test_signal_before_the_first_batch_is_done_saves_nothing(make_config, tmp_path, whole_rows):
    service = SignallingService(tmp_path / "server", "sample", 2, signal.SIGINT)
    with pytest.raises(RunInterrupted, match="no batch was done since the start at batch 0"):
        train_on_fake(service, make_config())
    assert service.count("save_state") == 0
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config())
    assert rows_of_run(tmp_path / "run") == whole_rows


def test_state_that_cannot_be_saved_on_the_way_out_is_said(make_config, tmp_path, whole_rows):
    failing = Fault("save_state", nth=2, error="request_failed", times=9)
    service = SignallingService(tmp_path / "server", "forward_backward", 4, signal.SIGINT, faults=[failing])
    with pytest.raises(RunInterrupted, match="state of batch 3 could not be saved; the newest recorded one"):
        train_on_fake(service, make_config())
    train_on_fake(FakeServiceClient(tmp_path / "server"), make_config())
    assert rows_of_run(tmp_path / "run") == whole_rows


async def test_cancellation_saves_a_state_and_touches_no_handler(make_config, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    service, handlers = FakeServiceClient(tmp_path / "server"), set()
    task = asyncio.create_task(train_async(make_config(), service_client=service))
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        handlers.add(signal.getsignal(signal.SIGTERM))
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError, match="batches are done"):
        await task
    assert handlers == {before}
    assert newest_state(tmp_path / "run").batch == len(read_rows(tmp_path / "run" / "metrics.jsonl"))
    for _ in range(9):  # a cancelled task takes a few turns to end
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1, "a task was left behind"


ON_THE_FAKE = """
import sys
from socratic_distill import SocraticConfig, run_script, train
from socratic_distill.testing import FakeRestClient, FakeServiceClient

service = FakeServiceClient()
config = SocraticConfig.model_validate_json(sys.argv[1])
raise SystemExit(run_script(lambda: train(config, service_client=service, rest_client=FakeRestClient(service))))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_script_exits_by_the_shells_convention(make_config, tmp_path, number):
    # Both signals on the fake; Ctrl-C besides in the quickstart, on the local engine, below, among the slow tests.
    check_exit([sys.executable, "-c", ON_THE_FAKE, make_config(max_steps=10**4).model_dump_json()], tmp_path, number)


@pytest.mark.slow
def test_quickstart_exits_by_the_shells_convention(tmp_path):
    pytest.importorskip("torch")
    script = Path(__file__).parents[2] / "examples" / "quickstart.py"
    command = [sys.executable, str(script), "--steps", "50", "--log-path", str(tmp_path / "run")]
    check_exit(command, tmp_path, signal.SIGINT)


def check_exit(command, tmp_path, number):
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists():
        assert child.poll() is None, f"the script ended by itself: {child.communicate()[0]}"
        time.sleep(0.02)
    child.send_signal(number)
    told = child.communicate()[0]
    assert child.returncode == 128 + number
    assert "batches are done" in told and "Traceback" not in told
    assert newest_state(tmp_path / "run").batch == len(read_rows(metrics))
