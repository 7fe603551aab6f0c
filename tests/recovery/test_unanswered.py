"""Requests that are never answered: told, given up after a limit, and the run goes on with new clients.

All on virtual time: what takes half an hour here takes no time.
"""

import asyncio
import logging
from typing import Any

import pytest
from tests.support.on_the_fake import train_on_fake_async
from tests.support.rows import read_rows

from socratic_distill import TrainingError, train_async
from socratic_distill.evaluation import compare_async
from socratic_distill.in_process import ServiceFuture
from socratic_distill.service.watched import Watch
from socratic_distill.testing import FakeServiceClient, Fault
from socratic_distill.testing.clock import VirtualLoop, run_virtual

pytestmark = pytest.mark.thinned

LIMIT = 1800.0
# Every call that a run makes once it has begun, the number of one of them, and the times that the wait takes.
CALLS = {
    "create_lora_training_client": 1,
    "create_sampling_client": 2,
    "get_server_capabilities": 1,
    "sample": 9,
    "forward_backward": 2,
    "optim_step": 2,
    "save_weights_for_sampler": 2,
    "save_state": 2,
}


def virtual_run(config: Any, *faults: Fault, directory: Any = None) -> tuple[FakeServiceClient, float]:
    """A run on virtual time; gives its service, and the seconds that it took."""
    service = FakeServiceClient(directory, faults=faults)

    async def run() -> float:
        await train_on_fake_async(service, config)
        return asyncio.get_running_loop().time()

    return service, run_virtual(run())


def comparable_rows(run: Any) -> list[Any]:
    metrics = [{**row, "recovery/count": 0} for row in read_rows(run / "metrics.jsonl")]
    return [metrics, read_rows(run / "dialogues.jsonl", without="span")]


@pytest.fixture
def whole_rows(make_config, tmp_path):
    virtual_run(make_config(log_path=tmp_path / "whole"))
    return comparable_rows(tmp_path / "whole")


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_an_answer_is_told_and_the_clients_reopened(make_config, tmp_path, whole_rows, capsys, call):
    _, seconds = virtual_run(make_config(display="plain"), Fault(call, CALLS[call], "never"))
    told = capsys.readouterr().out
    assert f"no answer to {call}" in told.partition("recovery 1 of 3")[0] and "for 2:00, since" in told
    assert "its client counts as lost (answer_timeout_seconds=1800)" in told
    assert LIMIT <= seconds < LIMIT + 1, "nothing else takes time on this service"
    assert comparable_rows(tmp_path / "run") == whole_rows


def test_the_scoring_of_a_teacher_is_watched_too(make_config, tmp_path, whole_rows):
    service, _ = virtual_run(make_config(log_path=tmp_path / "first"))
    samples = [one for one in service.calls if one.call == "sample"]
    nth = 1 + next(number for number, one in enumerate(samples) if one.arguments["prompt_logprobs"])
    service, seconds = virtual_run(make_config(), Fault("sample", nth, "never"))
    (unanswered,) = [one for one in service.calls if one.outcome == "unanswered"]
    assert unanswered.arguments["prompt_logprobs"], "another request was left without an answer"
    assert LIMIT <= seconds < LIMIT + 1
    assert comparable_rows(tmp_path / "run") == whole_rows


def test_a_service_that_never_answers_ends_the_run(make_config):
    with pytest.raises(TrainingError, match="no answer to forward_backward"):
        virtual_run(make_config(max_recoveries=2), Fault("forward_backward", 1, "never", times=10**6))


def test_without_a_limit_a_run_waits_for_ever_and_says_so(make_config, capsys):
    config = make_config(answer_timeout_seconds=None, display="plain")
    virtual_run(config, Fault("optim_step", 2, "slow", seconds=7300.0))
    told = capsys.readouterr().out
    assert told.count("no answer to optim_step") == 24, "after 2 minutes, and every 5 from then on"
    assert "answered after 2:01:40: optim_step" in told


@pytest.mark.parametrize("display", ["off", "plain"])
def test_pauses_that_the_sdk_tells_do_not_count(make_config, display):
    logger = logging.getLogger("tinker.lib.queue_state_logger")
    service = FakeServiceClient(faults=[Fault("forward_backward", 2, "slow", seconds=2 * 3600.0)])

    async def run() -> None:
        training = asyncio.create_task(train_async(make_config(display=display), service_client=service))
        for _ in range(100):  # for an hour and forty minutes the SDK says each minute that it pauses
            await asyncio.sleep(60)
            logger.warning("Training for run-1 is paused. Reason: Tinker backend is running short on capacity.")
        result = await training
        assert result.metrics["recovery/count"] == 0

    run_virtual(run())


def test_the_sdks_own_words_count_as_a_pause_and_a_lost_heartbeat_does_not():
    async def run() -> list[str]:
        said: list[str] = []
        watch = Watch(limit=100.0, say=said.append)
        client = watch.watched(Silent())
        logger = logging.getLogger("tinker.lib.internal_client_holder")
        request: Any = client.ask()
        for _ in range(5):
            await asyncio.sleep(60)
            logger.warning("The job is paused due to billing status. Error: 402")
        assert not request.done()
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            await asyncio.sleep(60)
            logger.warning("Session heartbeat failed for 130.1 seconds for session a.")
        with pytest.raises(TrainingError, match="no answer to ask"):
            await request
        assert asyncio.get_running_loop().time() - began == 300
        return said

    run_virtual(run())


class Silent:
    """A client whose requests are answered by hand."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def ask(self) -> ServiceFuture[Any]:
        from concurrent.futures import Future

        self.requests.append(Future())
        return ServiceFuture(self.requests[-1])

    forward_backward = sample = ask
    model_id = "run-1"

    def create_training_client(self) -> ServiceFuture[Any]:
        return ServiceFuture.of(self)


def test_a_long_queue_that_moves_is_not_lost():
    """Of many requests that take a minute each, the last is answered after hours."""

    async def run() -> None:
        silent = Silent()
        client = Watch(limit=300.0).watched(silent)
        answers = [client.ask() for _ in range(60)]
        for request in silent.requests:
            await asyncio.sleep(60)
            request.set_result("done")
        assert await asyncio.gather(*answers) == ["done"] * 60

    run_virtual(run())


def test_a_process_that_stood_still_gives_its_requests_time():
    async def run() -> None:
        silent, loop = Silent(), asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        request = Watch(limit=100.0).watched(silent).ask()
        await asyncio.sleep(10)
        loop.jump(3600)  # as under SIGSTOP
        await asyncio.sleep(90)
        silent.requests[0].set_result("done")
        assert await request == "done"

    run_virtual(run())


def test_no_request_of_a_training_client_is_ever_cancelled():
    async def run() -> None:
        service = Silent()
        watch = Watch(limit=100.0, say=lambda line: None)
        training = await watch.watched(service).create_training_client()
        given_up = training.forward_backward()
        with pytest.raises(TrainingError):
            await given_up
        waiting = asyncio.create_task(waits(training.forward_backward()))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not any(one.cancelled() for one in service.requests), "it would leave a hole in the client's requests"
        service.requests[0].set_result("late")  # for nobody
        await asyncio.sleep(1)

    run_virtual(run())


def test_a_dialogue_that_is_dropped_cancels_its_request():
    async def run() -> None:
        service = Silent()
        waiting = asyncio.create_task(waits(Watch(limit=None).watched(service).sample()))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.sleep(1)
        assert service.requests[0].cancelled(), "the service would go on with it, and bill it"

    run_virtual(run())


async def waits(request: Any) -> Any:
    return await request


def test_an_evaluation_without_an_answer_ends_and_is_told(make_config, caplog):
    service = FakeServiceClient(faults=[Fault("sample", 5, "never")])
    with pytest.raises(TrainingError, match="no answer to sample"):
        run_virtual(compare_async(make_config(), ["base"], service_client=service))
    assert "no answer to sample (pupil)" in caplog.text or "no answer to sample (small)" in caplog.text


def test_an_error_that_comes_late_for_a_request_given_up_is_nobodys():
    async def run() -> None:
        service = Silent()
        request = Watch(limit=10.0, say=lambda line: None).watched(service).ask()
        with pytest.raises(TrainingError):
            await request
        service.requests[0].set_exception(ValueError("late"))
        await asyncio.sleep(1)

    run_virtual(run())
