"""From the decision on how to start to clients that are ready to train."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from socratic_distill.display import Display
from socratic_distill.drift import digest
from socratic_distill.errors import SocraticError
from socratic_distill.interrupts import finish
from socratic_distill.learner import Learner, Update
from socratic_distill.objective import TrainingExample
from socratic_distill.opening import open_training_client
from socratic_distill.orphans import adopt_orphans
from socratic_distill.plan import Plan, final_paths
from socratic_distill.policies import save_plan
from socratic_distill.records import CheckpointRecord
from socratic_distill.rollout import Cast
from socratic_distill.run import RunDirectory
from socratic_distill.saver import SaveFacts, Saver
from socratic_distill.service import Service, open_sampling_client
from socratic_distill.stage import Stage, open_stage
from socratic_distill.start import LoadCheckpoint, Origin, Resume, Start

_log = logging.getLogger(__name__)


@dataclass
class Session:
    """The clients of a run in progress.

    Attributes:
        start: what it began from.
        service: the service they are on.
        learner: trains the tutor.
        saver: saves it.
        stage: everyone but the tutor.
        batch: the next batch to run.
        in_step: whether the weights may be ahead of the rows on disk: nothing may be saved then.
    """

    start: Start
    service: Service
    learner: Learner
    saver: Saver
    stage: Stage
    batch: int
    in_step: bool = False
    sampler_path: str | None = None  # of the tutor's newest weights; None until they are saved
    _cast: Cast | None = None

    async def cast(self) -> Cast:
        """Everyone in the next batch's dialogues, the tutor with its newest weights.

        Raises:
            ServiceError: the weights could not be saved or opened.
        """
        version = self.learner.version
        if self._cast is None or self._cast.tutor.version != version:
            while self.sampler_path is None:
                # To its end: a request that is cancelled leaves a hole in the client's row of requests.
                self.sampler_path = await finish(self.saver.confirm(self.saver.submit("sampler", self.batch, version)))
            weights = f"the tutor's weights {self.sampler_path}"
            tutor = await open_sampling_client(self.service.client, weights, model_path=self.sampler_path)
            self._cast = self.stage.cast(tutor, version)
        return self._cast

    async def update(self, examples: Sequence[TrainingExample]) -> Update:
        """One training step on the batch. Once its rows are on disk, `save` ends the step.

        Raises:
            ServiceError: it failed, and the training client is not to be used any more.
        """
        self.saver.check()
        self.in_step = True
        return await self.learner.update(examples, self.batch + 1)

    async def save(self, update: Update, is_last: bool) -> None:
        """Ends a step whose rows are on disk: the next batch is `batch`, and what is due for it is saved.

        Raises:
            ServiceError: a save failed for good.
            StorageError: a record cannot be written.
        """
        self.batch += 1
        self.in_step = False
        if not is_last:
            self.saver.save_state_if_due(self.batch, self.learner.version)
        if update.sampler is not None:
            self.sampler_path = await self.saver.confirm(update.sampler)

    async def save_final(self, run: RunDirectory) -> tuple[str, str]:
        """Saves the last state and sampler weights, as far as they are not recorded already; gives their paths."""
        known = final_paths(run, self.start) if self.batch == self.began else (None, None)
        return await self.saver.save_final(self.batch, self.learner.version, *known)

    def abandon(self) -> None:
        """The session is over, or its client lost: what is not confirmed by now does not count."""
        self.saver.abandon()

    @property
    def began(self) -> int:
        """The batch that the session began at."""
        return self.start.batch if isinstance(self.start, Resume) else 0

    async def stop(self) -> str:
        """Saves a state of the batches done, and tells what there is to resume from."""
        if self.batch == self.began:
            return f"no batch was done since the start at batch {self.began}"
        path = None
        if not self.in_step:
            try:
                path = await self.saver.save_now(self.batch, self.learner.version)
            except SocraticError as error:
                _log.warning("the state of batch %d was not saved: %s", self.batch, error)
        if path is None:
            return f"the state of batch {self.batch} could not be saved; the newest recorded one is resumed from"
        return f"{self.batch} batches are done; state {path}"


async def open_session(plan: Plan, run: RunDirectory, service: Service, display: Display) -> Session:
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
        await adopt_orphans(run.checkpoints, service.rest)
    start, training = await open_training_client(plan, run, service)
    stage = await open_stage(config, service, training)
    batch = start.batch if isinstance(start, Resume) else 0
    _tell(plan, start, display)
    run_id = _bring_in_line(plan, run, start)
    run.note_server_run(training.model_id, batch)
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
    )
    learner = Learner(training, saver, config.learning_rate, config.loss_fn, _version(record))
    return Session(start, service, learner, saver, stage, batch)


def _tell(plan: Plan, start: Start, display: Display) -> None:
    path = plan.config.log_path
    if isinstance(start, Resume):
        display.say(f"{path}: resuming at step {start.batch} of {plan.total} from {start.state_path}")
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
