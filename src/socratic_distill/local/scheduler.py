"""When requests are carried out: batches form by what there is to do, never by who came first.

Inside an asyncio loop a batch is taken once every caller waits for an answer: nothing is in flight, and the
loop has turned many times without a new request. So the same dialogues make the same batches, and with the
same batches floating point gives the same bits. Outside a loop, waiting for a result takes the batch.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from socratic_distill.in_process import LANE, Lane, ServiceFuture

# An answer wakes its caller over a few turns of the loop: future, task, gather, semaphore. This is far more.
_QUIET_TURNS = 100


@dataclass(eq=False)
class Job:
    """One request: either `run` carries it out alone, or `work` goes into a batch with others.

    Attributes:
        run: carries the request out and gives its answer; None for a job that is batched.
        work: what the batch function gets; None for a job that runs alone.
        lane: jobs of different lanes do not share a batch.
        future: completed with the answer.
    """

    run: Callable[[], Any] | None = None
    work: Any = None
    lane: Lane = field(default_factory=LANE.get)
    future: Future[Any] = field(default_factory=Future)


class Scheduler:
    """Carries jobs out on one worker thread, the only one that touches torch."""

    def __init__(self, run_batch: Callable[[Sequence[Job]], None]) -> None:
        """Makes the worker thread, which waits for jobs.

        Args:
            run_batch: carries out the batched jobs of a batch; completes their futures.
        """
        self._run_batch = run_batch
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="socratic-local")
        # Reentrant: garbage collection may drop a client, and so submit, in the middle of a submit.
        self._lock = RLock()
        self._waiting: list[Job] = []
        self._submitted = 0
        self._in_flight = False
        self._caller: asyncio.AbstractEventLoop | None = None  # the loop that submitted last
        self._armed: asyncio.AbstractEventLoop | None = None  # the loop that counts its quiet turns

    def submit(self, job: Job) -> ServiceFuture[Any]:
        """Queues a job; its answer comes by the future."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self._lock:
            self._waiting.append(job)
            self._submitted += 1
            if loop is not None:
                self._caller = loop
                self._arm(loop)
        return ServiceFuture(job.future, drive=self._drive)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lets a loop count its turns, unless one does already; a loop that died at it does not count."""
        with self._lock:
            if self._in_flight or (self._armed is not None and self._armed.is_running()):
                return
            self._armed = loop
        loop.call_soon(self._settle, loop, self._submitted, _QUIET_TURNS)

    def _settle(self, loop: asyncio.AbstractEventLoop, seen: int, turns: int) -> None:
        """Takes the batch after enough turns of the loop without a new request."""
        if self._armed is not loop:  # this loop stood still, and another has taken over
            return
        if self._submitted != seen:
            loop.call_soon(self._settle, loop, self._submitted, _QUIET_TURNS)
        elif turns:
            loop.call_soon(self._settle, loop, seen, turns - 1)
        else:
            with self._lock:
                self._armed = None
                jobs = self._take()
                self._in_flight = bool(jobs)
            if jobs:
                self._worker.submit(self._fly, jobs)

    def _fly(self, jobs: Sequence[Job]) -> None:
        """Carries a loop's batch out, and lands it here: that loop may be closed by then."""
        self._carry_out(jobs)
        with self._lock:
            self._in_flight = False
            caller = self._caller if self._waiting else None
        if caller is not None:
            with suppress(RuntimeError):  # closed: the next caller arms its own loop
                caller.call_soon_threadsafe(self._arm, caller)

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
