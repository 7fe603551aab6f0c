"""From the decision on how to start to clients that are ready to train."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from socratic_distill.config.schedules import adam
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.casting import Stage, open_stage
from socratic_distill.dialogues.compatibility import check_room
from socratic_distill.errors import ServiceError, SocraticError
from socratic_distill.local.saved_paths import where_it_lies
from socratic_distill.outputs.display import Display
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.drift import digest
from socratic_distill.run.layout import Origin
from socratic_distill.run.orphans import adopt_orphans
from socratic_distill.run.ownership import Ownership
from socratic_distill.run.plan import Plan, final_paths
from socratic_distill.run.record import CheckpointRecord
from socratic_distill.run.start import LoadCheckpoint, Resume, Start
from socratic_distill.service.connect import Service, open_tutor
from socratic_distill.service.waiting import finish
from socratic_distill.text import get_logger
from socratic_distill.training.evaluations import Evaluations
from socratic_distill.training.learner import Learner, Update
from socratic_distill.training.older_samplers import check_older_samplers
from socratic_distill.training.opening import open_training_client, restore_tutors
from socratic_distill.training.save_plan import save_plan
from socratic_distill.training.saver import SaveFacts, Saver
from socratic_distill.training.server_features import check_features

_log = get_logger(__name__)


@dataclass
class Session:
    """The clients of a run in progress.

    Attributes:
        start: what it began from.
        service: the service they are on.
        learner: trains the tutor.
        saver: saves it.
        stage: everyone but the tutor.
        evaluations: are given the weights that they are due for.
        batch: the next batch whose rows are not on disk.
        taken: the next batch whose optimizer step is not under way.
        max_staleness: batches that the dialogues may be ahead of the weights that they are played with.
        keeps_apart: whether evaluations may play with weights that training has left behind.
    """

    start: Start
    service: Service
    learner: Learner
    saver: Saver
    stage: Stage
    evaluations: Evaluations
    batch: int
    taken: int
    max_staleness: int
    keeps_apart: bool
    _cast: Cast | None = None
    _sampler_path: str = ""  # of the cast's tutor
    _has_newest: bool = True
    _rows_written: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Begins with no rows to wait for."""
        self._rows_written.set()

    async def before_pass(self) -> None:
        """Returns once no state is due that a pass of the next step would hold up.

        The state is saved behind the rows of its step. A pass ahead of it would be carried out in a cycle of its
        own, away from its optimizer step.
        """
        if self.saver.due(self.batch + 1) is not None:
            await self._rows_written.wait()

    async def between_steps(self) -> None:
        """Returns once the weights are not ahead of the rows on disk, and no save and no evaluation needs them."""
        await self._rows_written.wait()
        if not self.keeps_apart:
            await self.evaluations.settle()

    async def cast(self) -> Cast:
        """Everyone in the first dialogues, the tutor with the weights that the session began with.

        Raises:
            ServiceError: the weights could not be saved or opened.
        """
        path = None
        while path is None:
            # To its end: a request that is cancelled leaves a hole in the client's row of requests.
            path = await finish(self.saver.confirm(self.saver.submit("sampler", self.batch, self.learner.version)))
        return await self._open(path, self.learner.version, self.batch)

    async def recast(self, update: Update) -> Cast | None:
        """Everyone in later dialogues, the tutor with the weights behind an update.

        Where the service answered their save with an error, they are saved again; None where they are not the
        newest any more, so that this cannot be done, or were not to be saved.

        Raises:
            ServiceError: the weights could not be saved or opened.
        """
        if not update.examples:
            return self._keep(self._cast, update.batch + 1)
        if update.sampler is None:
            return None
        path, version = await self.saver.confirm(update.sampler), update.reached
        while path is None and self.learner.version == version:
            path = await self.saver.confirm(self.saver.submit("sampler", update.batch + 1, version))
        return None if path is None else await self._open(path, version, update.batch + 1)

    def begin_step(self, batch: int) -> None:
        """A batch's optimizer step is under way: from here on the weights are ahead of the rows on disk, until `save`.

        Raises:
            ServiceError: an earlier save failed for good.
        """
        self.saver.check()
        self._rows_written.clear()
        self.taken = batch + 1

    def step(self, update: Update, is_last: bool) -> None:
        """Takes the optimizer step of an update that holds its whole batch. Once its rows are on disk, `save` ends it.

        The weights behind it are saved to play with, but for those of the last step, which `save_final` saves, and
        now and then those that a state follows: the next step waits for both, and on a service with a cycle for a
        whole one. They are done without where the batches before the next weights keep two steps to be
        played in, unless a teacher that lags or an evaluation is to have them.

        Raises:
            ServiceError: a request could not be submitted, or a pass failed.
        """
        is_needed = self.stage.panel.needs(self.taken) or self.evaluations.is_due(self.taken)
        can_be_spared = self.max_staleness >= 3 and self._has_newest and not is_needed
        is_spared = can_be_spared and self.saver.due(self.taken) is not None
        self._has_newest = not is_spared
        self.learner.step(update, to_play_with=not is_last and not is_spared)

    def save(self, is_last: bool) -> None:
        """Ends a step whose rows are on disk: the next batch is `batch`, and a state that is due for it is saved.

        Raises:
            ServiceError: an earlier save failed for good.
            StorageError: a record could not be written.
        """
        self.batch += 1
        if not is_last:
            self.saver.save_state_if_due(self.batch, self.learner.version)
        self._rows_written.set()

    async def _open(self, sampler_path: str, version: int, batch: int) -> Cast:
        """The cast whose tutor has the weights before a batch."""
        self._cast = self.stage.cast(await open_tutor(self.service, sampler_path), version)
        self._sampler_path = sampler_path
        return self._keep(self._cast, batch)

    def _keep(self, cast: Cast | None, batch: int) -> Cast:
        """The cast, its tutor kept for teachers that lag behind it, and evaluated where that is due."""
        assert cast is not None, "no step ends before the first cast"
        self.evaluations.begin(self.service, batch, self._sampler_path)
        self.stage.panel.keep_tutor(batch, cast.tutor.client, oldest=self.batch)
        return cast

    async def save_final(self, run: RunDirectory) -> tuple[str, str]:
        """Saves the last state and sampler weights, as far as they are not recorded already; gives their paths."""
        known = final_paths(run, self.start) if self.batch == self.began else (None, None)
        state_path, sampler_path = await self.saver.save_final(self.batch, self.learner.version, *known)
        self.evaluations.begin(self.service, self.batch, sampler_path)
        return state_path, sampler_path

    def abandon(self) -> None:
        """The session is over, or its client lost: what is not confirmed by now does not count."""
        self.saver.abandon()
        self.learner.abandon()

    @property
    def began(self) -> int:
        """The batch that the session began at."""
        return self.start.batch if isinstance(self.start, Resume) else 0

    async def stop(self, ending: "asyncio.Task[Any] | None") -> str:
        """Lets a step under way end, saves a state of the batches done, and tells what there is to resume from."""
        is_lost = self.saver.trouble.done()
        if ending is not None and not is_lost:
            await asyncio.wait([ending, self.saver.trouble], return_when=asyncio.FIRST_COMPLETED)
            error = ending.exception() if ending.done() and not ending.cancelled() else None
            if error is not None:
                _log.warning("the step of batch %d was lost: %s", self.batch, error)
            # Behind what the service failed a call may never be answered.
            is_lost = isinstance(error, ServiceError) or self.saver.trouble.done()
        if self.batch == self.began and not (isinstance(self.start, Resume) and self.start.record.kind == "rolling"):
            return f"no batch was done since the start at batch {self.began}"
        path = None
        if self._rows_written.is_set() and not is_lost:
            try:
                path = await self.saver.save_now(self.batch, self.learner.version)
            except SocraticError as error:
                _log.warning("the state of batch %d was not saved: %s", self.batch, error)
        if path is None:
            there = "the newest recorded one is resumed from" if self.saver.newest else "there is no earlier one"
            return f"the state of batch {self.batch} could not be saved; {there}"
        return f"{self.batch} batches are done; state {path}"


async def open_session(
    plan: Plan, run: RunDirectory, service: Service, evaluations: Evaluations, display: Display
) -> Session:
    """Decides what to begin from, opens all clients, and then brings the run directory in line with that.

    A start that is refused leaves the directory as it was, but for states that were found on the service.

    Raises:
        StartError: there is nothing to begin from, or it belongs to another base model or rank.
        ConfigError: a prompt file or a tokenizer cannot be used.
        RenderingError: the models' tokens or templates do not fit.
        ServiceError: the service failed a call.
    """
    config = plan.config
    if service.rest is not None:
        await adopt_orphans(run.checkpoints, service.rest, run.identity.lineage)
    start, training = await open_training_client(plan, run, service)
    stage = await open_stage(config, service, training, plan.all_seeds)
    batch = start.batch if isinstance(start, Resume) else 0
    check_room(stage.cast(None, version=0), plan.played_seeds)
    await check_features(config, stage.client, run.path)
    keeps_apart = await check_older_samplers(config, service.client, run.path)
    await restore_tutors(stage.panel, run, service, batch)
    _tell(plan, run, start, display)
    run_id = _bring_in_line(plan, run, start)
    run.note_server_run(training.model_id, batch)
    evaluations.catch_up(service, batch)
    record = start.record if isinstance(start, Resume) else None
    facts = SaveFacts(run_id, digest(plan.meaning), batch)
    saver = Saver(
        training,
        run.checkpoints,
        service.rest,
        save_plan(config),
        facts,
        config.max_failed_saves,
        plan.failed_saves,
        record,
        is_own=await _is_own(record, run, service.rest),
    )
    learner = Learner(training, saver, lambda step: adam(config, step, plan.total), _version(record))
    return Session(
        start,
        service,
        learner,
        saver,
        stage,
        evaluations,
        batch,
        taken=batch,
        max_staleness=config.max_staleness,
        keeps_apart=keeps_apart,
    )


async def _is_own(record: CheckpointRecord | None, run: RunDirectory, rest: Any | None) -> bool:
    """Whether a rolling state that the run resumes from is its own, and goes once a newer state is recorded."""
    if record is None or record.state_path is None or record.kind != "rolling" or rest is None:
        return False
    return await Ownership(run.path, run.identity, rest).owns(record.state_path)


def _tell(plan: Plan, run: RunDirectory, start: Start, display: Display) -> None:
    path = plan.config.log_path
    if isinstance(start, Resume):
        state_path = where_it_lies(run.path, start.state_path)
        display.say(f"{path}: resuming at step {start.batch} of {plan.total} from {state_path}")
    elif isinstance(start, LoadCheckpoint):
        display.say(f"{path}: starting fresh from the weights of {start.state_path}")
    else:
        display.say(f"{path}: starting fresh")


def _bring_in_line(plan: Plan, run: RunDirectory, start: Start) -> str:
    """Supersedes what will be done again; gives the run's id.

    The journal says so first: rows that a crash leaves behind it are moved by the next start.
    """
    if isinstance(start, Resume):
        run.checkpoints.mark_resumed(start.batch, start.record)
        run.roll_back(start.batch)
        return run.begin(plan.config, plan.meaning, origin=None)
    if run.checkpoints.records:
        run.checkpoints.mark_resumed(0, None)
    run.roll_back(0)
    resolved = start.state_path if isinstance(start, LoadCheckpoint) else None
    return run.begin(plan.config, plan.meaning, Origin(given=plan.config.load_checkpoint_path, resolved=resolved))


def _version(record: CheckpointRecord | None) -> int:
    """Optimizer steps behind a record's weights; other tools do not say, and with them each batch was one step."""
    if record is None:
        return 0
    return (record.batch or 0) if record.version is None else record.version
