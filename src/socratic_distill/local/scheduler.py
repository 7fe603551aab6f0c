"""Decides when requests run, so that batches depend on the requests, never on their timing.

In an asyncio loop, a batch starts when every caller waits for an answer: nothing is in flight, and the loop has turned
many times without a new request. So the same dialogues make the same batches, and the same batches give the same bits
in floating point. Outside a loop, the batch starts when a caller waits for a result.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from socratic_distill.in_process import LANE, Lane, ServiceFuture

# An answer needs a few turns of the loop to reach its caller: future, task, gather, semaphore. This is far more.
_QUIET_TURNS = 100


@dataclass(eq=False)
class Job:
    """One request: `run` executes it alone, or `work` goes into a batch with others.

    Attributes:
        run: executes the request and returns its answer; None for a job that is batched.
        work: input of the batch function; None for a job that runs alone.
        lane: jobs of different lanes do not share a batch.
        future: completed with the answer.
    """

    run: Callable[[], Any] | None = None
    work: Any = None
    lane: Lane = field(default_factory=LANE.get)
    future: Future[Any] = field(default_factory=Future)


class Scheduler:
    """Runs jobs on one worker thread, the only thread that uses torch."""

    def __init__(self, run_batch: Callable[[Sequence[Job]], None]) -> None:
        """Creates the worker thread, which waits for jobs.

        Args:
            run_batch: runs the batched jobs of a batch, and completes their futures.
        """
        self._run_batch = run_batch
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="socratic-local")
        # Reentrant: garbage collection may free a client during a submit, and that submits a job itself.
        self._lock = RLock()
        self._waiting: list[Job] = []
        self._submitted = 0
        self._in_flight = False
        self._caller: asyncio.AbstractEventLoop | None = None  # the loop that submitted last
        self._armed: asyncio.AbstractEventLoop | None = None  # the loop that counts its turns without a request

    def submit(self, job: Job) -> ServiceFuture[Any]:
        """Queues a job; the future gets its answer."""
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
        """Makes a loop count its quiet turns, unless another running loop already does."""
        with self._lock:
            if self._in_flight or (self._armed is not None and self._armed.is_running()):
                return
            self._armed = loop
        loop.call_soon(self._settle, loop, self._submitted, _QUIET_TURNS)

    def _settle(self, loop: asyncio.AbstractEventLoop, seen: int, turns: int) -> None:
        """Counts a turn of the loop, or starts the batch after enough turns without a new request."""
        if self._armed is not loop:  # this loop was stopped for a while, and another took over
            return
        if self._submitted != seen:
            loop.call_soon(self._settle, loop, self._submitted, _QUIET_TURNS)
        elif turns:  # callers that were just answered may still be about to submit
            loop.call_soon(self._settle, loop, seen, turns - 1)
        else:
            with self._lock:
                self._armed = None
                jobs = self._take()
                self._in_flight = bool(jobs)
            if jobs:
                self._worker.submit(self._fly, jobs)

    def _fly(self, jobs: Sequence[Job]) -> None:
        """Runs a loop's batch, on the worker; the loop may be closed when it ends."""
        self._carry_out(jobs)
        with self._lock:
            self._in_flight = False
            caller = self._caller if self._waiting else None
        if caller is not None:
            with suppress(RuntimeError):  # the loop is closed: the next caller arms its own
                caller.call_soon_threadsafe(self._arm, caller)

    def _drive(self) -> None:
        """Runs all waiting jobs, for a caller that blocks on a result."""
        self._worker.submit(self._carry_out, self._take()).result()

    def _take(self) -> list[Job]:
        with self._lock:
            jobs, self._waiting = self._waiting, []
        return [job for job in jobs if job.future.set_running_or_notify_cancel()]

    def _carry_out(self, jobs: Sequence[Job]) -> None:
        """Runs batched jobs first, then the others in order; sampling uses snapshots, so training cannot change it."""
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
