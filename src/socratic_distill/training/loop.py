"""The steps of a run: the algorithm on one page.

One step, in the order of the code below:

1. `_gather`: a batch's dialogues arrive from the stream, played from its seeds and scored by the teachers. They become
   training examples, and their forward and backward passes are submitted.
2. `_take_step`: one optimizer step moves the tutor towards the teachers; the new weights are saved to play with.
3. `_end_step`: the step's rows are written, and a state (weights and optimizer) is saved if one is due.
4. `_play_on`: the saved weights are opened, and the next batch is played with them.

With `max_staleness=0` this is strictly on-policy: every token trains the weights that sampled it. `stream` says what
runs in parallel without changing that, `objective` what an example is, `metrics` how a row is computed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from socratic_distill.cost.budget import Budget
from socratic_distill.dialogues.rollout import check_failures
from socratic_distill.distillation.objective import TrainingExample, make_examples
from socratic_distill.distillation.rows import dialogue_row
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.distillation.token_weights import weigh
from socratic_distill.errors import CostLimitReached, RolloutError, ServiceError, SocraticError
from socratic_distill.outputs.progress import Progress
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.plan import Plan
from socratic_distill.service.connect import open_tutor
from socratic_distill.service.waiting import StoppedAtOnce, fail_with, shielded, silence
from socratic_distill.training.hooks import Hooks, StopRequested
from socratic_distill.training.learner import Update
from socratic_distill.training.memory import memory_metrics
from socratic_distill.training.metrics import dialogue_metrics, staleness_metrics, update_metrics
from socratic_distill.training.recovery import Recoveries
from socratic_distill.training.result import TrainResult
from socratic_distill.training.session import Session
from socratic_distill.training.step_state import StepState
from socratic_distill.training.step_times import Stopwatch, span_row, time_metrics
from socratic_distill.training.stream import Stream


class Loop:
    """The steps of one session, from where it begins to the run's last.

    Up to two steps are under way at once: one whose dialogues are being gathered, and the previous one, whose rows,
    saves and new weights are awaited.
    """

    def __init__(
        self,
        session: Session,
        plan: Plan,
        run: RunDirectory,
        progress: Progress,
        recoveries: Recoveries,
        budget: Budget,
        hooks: Hooks,
    ) -> None:
        """Begins with no step under way."""
        self._session, self._plan, self._run, self._hooks = session, plan, run, hooks
        self._progress, self._recoveries, self._budget = progress, recoveries, budget
        past = () if plan.config.solved_range is None else run.metrics()
        self._stream = Stream(plan, session.frozen, session.rewards, past)
        self._clock = Stopwatch()
        self._state = StepState(session.began, session.began)
        self._state.rows_written.set()
        self._limit: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # fails once a limit is reached
        self._limit.add_done_callback(silence)

    async def train(self) -> TrainResult:
        """Runs all steps. However it ends, a state of the batches done is saved if possible."""
        state, total, log_path = self._state, self._plan.total, self._plan.config.log_path
        session, stream, progress, reason = self._session, self._stream, self._progress, None
        try:
            # A resumed run's display shows its past.
            progress.watch(lambda: state.look(total, stream, session.saver, progress), self._run.metrics())
            self._budget.begin(self._run.metrics())  # what earlier sessions spent counts
            await self._hooks.begin(self._run, state.batch)
            try:
                await self._take_steps()
            except StopRequested as stop:
                reason = str(stop)
            row = await shielded(fail_with(state.ending, self._limit, session.saver.trouble)) if state.ending else {}
            state_path, sampler_path = await shielded(session.save_final(self._run, state.batch))
        except (ServiceError, StoppedAtOnce):  # a lost client saves nothing; a second signal wants no save
            raise
        except SocraticError as error:
            outcome = await self._stop()
            progress.say(f"{log_path}: stopping; {outcome}")
            if isinstance(error, (CostLimitReached, RolloutError)):
                raise type(error)(f"{error}. {outcome}") from None
            raise
        except asyncio.CancelledError:
            outcome = await self._stop()
            message = f"{log_path} was interrupted; {outcome}. Start the same script again to go on"
            progress.say(message)
            raise asyncio.CancelledError(message) from None
        finally:
            session.abandon()
            if state.ending is not None:
                state.ending.cancel()
            stream.close()
        status, end = ("completed", "complete") if reason is None else ("stopped", f"stopped by a callback ({reason})")
        progress.say(f"{log_path}: {end} after {state.batch} steps; final state {state_path}")
        return TrainResult(status, state.batch, state_path, sampler_path, row, reason)

    async def _take_steps(self) -> None:
        """Takes the steps that are left; the end of the last one may still be under way.

        Raises:
            StopRequested: a callback ended the run before its last step.
        """
        session, state, hooks = self._session, self._state, self._hooks
        if state.batch < self._plan.total:
            hooks.check()
            self._budget.check()
            self._stream.open(state.batch)  # the student's openings need no tutor
            await self._play_first()
        for step in range(state.batch, self._plan.total):
            gathering = self._gather(step)
            update, groups = await fail_with(gathering, state.ending, self._limit, session.saver.trouble, hooks.stop)
            session.saver.check()
            # From here on the weights are ahead of the rows on disk, until `_end_step` has written those.
            state.rows_written.clear()
            state.taken = step + 1
            substeps = asyncio.create_task(self._take_substeps(update, groups)) if groups else None
            if substeps is None:
                self._take_step(update)
            state.ending = asyncio.create_task(self._end_step(update, state.ending, substeps))  # not awaited: overlap
            if substeps is not None:  # once begun, all substeps are taken, even if the run is cancelled
                state.ending.add_done_callback(silence)
                await asyncio.shield(substeps)

    async def _gather(self, step: int) -> tuple[Update, list[list[ScoredDialogue]]]:
        """Submits a batch's passes while its dialogues are still being played and scored.

        Returns:
            The update, and the groups that are not submitted yet. These are none, or all if `num_substeps` splits the
            batch: a substep on part of a batch could not be undone if the rest of the batch failed.
        """
        config, learner, update = self._plan.config, self._session.learner, self._session.learner.begin(step)
        is_split = config.num_substeps > 1
        scored: list[list[ScoredDialogue]] = []
        async for groups in self._stream.minibatches(step, config.groups_per_minibatch):
            scored += groups
            if not is_split:
                # A state is saved after its step's rows. The service would run a pass that was submitted before that
                # save in a training cycle of its own, without its optimizer step.
                if self._session.saver.due(self._state.batch + 1) is not None:
                    await self._state.rows_written.wait()
                learner.add(update, self._examples(update, groups))
        check_failures([entry.dialogue for group in scored for entry in group], config.max_failed_fraction)
        if not is_split:
            await learner.settle(update)
        # The optimizer steps of two batches never overlap: a state always fits the rows on disk.
        await self._state.rows_written.wait()
        await self._settle_evaluations(step)
        return update, scored if is_split else []

    async def _settle_evaluations(self, step: int) -> None:
        """Waits for the evaluations under way, if a callback decides by them or the training depends on them."""
        ending, is_watched = self._state.ending, self._hooks.waits_for_evaluations
        evaluations = self._session.evaluations
        if is_watched and ending is not None and evaluations.is_due(step):
            await asyncio.wait([ending])  # it begins the evaluation of the weights before this step
        if is_watched or not self._session.keeps_apart:
            await evaluations.settle()

    async def _take_substeps(self, update: Update, groups: list[list[ScoredDialogue]]) -> None:
        """Takes `num_substeps` optimizer steps, each on an equal share of a batch's groups."""
        config, learner = self._plan.config, self._session.learner
        size = len(groups) // config.num_substeps
        for first in range(0, len(groups), size):
            if first:
                learner.step(update, to_play_with=False)
            learner.add(update, self._examples(update, groups[first : first + size]))
            await learner.settle(update)
        self._take_step(update)

    def _examples(self, update: Update, groups: list[list[ScoredDialogue]]) -> list[TrainingExample]:
        """The training examples of an update's next groups, whose weights the update keeps for their rows."""
        config, version = self._plan.config, self._session.learner.version
        weighed = weigh(groups, config, update.batch, version)
        update.weights += [entry.weights for group in weighed for entry in group]
        return make_examples(weighed, config, update.batch)

    def _take_step(self, update: Update) -> None:
        """Submits a batch's last optimizer step, and after it the save of the new weights.

        The weights of the run's last step are saved by `save_final`. With max_staleness >= 3, a step that saves a
        state skips this save when at least two steps can still be played with the current weights: the next step would
        otherwise wait for both saves. A lagged teacher or an evaluation that needs the weights rules that out.
        """
        session, state = self._session, self._state
        self._clock.taken(update.batch)
        is_last = update.batch + 1 == self._plan.total
        is_needed = session.frozen.teachers.needs(state.taken) or session.evaluations.is_due(state.taken)
        may_skip = self._plan.config.max_staleness >= 3 and state.has_newest and not is_needed
        is_skipped = may_skip and session.saver.due(state.taken) is not None
        state.has_newest = not is_skipped  # so two steps in a row never skip
        session.learner.step(update, to_play_with=not is_last and not is_skipped)

    async def _end_step(self, update: Update, *before: "asyncio.Task[Any] | None") -> dict[str, Any]:
        """Does what follows an optimizer step: rows, saves, and the new weights to play with.

        Args:
            update: the step's update, with all its passes.
            *before: tasks to wait for first: the end of the previous step, and this step's substeps.
        """
        for task in filter(None, before):
            await task
        session, state, step = self._session, self._state, update.batch
        is_last = step + 1 == self._plan.total
        ended = await self._stream.ended(step)
        scored = [replace(entry, weights=own) for entry, own in zip(ended, update.weights, strict=True)]
        # The next batch opens only now. On the local engine, requests that share a batch affect each other's last bits:
        # a resumed run, which does not have this step's last answers to wait for, would sample differently.
        self._stream.open(step + 1)
        logprobs, service_metrics = await update.answer()  # one [N - 1] or [N - 1, 1 + K] an example, nats
        times = self._clock.answered(step)

        row = {"step": step, "version": update.version}
        row |= dialogue_metrics(scored, session.frozen.decode) | self._stream.seed_metrics(scored)
        row |= update_metrics(update.examples, logprobs, service_metrics) | staleness_metrics(scored, update.version)
        row |= time_metrics(times, scored) | self._recoveries.metrics() | {"tokens/forward": update.forward_tokens}
        row |= memory_metrics(session.service.client)
        row |= self._budget.stepped(row)
        pieces, with_top = session.frozen.pieces, self._plan.config.write_teacher_top
        self._run.log_step(row, [dialogue_row(entry, pieces, with_top) | span_row(times, entry) for entry in scored])
        self._recoveries.passed(step)  # a step that ends renews the tries
        state.batch = step + 1
        if not is_last:
            session.saver.save_state_if_due(state.batch, session.learner.version)
        await self._hooks.step(row)  # a callback that asks for a stop does so before the next optimizer step
        state.rows_written.set()  # the next optimizer step may begin
        self._progress.step(state.batch, self._plan.total, row)

        # The student's last answers arrive after the batch was trained on; too many failed ones end the run here.
        dialogues, most = [entry.dialogue for entry in scored], self._plan.config.max_failed_fraction
        has_failed = self._fails(lambda: check_failures(dialogues, most))
        if not (has_failed or is_last or self._hooks.stop.done() or self._fails(self._budget.check)):
            await self._play_on(update)
        return row

    async def _play_first(self) -> None:
        """Saves and opens the weights that the session starts with, and plays with them."""
        session, batch = self._session, self._state.batch
        version, path = session.learner.version, None
        while path is None:
            # Shielded: cancelling a submitted request would break the client's request sequence.
            path = await shielded(session.saver.confirm(session.saver.submit("sampler", batch, version)))
        await self._play_with(path, version, batch)

    async def _play_on(self, update: Update) -> None:
        """Plays the next batch with the weights of an update, if they were saved and are still the newest."""
        session, batch = self._session, update.batch + 1
        if not update.examples:  # the weights are the same
            self._keep_playing(batch)
            return
        if update.sampler is None:  # skipped: the present weights are fresh enough for one more step
            return
        path, version = await session.saver.confirm(update.sampler), update.reached
        while path is None and session.learner.version == version:  # the save failed; try again while it can be done
            path = await session.saver.confirm(session.saver.submit("sampler", batch, version))
        if path is not None:
            await self._play_with(path, version, batch)

    async def _play_with(self, sampler_path: str, version: int, batch: int) -> None:
        """Opens saved weights and gives them to the dialogues from a batch on."""
        tutor = await open_tutor(self._session.service, sampler_path)
        self._state.cast, self._state.sampler_path = self._session.frozen.cast(tutor, version), sampler_path
        self._keep_playing(batch)

    def _keep_playing(self, batch: int) -> None:
        """The current cast plays from a batch on; its tutor is kept for lagged teachers, and evaluated if due."""
        session, cast = self._session, self._state.cast
        assert cast is not None and cast.tutor.client is not None, "no step ends before the first cast"
        session.evaluations.begin(session.service, batch, self._state.sampler_path)
        session.frozen.teachers.keep_tutor(batch, cast.tutor.client, oldest=self._state.batch)
        self._stream.renew(cast, batch)
        self._clock.renewed(batch)

    def _fails(self, check: Callable[[], None]) -> bool:
        """Whether a check fails. Its error then ends the loop at the next step."""
        try:
            check()
        except SocraticError as error:
            if not self._limit.done():
                self._limit.set_exception(error)
        return self._limit.done()

    async def _stop(self) -> str:
        """Drops unfinished dialogues, ends the step under way and saves a state; says what there is to resume from."""
        ending = self._state.ending
        self._stream.close(self._state.taken)
        is_lost = ending is not None and await self._session.is_lost(ending, self._state.batch)
        may_save = self._state.rows_written.is_set() and not is_lost  # else the weights are ahead of the rows
        return await self._session.stop(self._state.batch, may_save)
