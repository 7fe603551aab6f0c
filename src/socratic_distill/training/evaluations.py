"""Evaluations of a run while it trains: on the held-out seeds, with weights that the run saved anyway.

Training never waits for them. They run one after another, each with sampling clients of its own. One that fails is
recorded and skipped. Only the end of the run waits for the remaining ones.
"""

import asyncio

from socratic_distill.cost.budget import Budget
from socratic_distill.errors import SocraticError
from socratic_distill.evaluation.evaluator import Candidate, Evaluation, Evaluator
from socratic_distill.evaluation.stored import load_evaluations, write_evaluation, write_failure
from socratic_distill.in_process import LANE
from socratic_distill.outputs.progress import Progress
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.journal import Journal
from socratic_distill.run.plan import Plan
from socratic_distill.service.connect import Service, open_tutor
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import silence
from socratic_distill.text import get_logger
from socratic_distill.training.hooks import Hooks

_log = get_logger(__name__)


class Evaluations:
    """The evaluations of a run.

    Attributes:
        last: the batch before which the run's last weights are evaluated; earlier than planned if a callback stops it.
    """

    def __init__(self, plan: Plan, run: RunDirectory, progress: Progress, budget: Budget, hooks: Hooks) -> None:
        """Reads which ones are done and which failed.

        Args:
            plan: what the run is to do.
            run: its directory.
            progress: shows the results.
            budget: adds up the costs.
            hooks: the callbacks, which get the results.
        """
        self._plan = plan
        self._run = run
        self._progress = progress
        self._budget = budget
        self._hooks = hooks
        self.last = plan.total
        every = plan.config.eval_every
        self._due = range(0, plan.total, every) if every else None
        stored = load_evaluations(run.path) if every else []
        self._done = {entry.batch for entry in stored if entry.error is None}
        self._unfinished = {entry.batch: entry.tutor for entry in stored if entry.error is not None}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()  # held by the evaluation under way
        self._evaluator: Evaluator | None = None

    def is_due(self, batch: int) -> bool:
        """Whether the weights before a batch are to be evaluated."""
        is_due = self._due is not None and (batch in self._due or batch == self.last)
        return is_due and batch not in self._done

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to evaluate of a run whose steps are all done."""
        return not self._unfinished and not self.is_due(self.last)

    def catch_up(self, service: Service, batch: int) -> None:
        """Restarts at a batch: drops evaluations of later weights, and runs unfinished ones again."""
        # Weights after the batch are trained again, and are others then.
        for later in [evaluated for evaluated in self._tasks if evaluated > batch]:
            self._tasks.pop(later).cancel()
        self._done = {earlier for earlier in self._done if earlier <= batch}
        self._unfinished = {earlier: path for earlier, path in self._unfinished.items() if earlier <= batch}
        for earlier, path in sorted(self._unfinished.items()):
            self._begin(service, earlier, path)
        journal = Journal.read(self._run.checkpoints.path)
        live = [path for path in journal.sampler_paths(batch) if not journal.is_deleted(path)]
        if live:  # otherwise they are saved again, and evaluated then
            self.begin(service, batch, live[0])

    def begin(self, service: Service, batch: int, sampler_path: str) -> None:
        """Evaluates the weights before a batch, if that is due."""
        if self.is_due(batch):
            self._begin(service, batch, sampler_path)

    def _begin(self, service: Service, batch: int, sampler_path: str) -> None:
        if batch not in self._tasks or self._tasks[batch].done():
            self._unfinished[batch] = sampler_path
            task = asyncio.create_task(self._evaluate(service, batch, sampler_path))
            task.add_done_callback(silence)
            self._tasks[batch] = task

    async def settle(self) -> None:
        """Waits for the evaluations under way."""
        if running := [task for task in self._tasks.values() if not task.done()]:
            await asyncio.wait(running)

    async def finish(self) -> None:
        """Waits for the evaluations under way, at the end of the run.

        Raises:
            CancelledError: the caller was cancelled; the message says how to get the remaining evaluations.
        """
        running = [task for task in self._tasks.values() if not task.done()]
        if running:
            log_path = self._plan.config.log_path
            self._progress.say(f"{log_path}: waiting for {len(running)} evaluations")
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError:  # the tutor is saved; only figures are missing
                message = f"{log_path} is complete, but not its evaluations. Start the same script again for them"
                raise asyncio.CancelledError(message) from None

    def close(self) -> None:
        """Drops the evaluations under way; the run's next start runs them again."""
        for task in self._tasks.values():
            task.cancel()

    async def _evaluate(self, service: Service, batch: int, sampler_path: str) -> None:
        # On the local engine, requests of one lane share batches: training must not depend on evaluations.
        LANE.set("evaluation")
        now = asyncio.get_running_loop().time
        # Recorded first: if the process is killed meanwhile, the next start finds the note and runs it again.
        self._note_failure(batch, sampler_path, "not finished yet")
        async with self._turn:  # one at a time: more of them would take places from training on the service
            began = now()
            try:
                evaluation = await self._measure(service, batch, sampler_path)
                usd = self._budget.evaluated(evaluation.tokens)
                # Off the loop: the training's own requests must not wait for thousands of dialogues to be written.
                await asyncio.to_thread(self._write, batch, evaluation, now() - began, usd)
            except Exception as error:
                message = f"the evaluation before batch {batch} failed, and training goes on: {describe(error)}"
                _log.warning("%s: %s", self._plan.config.log_path, message)
                self._progress.say(message)
                self._note_failure(batch, sampler_path, describe(error))
                return
        self._done.add(batch)
        del self._unfinished[batch]
        self._progress.evaluated(batch, evaluation)
        await self._hooks.evaluated(batch, evaluation)

    async def _measure(self, service: Service, batch: int, sampler_path: str) -> Evaluation:
        tutor = await open_tutor(service, sampler_path)
        if self._evaluator is None:  # student, teachers and judge are opened once for all evaluations
            plan = self._plan
            # A recording may have a held-out seed's id, and other teachers.
            briefing = plan.briefing.routed(plan.config, plan.held_out)
            self._evaluator = await Evaluator.open(plan.config, briefing, service, tutor, plan.held_out)
        return await self._evaluator.measure(Candidate(f"batch {batch}", sampler_path, tutor, batch=batch))

    def _write(self, batch: int, evaluation: Evaluation, seconds: float, usd: float | None) -> None:
        self._run.check()
        write_evaluation(self._run.path, batch, evaluation, seconds, usd)

    def _note_failure(self, batch: int, sampler_path: str, error: str) -> None:
        try:
            self._run.check()
            write_failure(self._run.path, batch, sampler_path, error)
        except SocraticError as unwritten:  # a full disk ends the training by its own rows, not by this note
            _log.warning("%s", unwritten)
