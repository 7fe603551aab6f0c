"""The batches of a run: the algorithm on one page.

A batch of dialogues is played, the teacher scores the tutor's tokens, the tutor takes one step towards the
teacher, and the next batch is played with the new weights: strictly on-policy, unless `max_staleness` lets it run
ahead. What overlaps is in `stream.py`; what a step writes is in `run.py`.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from socratic_distill.cost.budget import Budget
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.rollout import check_failures
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.rows import dialogue_row
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.errors import CostLimitReached, RolloutError, ServiceError, SocraticError
from socratic_distill.outputs.display import Moment
from socratic_distill.outputs.progress import Audience
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.plan import Plan
from socratic_distill.service.waiting import StoppedAtOnce, beside, finish, take_note
from socratic_distill.training.evaluations import Evaluations
from socratic_distill.training.learner import Update
from socratic_distill.training.metrics import dialogue_metrics, staleness_metrics, update_metrics
from socratic_distill.training.recovery import Recoveries
from socratic_distill.training.session import Session
from socratic_distill.training.step_times import Stopwatch, span_row, time_metrics
from socratic_distill.training.stream import Stream


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
            row = {} if ending is None else await finish(beside(ending, self._limit, session.saver.trouble))
            state_path, sampler_path = await finish(session.save_final(self._run))
        except (ServiceError, StoppedAtOnce):
            raise
        except SocraticError as error:
            self._stream.close(session.taken)
            told = await session.stop(ending)
            self._audience.say(f"{log_path}: stopping; {told}")
            if isinstance(error, (CostLimitReached, RolloutError)):
                raise type(error)(f"{error}. {told}") from None
            raise
        except asyncio.CancelledError:
            self._stream.close(session.taken)
            told = f"{log_path} was interrupted; {await session.stop(ending)}. Start the same script again to go on"
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

        if self._lacks_answers(scored) or is_last or self._is_spent():
            return row
        if (cast := await session.recast(update)) is not None:
            self._renew(cast, step + 1)
        return row

    def _lacks_answers(self, scored: Sequence[ScoredDialogue]) -> bool:
        """Whether too many last answers of the student failed; they come when the batch was trained on already."""
        config = self._plan.config
        return self._is_beyond(lambda: check_failures([one.dialogue for one in scored], config.max_failed_fraction))

    def _is_spent(self) -> bool:
        """Whether the next step would pass the limit on the cost."""
        return self._is_beyond(self._budget.check)

    def _is_beyond(self, check: Callable[[], None]) -> bool:
        """Whether a check fails; then the batches end in good order."""
        try:
            check()
        except SocraticError as error:
            if not self._limit.done():
                self._limit.set_exception(error)
        return self._limit.done()

    def _renew(self, cast: Cast, step: int) -> None:
        self._stream.renew(cast, step)
        self._clock.renewed(step)
