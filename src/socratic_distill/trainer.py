"""`train()`: the algorithm on one page.

A batch of dialogues is played, the teacher scores the tutor's tokens, the tutor takes one step towards the
teacher, and the next batch is played with the new weights: strictly on-policy, unless `max_staleness` lets it run
ahead. What overlaps is in `stream.py`. How a run gets its clients and its place to start is in `session.py`, how it
survives losing them in `recovery.py`; what a step writes is in `run.py`.
"""

import asyncio
import logging
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from socratic_distill.audience import Audience
from socratic_distill.budget import Budget
from socratic_distill.checking import Listing
from socratic_distill.config import SocraticConfig
from socratic_distill.display import Display, Moment
from socratic_distill.errors import CostLimitReached, NoUsableCheckpoint, ServiceError, SocraticError
from socratic_distill.estimate import announce
from socratic_distill.evaluation.during import Evaluations
from socratic_distill.interrupts import StoppedAtOnce, beside, finish, run_interruptible, take_note
from socratic_distill.learner import Update
from socratic_distill.metrics import dialogue_metrics, dialogue_row, staleness_metrics, update_metrics
from socratic_distill.objective import make_examples
from socratic_distill.plan import Plan, decide, finished, read_plan
from socratic_distill.preparing import fit_to_service
from socratic_distill.recovery import Recoveries
from socratic_distill.rollout import Cast, check_failures, describe
from socratic_distill.run import RunDirectory, read_run_id
from socratic_distill.service import Service
from socratic_distill.session import Session, open_session
from socratic_distill.storage import check_storage
from socratic_distill.stream import Stream
from socratic_distill.teacher import ScoredDialogue
from socratic_distill.timeline import Stopwatch, span_row, time_metrics

_log = logging.getLogger(__name__)


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
        PreflightError: several problems keep the run from starting; where it is one alone, that is raised.
        ModelNotOffered: the service does not offer a model.
        StartError: `log_path` and `load_checkpoint_path` do not say what to begin from, or the config means
            another run.
        SeedError: the seeds cannot be read.
        RunLocked: another process writes to `log_path`.
        CostLimitReached: one more step would take the run beyond `config.max_cost_usd`.
        RolloutError: too many dialogues of a batch failed.
        ServiceError: the service refused a call, or its clients were lost too often. The run can be resumed.
        StorageError: the run directory cannot be written.
    """
    listing = Listing(config, service_client, rest_client)
    async with listing.listed():
        check_storage(config)
    async with RunDirectory(config.log_path) as run, Audience(config) as audience:
        recoveries = Recoveries(config.max_recoveries, audience)
        async with listing.listed():
            plan, service = await _prepare(config, run, listing, recoveries)
            budget = Budget(plan.config, run.path)
        with closing(Evaluations(plan, run, audience, budget)) as evaluations:
            result = _already_complete(plan, run, audience)
            if result is None or not evaluations.is_complete:
                service = run.guarded(service or await listing.connect())
                if result is None:
                    announce(plan, run, budget, audience)
                    lasting = Lasting(plan, run, audience, evaluations, recoveries, budget)
                    result = await recoveries.over(lambda: _train_session(lasting, service, listing))
                else:
                    _begin(audience, run, plan.total)
                    evaluations.catch_up(service, plan.total)
                await evaluations.finish()
        if config.write_report:
            await _report(config.log_path, run, audience)
        return result


async def _prepare(
    config: SocraticConfig, run: RunDirectory, listing: Listing, recoveries: Recoveries
) -> tuple[Plan, Service | None]:
    """What is to be done, and the service that it is done on; no service where nothing is left to do."""
    plan = read_plan(config, run)
    if final_of(plan, run) is not None:
        return plan, None
    service = await listing.connect()
    return await recoveries.over(lambda: fit_to_service(plan, run, service)), service


def _begin(audience: Audience, run: RunDirectory, batch: int) -> None:
    audience.begin(read_run_id(run.path) or "", batch, run.path)


async def _report(log_path: str, run: RunDirectory, display: Display) -> None:
    """Writes the run's report; one that fails does not make a run of weeks fail at its end."""
    from socratic_distill.report import write_report

    try:
        page = await asyncio.to_thread(write_report, run.path)  # seconds for a long run
        display.say(f"{log_path}: report in {log_path.rstrip('/')}/{page.name}")
    except Exception as error:
        _log.warning("the report of %s was not written: %s", log_path, describe(error))


def _already_complete(plan: Plan, run: RunDirectory, display: Display) -> TrainResult | None:
    final = final_of(plan, run)
    if final is None:
        return None
    display.say(f"{plan.config.log_path}: the run is complete ({plan.total} steps); raise max_steps to go on")
    return TrainResult("already_complete", plan.total, *final, metrics={})


async def _train_session(lasting: "Lasting", service: Service, listing: Listing) -> TrainResult:
    """Opens the run's clients from where it stands, and trains as long as they live."""
    async with listing.listed():
        session = await open_session(lasting.plan, lasting.run, service, lasting.evaluations, lasting.audience)
    _begin(lasting.audience, lasting.run, session.batch)
    return await Loop(session, lasting).train()


def final_of(plan: Plan, run: RunDirectory) -> tuple[str, str | None] | None:
    """The last state and sampler weights of a run that is complete; None where there is something to do."""
    try:
        return finished(plan, run, decide(plan, run))
    except NoUsableCheckpoint:  # the service may hold a state that the journal lacks; it is asked before the start
        return None


@dataclass(frozen=True)
class Lasting:
    """What outlives a session: a run that loses its clients goes on with it.

    Attributes:
        plan: what the run is to do.
        run: its directory.
        audience: who is told of it.
        evaluations: those under way and those to come.
        recoveries: how often clients were lost.
        budget: what was spent.
    """

    plan: Plan
    run: RunDirectory
    audience: Audience
    evaluations: Evaluations
    recoveries: Recoveries
    budget: Budget


class Loop:
    """The batches of a session, from its own to the run's last.

    Up to two steps are under way at once: one whose dialogues go to the learner as they are scored, and the one
    before, from its optimizer step to its rows, its saves and the new weights.
    """

    def __init__(self, session: Session, lasting: Lasting) -> None:
        """Begins with no step under way."""
        self._session = session
        self._plan, self._run = lasting.plan, lasting.run
        self._audience, self._recoveries, self._budget = lasting.audience, lasting.recoveries, lasting.budget
        self._stream = Stream(self._plan, session.stage)
        self._clock = Stopwatch()
        self._limit: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # fails where it is reached
        self._limit.add_done_callback(take_note)

    async def train(self) -> TrainResult:
        """Runs them. However it ends, what was done is saved if it can be."""
        session, log_path = self._session, self._plan.config.log_path
        ending: asyncio.Task[dict[str, Any]] | None = None  # the end of the step before
        try:
            self._audience.watch(self._look, self._run.metrics())
            self._budget.begin(self._run.metrics())
            if session.batch < self._plan.total:
                self._budget.check()
                self._stream.open(session.batch)
                self._renew(await session.cast(), session.batch)
            for step in range(session.batch, self._plan.total):
                update, left = await beside(self._gather(step), ending, self._limit, session.saver.trouble)
                session.begin_step(step)
                taken = asyncio.create_task(self._take_substeps(update, left)) if left else self._step(update)
                ending = asyncio.create_task(self._end(update, ending, taken))
                if taken is not None:  # under way, whatever comes
                    ending.add_done_callback(take_note)
                    await asyncio.shield(taken)
            row = {} if ending is None else await finish(beside(ending, session.saver.trouble))
            state_path, sampler_path = await finish(session.save_final(self._run))
        except (ServiceError, StoppedAtOnce):
            raise
        except SocraticError as error:
            self._stream.close(session.taken)
            told = await session.stop(ending)
            self._audience.say(f"{log_path}: stopping; {told}")
            if isinstance(error, CostLimitReached):
                raise CostLimitReached(f"{error}. {told}") from None
            raise
        except asyncio.CancelledError:
            self._stream.close(session.taken)
            told = f"{log_path} was interrupted; {await session.stop(ending)}. Start the same script again to resume"
            self._audience.say(told)
            raise asyncio.CancelledError(told) from None
        finally:
            session.abandon()
            if ending is not None:
                ending.cancel()
            self._stream.close()
        self._audience.say(f"{log_path}: complete after {session.batch} steps; final state {state_path}")
        return TrainResult("completed", session.batch, state_path, sampler_path, row)

    def _look(self) -> Moment:
        """The run as it stands, for the display's own thread: nothing here waits or changes anything."""
        session, batch = self._session, self._session.batch
        done, dialogues = self._stream.progress(batch)
        newest = session.saver.newest
        return Moment(
            batch,
            self._plan.total,
            done,
            dialogues,
            self._stream.in_flight,
            stage="training" if session.taken > batch else "playing",
            checkpoint=None if newest is None else f"{newest.name}, before batch {newest.batch}",
            evaluation=self._audience.evaluation,
        )

    async def _gather(self, step: int) -> tuple[Update, list[list[ScoredDialogue]]]:
        """Hands a batch's dialogues to the learner as they are scored, until all are and the step can be taken.

        Gives the groups that are left to hand over: all of them where there are several optimizer steps.
        """
        config, session, update = self._plan.config, self._session, self._session.learner.begin(step)
        is_whole = config.num_substeps > 1  # a step on a part of a batch that then fails could not be taken back
        scored: list[list[ScoredDialogue]] = []
        async for groups in self._stream.minibatches(step, config.groups_per_minibatch):
            scored += groups
            if not is_whole:
                await session.before_pass()
                session.learner.add(update, make_examples(groups, config, step))
        check_failures([one.dialogue for group in scored for one in group], config.max_failed_fraction)
        if not is_whole:
            await session.learner.settle(update)
        await session.between_steps()
        return update, scored if is_whole else []

    async def _take_substeps(self, update: Update, groups: list[list[ScoredDialogue]]) -> None:
        """Takes an optimizer step on each equal run of a batch's groups."""
        config, learner = self._plan.config, self._session.learner
        size = len(groups) // config.num_substeps
        for first in range(0, len(groups), size):
            if first:
                learner.step(update, to_play_with=False)
            learner.add(update, make_examples(groups[first : first + size], config, update.batch))
            await learner.settle(update)
        self._step(update)

    def _step(self, update: Update) -> None:
        """Takes a batch's optimizer step, or the last one."""
        self._clock.taken(update.batch)
        self._session.step(update, is_last=update.batch + 1 == self._plan.total)

    async def _end(self, update: Update, *before: "asyncio.Task[Any] | None") -> dict[str, Any]:
        """What follows an optimizer step, in order of step: rows, saves, and the new weights to play with."""
        for one in before:
            if one is not None:
                await one
        session, step, is_last = self._session, update.batch, update.batch + 1 == self._plan.total
        scored = await self._stream.ended(step)
        # Not before: on the local engine, what is sampled ahead must not share a batch with this step's last answers,
        # or a resumed run, which has none of these, would sample it otherwise.
        self._stream.open(step + 1)
        logprobs, service_metrics = await update.answer()
        times = self._clock.answered(step)

        row = {"step": step, "version": update.version}
        row |= dialogue_metrics(scored, session.stage.decode)
        row |= update_metrics(update.examples, logprobs, service_metrics) | staleness_metrics(scored, update.version)
        row |= time_metrics(times, scored) | self._recoveries.metrics() | {"tokens/forward": update.forward_tokens}
        row |= self._budget.stepped(row)
        self._run.log_step(row, [dialogue_row(one, session.stage.pieces) | span_row(times, one) for one in scored])
        self._recoveries.passed(step)
        session.save(is_last)
        self._audience.step(session.batch, self._plan.total, row)

        if is_last or self._is_spent():
            return row
        if (cast := await session.recast(update)) is not None:
            self._renew(cast, step + 1)
        return row

    def _is_spent(self) -> bool:
        """Whether the next step would pass the limit on the cost; then the batches end in good order."""
        try:
            self._budget.check()
        except CostLimitReached as error:
            if not self._limit.done():
                self._limit.set_exception(error)
        return self._limit.done()

    def _renew(self, cast: Cast, step: int) -> None:
        self._stream.renew(cast, step)
        self._clock.renewed(step)
