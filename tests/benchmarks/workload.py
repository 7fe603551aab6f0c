"""The workload that every contender of `loop.py` plays, and what is measured while it does.

Sixteen groups of four dialogues a step, four tutor turns each, on the virtual service: an hour of training takes
seconds, and its virtual seconds are the same on every machine. Replies are words without numbers, so no dialogue
ends early.
"""

import asyncio
import json
import resource
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from socratic_distill import SocraticConfig, build_socratic_config
from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing import Served, VirtualServiceClient, run_virtual

T = TypeVar("T")
GROUPS, GROUP_SIZE, TURNS, SAVE_EVERY = 16, 4, 4, 5
ROLES = ("tutor", "student", "teacher")
_SEEDS = 64


@dataclass(frozen=True)
class Traffic:
    """What was sent to one model: `requests`, and tokens of prompts, of them not cached, and sampled."""

    requests: int
    prompt: int
    uncached: int
    sampled: int


@dataclass(frozen=True)
class Figures:
    """What one contender took for `steps` steps.

    Attributes:
        seconds: virtual seconds of the whole run, from its first call to its last answer.
        step_seconds: virtual seconds of a step in the steady state: between the ends of the first and the last
            optimizer step.
        cpu: processor seconds of the run without the service's, and `service_cpu` the service's.
        wall: real seconds of the run.
        peak_mib: largest resident memory of the process, imports included.
        requests: calls of all kinds; `traffic` of them those to each model.
    """

    contender: str
    steps: int
    dialogues: int
    seconds: float
    step_seconds: float
    cpu: float
    service_cpu: float
    wall: float
    peak_mib: float
    requests: int
    traffic: dict[str, Traffic]


class MeteredService(VirtualServiceClient):
    """A virtual service that knows what processor time is its own.

    Attributes:
        cpu: processor seconds spent on carrying calls out and on handing answers over, so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cpu = 0.0
        self._is_metered = False
        # Reading the clock is a system call, which on some machines takes longer than what is measured. One of the two
        # readings of each measurement lies outside of it.
        self._reading = min(_time_clock() for _ in range(5))

    def submit(self, call: str, action: Callable[[], T], **arguments: Any) -> ServiceFuture[T]:
        with self._meter():
            return super().submit(call, action, **arguments)

    def _serve(self, served: Served, seconds: float, outcome: Any, answer: Any) -> None:
        with self._meter():
            super()._serve(served, seconds, outcome, answer)

    def _done(self) -> None:
        with self._meter():
            super()._done()

    def _hand_over(self, outcome: Any, answer: Any) -> None:
        with self._meter():
            super()._hand_over(outcome, answer)

    @contextmanager
    def _meter(self) -> Iterator[None]:
        if self._is_metered:  # one part of the service called another
            yield
            return
        self._is_metered, began = True, time.thread_time()
        try:
            yield
        finally:
            self.cpu += time.thread_time() - began + self._reading
            self._is_metered = False


def _time_clock(readings: int = 1000) -> float:
    """Processor seconds that a reading of the processor's clock takes."""
    began = time.thread_time()
    for _ in range(readings):
        time.thread_time()
    return (time.thread_time() - began) / readings


def write_seeds(directory: Path, count: int) -> Path:
    """A file of seeds that are alike."""
    path = directory / "seeds.jsonl"
    with path.open("w") as file:
        for i in range(count):
            row = {"id": f"s{i}", "question": f"Tom has {i} apples and gets 30 more. How many?"}
            row |= {"expected_answer": str(30 + i), "initial_error": f"30 - {i} = {30 - i}."}
            file.write(json.dumps(row) + "\n")
    return path


def make_config(directory: Path, steps: int, **options: Any) -> SocraticConfig:
    """The workload as a config of ours, its seeds written beside the run."""
    return build_socratic_config(
        tutor_model_name="tutor",
        student_model_name="student",
        teacher_model_name="teacher",
        learning_rate=0.1,
        max_tokens=512,
        log_path=directory / "run",
        seeds_file=write_seeds(directory, _SEEDS),
        max_steps=steps,
        save_every=SAVE_EVERY,
        groups_per_batch=GROUPS,
        num_envs=GROUP_SIZE,
        max_turns=TURNS,
        display="off",
        **options,
    )


def measure(contender: str, steps: int, train: Callable[[MeteredService], Coroutine[Any, Any, None]]) -> Figures:
    """Runs a contender on a service of its own and on virtual time; call it in a fresh process."""

    async def main() -> tuple[MeteredService, float]:
        service = MeteredService()
        await train(service)
        return service, asyncio.get_running_loop().time()

    wall, cpu = time.perf_counter(), time.process_time()
    service, seconds = run_virtual(main())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ends = [served.ended for served in service.ledger if served.call == "optim_step"]
    assert len(ends) == steps, f"{contender} took {len(ends)} optimizer steps instead of {steps}"
    return Figures(
        contender=contender,
        steps=steps,
        dialogues=steps * GROUPS * GROUP_SIZE,
        seconds=seconds,
        step_seconds=(ends[-1] - ends[0]) / (steps - 1),
        cpu=cpu - service.cpu,
        service_cpu=service.cpu,
        wall=wall,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        requests=len(service.ledger),
        traffic={role: _traffic(service.ledger, role) for role in ROLES},
    )


def _traffic(ledger: list[Served], role: str) -> Traffic:
    sent = [served for served in ledger if served.model == role and served.prompt_tokens]
    return Traffic(
        requests=len(sent),
        prompt=sum(served.prompt_tokens for served in sent),
        uncached=sum(served.prompt_tokens - served.cached_tokens for served in sent),
        sampled=sum(served.output_tokens for served in sent),
    )
