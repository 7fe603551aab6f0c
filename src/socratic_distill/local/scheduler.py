"""When requests are carried out: batches form by what there is to do, never by who came first.

Inside an asyncio loop a batch is taken once every caller waits for an answer: nothing is in flight, and the
loop has turned many times without a new request. So the same dialogues make the same batches, and with the
same batches floating point gives the same bits. Outside a loop, waiting for a result takes the batch.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from socratic_distill.futures import ServiceFuture

# An answer wakes its caller over a few turns of the loop: future, task, gather, semaphore. This is far more.
_QUIET_TURNS = 100


@dataclass(eq=False)
class Job:
    """One request: either `run` carries it out alone, or `work` goes into a batch with others.

    Attributes:
        run: carries the request out and gives its answer; None for a job that is batched.
        work: what the batch function gets; None for a job that runs alone.
        future: completed with the answer.
    """

    run: Callable[[], Any] | None = None
    work: Any = None
    future: Future[Any] = field(default_factory=Future)


class Scheduler:
    """Carries jobs out on one worker thread, the only one that touches torch.

    Args:
        run_batch: carries out the batched jobs of a batch; completes their futures.
    """

    def __init__(self, run_batch: Callable[[Sequence[Job]], None]) -> None:
        self._run_batch = run_batch
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="socratic-local")
        self._lock = Lock()
        self._waiting: list[Job] = []
        self._submitted = 0
        self._in_flight = False
        self._armed = False

    def submit(self, job: Job) -> ServiceFuture[Any]:
        """Queues a job; its answer comes by the future."""
        with self._lock:
            self._waiting.append(job)
            self._submitted += 1
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            self._arm(loop)
        return ServiceFuture(job.future, drive=self._drive)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._armed and not self._in_flight:
            self._armed = True
            loop.call_soon(self._settle, loop, self._submitted, _QUIET_TURNS)

    def _settle(self, loop: asyncio.AbstractEventLoop, seen: int, turns: int) -> None:
        """Takes the batch after enough turns of the loop without a new request."""
        if self._submitted != seen:
            loop.call_soon(self._settle, loop, self._submitted, _QUIET_TURNS)
        elif turns:
            loop.call_soon(self._settle, loop, seen, turns - 1)
        else:
            self._armed = False
            if jobs := self._take():
                self._in_flight = True
                done = self._worker.submit(self._carry_out, jobs)
                done.add_done_callback(lambda _: _call_in(loop, self._landed, loop))

    def _landed(self, loop: asyncio.AbstractEventLoop) -> None:
        self._in_flight = False
        if self._waiting:
            self._arm(loop)

    def _drive(self) -> None:
        """Carries out all that waits, for a caller that blocks on a result."""
        self._worker.submit(self._carry_out, self._take()).result()

    def _take(self) -> list[Job]:
        with self._lock:
            jobs, self._waiting = self._waiting, []
        return [job for job in jobs if job.future.set_running_or_notify_cancel()]

    def _carry_out(self, jobs: Sequence[Job]) -> None:
        """Batched jobs first, since those on snapshots of weights do not depend on training; then the others."""
        batched = [job for job in jobs if job.run is None]
        if batched:
            try:
                self._run_batch(batched)
            except BaseException as error:
                for job in batched:
                    if not job.future.done():
                        job.future.set_exception(error)
        for job in jobs:
            if job.run is not None:
                try:
                    job.future.set_result(job.run())
                except BaseException as error:
                    job.future.set_exception(error)


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: Any) -> None:
    if not loop.is_closed():  # a cancelled run closes its loop while the last batch is still in flight
        loop.call_soon_threadsafe(callback, *args)
