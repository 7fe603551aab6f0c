"""`train()`: the algorithm on one page.

A batch of dialogues is played, the teacher scores the tutor's tokens, the tutor takes one step towards the
teacher, and the next batch is played with the new weights: strictly on-policy. How a run gets its clients
and its place to start is in `session.py`, how it survives losing them in `recovery.py`; what a step writes is
in `run.py`.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from socratic_distill.config import SocraticConfig
from socratic_distill.display import Display, open_display
from socratic_distill.errors import ServiceError, SocraticError, TrainingError
from socratic_distill.interrupts import StoppedAtOnce, finish, run_interruptible
from socratic_distill.metrics import dialogue_metrics, dialogue_row, update_metrics
from socratic_distill.objective import make_examples
from socratic_distill.plan import Plan, decide, finished, read_plan
from socratic_distill.recovery import Recoveries
from socratic_distill.rollout import Cast, check_failures, play_batch
from socratic_distill.run import RunDirectory
from socratic_distill.seeds import batch
from socratic_distill.service import connect
from socratic_distill.session import Session, open_session
from socratic_distill.teacher import ScoredDialogue, score_batch


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        status: "completed", or "already_complete" where there was nothing left to do.
        steps: batches done, over the run's whole life.
        state_path: the final training state.
        sampler_path: the final sampler weights; None where the run was complete and holds none.
        metrics: the last step's row of metrics.jsonl; empty where this call ran no step.
    """

    status: Literal["completed", "already_complete"]
    steps: int
    state_path: str
    sampler_path: str | None
    metrics: dict[str, Any]


def train(config: SocraticConfig, *, service_client: Any = None, rest_client: Any = None) -> TrainResult:
    """Trains the tutor, or resumes a run, until its last step.

    In the main thread, the first SIGINT or SIGTERM lets the training step in progress end, drops unfinished
    dialogues and saves a state; the second one stops at once.

    Args:
        config: what to do; see `build_socratic_config`.
        service_client: any object with the Tinker service client's interface. None opens the service that
            `config.base_url` names.
        rest_client: its REST client. None with a service_client leaves out checks that need one.

    Raises:
        EventLoopRunning: an asyncio loop already runs in this thread, as in a notebook.
        RunInterrupted: a signal stopped it.
        SocraticError: everything that `train_async` raises.
    """
    return run_interruptible(
        lambda: train_async(config, service_client=service_client, rest_client=rest_client), "train"
    )


async def train_async(config: SocraticConfig, *, service_client: Any = None, rest_client: Any = None) -> TrainResult:
    """The same as `train`, on the asyncio loop that it is awaited on.

    It touches no signal handler: a cancellation does what the first signal does in `train`, and is then raised
    again; a second one stops at once.

    Raises:
        StartError: `log_path` and `load_checkpoint_path` do not say what to begin from, or the config means
            another run.
        SeedError: the seeds cannot be read.
        RunLocked: another process writes to `log_path`.
        RolloutError: too many dialogues of a batch failed.
        ServiceError: the service refused a call, or its clients were lost too often. The run can be resumed.
        StorageError: the run directory cannot be written.
    """
    with RunDirectory(config.log_path) as run, closing(open_display(config.display)) as display:
        plan = read_plan(config, run)
        if final := finished(plan, run, decide(plan, run)):
            display.say(f"{config.log_path}: the run is complete ({plan.total} steps); raise max_steps to go on")
            return TrainResult("already_complete", plan.total, *final, metrics={})
        service = await connect(config, service_client, rest_client)
        recoveries = Recoveries(config.max_recoveries, display)
        while True:
            try:
                session = await open_session(plan, run, service, display)
                return await run_batches(session, plan, run, display, recoveries)
            except TrainingError as error:
                recoveries.count(error)


async def run_batches(
    session: Session, plan: Plan, run: RunDirectory, display: Display, recoveries: Recoveries
) -> TrainResult:
    """The loop: from the session's batch to the run's last. However it ends, what was done is saved if it can be."""
    config, row = plan.config, {}
    try:
        for step in range(session.batch, plan.total):
            clock = Stopwatch()
            cast = await session.cast()
            chosen = batch(plan.seeds, seed=config.seed, step=step, size=config.groups_per_batch)
            dialogues = await play_batch(chosen, step, config.num_envs, cast, config.max_concurrent_dialogues)
            clock.lap("time/rollout")

            scored = await score_batch(dialogues, cast, session.stage.teacher, config.max_concurrent_dialogues)
            check_failures([one.dialogue for one in scored], config.max_failed_fraction)
            clock.lap("time/teacher")

            row = await finish(learn(scored, cast, session, plan, run, clock, recoveries))
            display.step(session.batch, plan.total, row)
        state_path, sampler_path = await finish(session.save_final(run))
    except (ServiceError, StoppedAtOnce):
        raise
    except SocraticError:
        display.say(f"{config.log_path}: stopping; {await session.stop()}")
        raise
    except asyncio.CancelledError:
        told = f"{config.log_path} was interrupted; {await session.stop()}. Start the same script again to resume"
        display.say(told)
        raise asyncio.CancelledError(told) from None
    finally:
        session.abandon()
    display.say(f"{config.log_path}: complete after {session.batch} steps; final state {state_path}")
    return TrainResult("completed", session.batch, state_path, sampler_path, row)


async def learn(
    scored: Sequence[ScoredDialogue],
    cast: Cast,
    session: Session,
    plan: Plan,
    run: RunDirectory,
    clock: "Stopwatch",
    recoveries: Recoveries,
) -> dict[str, Any]:
    """One training step: the update, then its rows, then the saves that a resume could begin from behind them."""
    config, step = plan.config, session.batch
    coef, discount = config.kl_penalty_coef, config.kl_discount_factor
    examples = [example for one in scored for example in make_examples(one, coef, discount)]
    update = await session.update(examples)
    clock.lap("time/update")

    row = {"step": step, "version": cast.tutor.version}
    row |= dialogue_metrics(scored, cast.tutor.renderer.tokenizer.decode)
    row |= update_metrics(examples, update.logprobs, update.metrics)
    row |= clock.laps() | recoveries.metrics()
    run.log_step(row, map(dialogue_row, scored))
    recoveries.passed(step)
    await session.save(update, is_last=step + 1 == plan.total)
    return row


class Stopwatch:
    """Seconds of the phases of a step, by the key of the metric."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, key: str) -> None:
        """Ends a phase."""
        now = time.monotonic()
        self._laps[key], self._last = now - self._last, now

    def laps(self) -> dict[str, float]:
        """All phases so far, and `time/step`, the seconds since the step began."""
        return {**self._laps, "time/step": time.monotonic() - self._began}
