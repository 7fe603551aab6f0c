"""The loop on virtual time: it jumps, and what runs takes none of it."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from socratic_distill.testing import clock
from socratic_distill.testing.clock import VirtualLoop, run_virtual


def now():
    return asyncio.get_running_loop().time()


def test_time_jumps_to_each_timer_in_turn():
    async def main():
        woken = []

        async def wait(seconds):
            await asyncio.sleep(seconds)
            woken.append((seconds, now()))

        await asyncio.gather(*map(wait, (7200.0, 0.5, 3600.0, 3600.25)))
        return woken

    # Hours: that they take no real time is seen by the test's own limit.
    assert run_virtual(main()) == [(one, one) for one in (0.5, 3600.0, 3600.25, 7200.0)]


def test_one_wait_may_be_longer_than_a_selector_waits_at_once():
    async def main():
        await asyncio.sleep(10 * 24 * 3600)
        return now()

    assert run_virtual(main()) == 10 * 24 * 3600


def test_no_virtual_time_passes_while_code_runs():
    async def main():
        await asyncio.sleep(1.5)
        sum(range(300_000))  # takes real milliseconds
        for _ in range(50):
            await asyncio.sleep(0)
        await asyncio.to_thread(sum, range(300_000))
        return now()

    assert run_virtual(main()) == 1.5


def test_every_loop_begins_at_zero():
    async def main():
        before = now()
        await asyncio.sleep(5)
        return before

    assert [run_virtual(main()), run_virtual(main())] == [0.0, 0.0]


def test_an_executor_runs_at_once_in_the_loops_thread():
    told = ContextVar("told", default="nothing")

    async def main():
        told.set("this")
        seen = await asyncio.to_thread(lambda: (threading.get_ident(), told.get(), "carried"))
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        order = []
        waiting = asyncio.get_running_loop().run_in_executor(None, order.append, "work")
        order.append("next line")
        await waiting
        return seen, order

    assert run_virtual(main()) == ((threading.get_ident(), "this", "carried"), ["work", "next line"])


def test_a_timeout_strikes_at_its_time():
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 5)
        return now()

    assert run_virtual(main()) == 5.0


def test_a_cancelled_sleep_holds_nobody_up():
    async def main():
        sleeper = asyncio.create_task(asyncio.sleep(3600))
        asyncio.get_running_loop().call_later(2, sleeper.cancel)
        with pytest.raises(asyncio.CancelledError):
            await sleeper
        await asyncio.sleep(1)
        return now()

    assert run_virtual(main()) == 3.0


def test_what_is_left_running_is_cancelled_at_the_end():
    ended = []

    async def linger():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(now())

    async def main():
        lingering = asyncio.create_task(linger())
        await asyncio.sleep(2)
        return lingering.done()

    assert run_virtual(main()) is False
    assert ended == [2.0]


def test_an_error_comes_out():
    async def main():
        await asyncio.sleep(1)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run_virtual(main())


def test_a_loop_that_nothing_will_ever_wake_raises(monkeypatch):
    monkeypatch.setattr(clock, "_PATIENCE", 0.01)
    with pytest.raises(RuntimeError, match="nothing will ever do"):
        run_virtual(asyncio.wait_for(asyncio.Event().wait(), None))


def test_another_thread_can_wake_a_loop_without_timers():
    async def main():
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,))
        loop.call_soon(thread.start)
        await event.wait()
        thread.join()
        return now()

    assert run_virtual(main()) == 0.0


def test_a_jump_moves_the_time():
    loop = VirtualLoop()
    loop.jump(2.5)
    loop.jump(1.0)
    assert loop.time() == 3.5
    loop.close()
