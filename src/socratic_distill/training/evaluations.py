"""Evaluations of a run, beside its training: on the held-out seeds, with weights that it saved anyway.

They never hold the training up: one after another, each plays with sampling clients of its own, and one that fails is
written down and passed over. Only the end of the run waits for those that are left.
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

_log = get_logger(__name__)


class Evaluations:
    """The evaluations that a run is to have."""

    def __init__(self, plan: Plan, run: RunDirectory, progress: Progress, budget: Budget) -> None:
        """Reads which ones there are.

        Args:
            plan: what the run is to do.
            run: its directory.
            progress: is told what each found.
            budget: is told what each cost.
        """
        self._plan = plan
        self._run = run
        self._progress = progress
        self._budget = budget
        every, total = plan.config.eval_every, plan.total
        self._due = range(0, total, every) if every else None
        stored = load_evaluations(run.path) if every else []
        self._done = {one.batch for one in stored if one.error is None}
        self._unfinished = {one.batch: one.tutor for one in stored if one.error is not None}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self._evaluator: Evaluator | None = None

    def is_due(self, batch: int) -> bool:
        """Whether the weights before a batch are to be evaluated."""
        is_due = self._due is not None and (batch in self._due or batch == self._plan.total)
        return is_due and batch not in self._done

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to evaluate of a run whose steps are all done."""
        return not self._unfinished and not self.is_due(self._plan.total)

    def catch_up(self, service: Service, batch: int) -> None:
        """Begins anew at a batch: evaluations of later weights are dropped, those that were not finished run again."""
        for later in [one for one in self._tasks if one > batch]:
            self._tasks.pop(later).cancel()
        self._done = {one for one in self._done if one <= batch}
        self._unfinished = {one: path for one, path in self._unfinished.items() if one <= batch}
        for earlier, path in sorted(self._unfinished.items()):
            self._begin(service, earlier, path)
        journal = Journal.read(self._run.checkpoints.path)
        live = [path for path in journal.sampler_paths(batch) if not journal.is_deleted(path)]
        if live:  # else they are saved again
            self.begin(service, batch, live[0])

    def begin(self, service: Service, batch: int, sampler_path: str) -> None:
        """Has the weights before a batch evaluated, if that is due."""
        if self.is_due(batch):
            self._begin(service, batch, sampler_path)

    def _begin(self, service: Service, batch: int, sampler_path: str) -> None:
        if batch not in self._tasks or self._tasks[batch].done():
            self._unfinished[batch] = sampler_path
            task = asyncio.create_task(self._evaluate(service, batch, sampler_path))
            task.add_done_callback(silence)
            self._tasks[batch] = task

    async def settle(self) -> None:
        """Waits for those under way."""
        if left := [task for task in self._tasks.values() if not task.done()]:
            await asyncio.wait(left)

    async def finish(self) -> None:
        """Waits for those under way, at the end of the run.

        Raises:
            CancelledError: the caller was cancelled; says how to have the rest.
        """
        left = [task for task in self._tasks.values() if not task.done()]
        if left:
            self._progress.say(f"{self._plan.config.log_path}: waiting for {len(left)} evaluations")
            try:
                await asyncio.wait(left)
            except asyncio.CancelledError:
                told = "is complete, but not its evaluations. Start the same script again for them"
                raise asyncio.CancelledError(f"{self._plan.config.log_path} {told}") from None

    def close(self) -> None:
        """Drops those under way; the run's next start catches up on them."""
        for task in self._tasks.values():
            task.cancel()

    async def _evaluate(self, service: Service, batch: int, sampler_path: str) -> None:
        LANE.set("evaluation")
        now = asyncio.get_running_loop().time
        self._note_failure(batch, sampler_path, "not finished yet")
        async with self._turn:
            began = now()
            try:
                found = await self._measure(service, batch, sampler_path)
                usd = self._budget.evaluated(found.tokens)
                # Off the loop: the training's own requests must not wait for thousands of dialogues to be written.
                await asyncio.to_thread(self._write, batch, found, now() - began, usd)
            except Exception as error:
                told = f"the evaluation before batch {batch} failed, and training goes on: {describe(error)}"
                _log.warning("%s: %s", self._plan.config.log_path, told)
                self._progress.say(told)
                self._note_failure(batch, sampler_path, describe(error))
                return
        self._done.add(batch)
        del self._unfinished[batch]
        self._progress.evaluated(batch, found)

    async def _measure(self, service: Service, batch: int, sampler_path: str) -> Evaluation:
        tutor = await open_tutor(service, sampler_path)
        if self._evaluator is None:
            self._evaluator = await Evaluator.open(self._plan.config, service, tutor, self._plan.held_out)
        return await self._evaluator.measure(Candidate(f"batch {batch}", sampler_path, tutor))

    def _write(self, batch: int, found: Evaluation, seconds: float, usd: float | None) -> None:
        self._run.check()
        write_evaluation(self._run.path, batch, found, seconds, usd)

    def _note_failure(self, batch: int, sampler_path: str, error: str) -> None:
        try:
            self._run.check()
            write_failure(self._run.path, batch, sampler_path, error)
        except SocraticError as unwritten:
            _log.warning("%s", unwritten)
