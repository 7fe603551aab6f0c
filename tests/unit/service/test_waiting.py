"""What signals and cancellations do to a coroutine."""

import asyncio
import os
import signal
import threading

import pytest

from socratic_distill.errors import EventLoopRunning, RunInterrupted
from socratic_distill.service.waiting import StoppedAtOnce, run_blocking, run_interruptible, shielded


def send(number):
    os.kill(os.getpid(), number)


async def test_first_cancellation_waits_for_what_must_end():
    done = []

    async def work():
        await asyncio.sleep(0.02)
        done.append("work")

    task = asyncio.create_task(shielded(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as stopped:
        await task
    assert done == ["work"] and not isinstance(stopped.value, StoppedAtOnce)


async def test_second_cancellation_stops_it():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.create_task(shielded(work()))
    for _ in range(2):
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(StoppedAtOnce):
        await task
    await asyncio.sleep(0)
    assert ended == ["cancelled"]


async def test_failure_after_a_cancellation_is_logged_and_cancellation_raised(caplog):
    async def work():
        await asyncio.sleep(0.01)
        raise ValueError("no such state")

    task = asyncio.create_task(shielded(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "while stopping: no such state" in caplog.text


async def test_without_a_cancellation_result_and_error_pass():
    async def work(fails):
        if fails:
            raise ValueError("wrong")
        return 3

    assert await shielded(work(False)) == 3
    with pytest.raises(ValueError, match="wrong"):
        await shielded(work(True))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_becomes_run_interrupted_with_what_the_coroutine_told(number, code):
    before = signal.getsignal(number)

    async def work():
        send(number)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # time to save
            raise asyncio.CancelledError("3 batches are done") from None

    with pytest.raises(RunInterrupted, match="3 batches are done") as stopped:
        run_interruptible(work, "train")
    assert (stopped.value.signal_number, stopped.value.exit_code) == (number, code)
    assert signal.getsignal(number) is before


def test_loop_that_waits_is_woken():
    async def work():
        threading.Timer(0.05, send, [signal.SIGTERM]).start()
        await asyncio.sleep(60)

    with pytest.raises(RunInterrupted, match="Start the same script again"):
        run_interruptible(work, "train")


def test_second_signal_stops_at_once():
    saved = []

    async def work():
        send(signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            send(signal.SIGINT)
            await asyncio.sleep(60)
            saved.append("state")

    with pytest.raises(RunInterrupted, match="at once by a second signal"):
        run_interruptible(work, "train")
    assert saved == []


def test_signal_before_the_coroutine_begins_is_not_lost(monkeypatch):
    began = []

    async def work():
        began.append(True)

    def after_a_signal(call, name):
        send(signal.SIGTERM)
        return run_blocking(call, name)

    monkeypatch.setattr("socratic_distill.service.waiting.run_blocking", after_a_signal)
    with pytest.raises(RunInterrupted, match="before anything was done"):
        run_interruptible(work, "train")
    assert began == []


def test_handlers_of_the_user_and_ignored_signals_are_put_back_or_left():
    seen = []

    def mine(number, frame):
        seen.append(number)

    old = signal.signal(signal.SIGTERM, mine), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        async def work():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            send(signal.SIGINT)
            await asyncio.sleep(0.01)
            return "done"

        assert run_interruptible(work, "train") == "done"
        assert signal.getsignal(signal.SIGTERM) is mine
        send(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, old[0])
        signal.signal(signal.SIGINT, old[1])


def test_other_threads_install_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    async def work():
        seen.append(signal.getsignal(signal.SIGTERM))
        return "done"

    thread = threading.Thread(target=lambda: seen.append(run_interruptible(work, "train")))
    thread.start()
    thread.join()
    assert seen == [before, "done"]


def test_keyboard_interrupt_of_the_callers_own_passes():
    async def work():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work, "train")


async def test_running_loop_is_refused():
    async def work():
        return None

    with pytest.raises(EventLoopRunning, match="await train_async"):
        run_interruptible(work, "train")
