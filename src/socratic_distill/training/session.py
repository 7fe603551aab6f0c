"""Opens and closes the clients of one attempt: from the decision how to start to clients that are ready to train."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from socratic_distill.config.schedules import adam
from socratic_distill.dialogues.casting import FrozenModels, open_frozen_models, open_rewards
from socratic_distill.dialogues.compatibility import check_room
from socratic_distill.dialogues.rewards import Rewards
from socratic_distill.dialogues.vocabulary import warn_of_unknown_words
from socratic_distill.errors import ServiceError, SocraticError
from socratic_distill.local.saved_paths import present_path
from socratic_distill.outputs.display import Display
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.drift import digest
from socratic_distill.run.layout import Origin
from socratic_distill.run.orphans import adopt_orphans
from socratic_distill.run.ownership import Ownership
from socratic_distill.run.plan import Plan, final_paths
from socratic_distill.run.record import CheckpointRecord, What
from socratic_distill.run.start import LoadCheckpoint, Resume, Start
from socratic_distill.service.connect import Service
from socratic_distill.service.interface import RestClient
from socratic_distill.text import get_logger
from socratic_distill.training.evaluations import Evaluations
from socratic_distill.training.handshake import shake_hands
from socratic_distill.training.learner import Learner
from socratic_distill.training.older_samplers import check_older_samplers
from socratic_distill.training.opening import open_training_client, restore_tutors
from socratic_distill.training.save_plan import SaveSchedule
from socratic_distill.training.saver import SaveFacts, Saver

_log = get_logger(__name__)


@dataclass(frozen=True)
class Session:
    """The clients of one attempt, from the service's first answer until they are lost or the run ends.

    Attributes:
        start: what it started from.
        service: the service of the clients.
        learner: trains the tutor.
        saver: saves it.
        frozen: everyone but the tutor.
        rewards: the rewards of the dialogues; None: no rewards.
        evaluations: the run's evaluations; those under way use the session's service.
        keeps_apart: whether evaluations may sample from older weights without changing the training.
    """

    start: Start
    service: Service
    learner: Learner
    saver: Saver
    frozen: FrozenModels
    rewards: Rewards | None
    evaluations: Evaluations
    keeps_apart: bool

    @property
    def began(self) -> int:
        """The batch that the session started at."""
        return self.start.batch if isinstance(self.start, Resume) else 0

    async def save_final(self, run: RunDirectory, batch: int) -> tuple[str, str]:
        """Saves the final state and sampler weights, unless they are recorded already.

        Args:
            run: the run's directory.
            batch: the number of batches done.

        Returns:
            Their paths.
        """
        # A run that was interrupted between its last step and its final saves has one of them, or both.
        known = final_paths(run, self.start) if batch == self.began else (None, None)
        state_path, sampler_path = await self.saver.save_final(batch, self.learner.version, *known)
        self.evaluations.last = batch
        self.evaluations.begin(self.service, batch, sampler_path)
        return state_path, sampler_path

    async def is_lost(self, ending: "asyncio.Task[Any]", batch: int) -> bool:
        """Waits for the step of a batch to end; whether the service lost it."""
        # Whichever fails first: after a lost save the step may never end.
        if not self.saver.trouble.done():
            await asyncio.wait([ending, self.saver.trouble], return_when=asyncio.FIRST_COMPLETED)
        error = ending.exception() if ending.done() and not ending.cancelled() else None
        if error is not None:
            _log.warning("the step of batch %d was lost: %s", batch, error)
        return isinstance(error, ServiceError)

    async def stop(self, batch: int, may_save: bool) -> str:
        """Saves a state of the batches done, if possible, and says what there is to resume from.

        Args:
            batch: the number of batches done.
            may_save: whether the weights fit the rows on disk, and no call was lost. Calls that follow a lost one may
                never complete.
        """
        if batch == self.began and not (isinstance(self.start, Resume) and self.start.record.kind == "rolling"):
            return f"no batch was done since the start at batch {self.began}"
        path = None
        if may_save and not self.saver.trouble.done():
            try:
                path = await self.saver.save_now(batch, self.learner.version)
            except SocraticError as error:  # the reason to stop must not be replaced by this one
                _log.warning("the state of batch %d was not saved: %s", batch, error)
        if path is None:
            fallback = "the newest recorded one is resumed from" if self.saver.newest else "there is no earlier one"
            return f"the state of batch {batch} could not be saved; {fallback}"
        return f"{batch} batches are done; state {path}"

    def abandon(self) -> None:
        """Ends the session: unconfirmed saves and unanswered passes do not count."""
        self.saver.abandon()
        self.learner.abandon()


async def open_session(
    plan: Plan,
    run: RunDirectory,
    service: Service,
    evaluations: Evaluations,
    display: Display,
    failed_saves: Counter[What],
    on_save: Callable[[CheckpointRecord], None],
) -> Session:
    """Decides what to start from, opens all clients, and then brings the run directory in line with that.

    A refused start leaves the directory as it was, except for states that were found on the service.

    Args:
        plan: what the run is to do.
        run: its directory.
        service: where it is done.
        evaluations: those of the run, over all sessions.
        display: shows what the run starts from.
        failed_saves: failures in a row by kind of save, over all sessions of the process.
        on_save: gets each record of the run's journal after it was written.

    Raises:
        StartError: there is nothing to start from, or it belongs to another base model or rank.
        ConfigError: a prompt file or a tokenizer cannot be used.
        RenderingError: the models' tokens or templates do not fit.
        ServiceError: the service failed a call.
    """
    config = plan.config
    # A crash between a save and its record leaves a state that only the service knows.
    if service.rest is not None:
        await adopt_orphans(run.checkpoints, service.rest, run.identity.lineage)
    start, training = await open_training_client(plan, run, service)
    frozen = await open_frozen_models(config, plan.briefing, service, training)
    rewards = await open_rewards(config, service)
    batch = start.batch if isinstance(start, Resume) else 0
    cast = frozen.cast(None, version=0)
    check_room(cast, plan.played_seeds)  # a prompt that cannot fit fails now, not at step 300
    warn_of_unknown_words(cast, plan.played_seeds)
    dialect = await shake_hands(config, service, frozen.client, run.path)
    keeps_apart = await check_older_samplers(config, service.client, run.path)
    await restore_tutors(frozen.teachers, run, service, batch)
    # All that may refuse the start was done above; only from here on is the directory changed.
    _tell(plan, run, start, display)
    run_id = _bring_in_line(plan, run, start)
    # Noted before the first save, so that a save whose record is lost can be found by the server's run.
    run.note_server_run(training.model_id, batch)
    evaluations.catch_up(service, batch)  # those of this batch that an interruption cut off
    record = start.record if isinstance(start, Resume) else None
    facts = SaveFacts(run_id, digest(plan.meaning), batch)
    saver = Saver(
        training,
        run.checkpoints,
        service.rest,
        SaveSchedule.of(config),
        facts,
        config.max_failed_saves,
        failed_saves,
        record,
        is_own=await _is_own(record, run, service.rest),
        on_save=on_save,
    )
    learner = Learner(training, saver, lambda step: adam(config, step, plan.total), _version(record), dialect)
    return Session(start, service, learner, saver, frozen, rewards, evaluations, keeps_apart)


async def _is_own(record: CheckpointRecord | None, run: RunDirectory, rest: RestClient | None) -> bool:
    """Whether the rolling state that the run resumes from is its own, to be deleted once a newer one is recorded."""
    if record is None or record.state_path is None or record.kind != "rolling" or rest is None:
        return False
    return await Ownership(run.path, run.identity, rest).owns(record.state_path)


def _tell(plan: Plan, run: RunDirectory, start: Start, display: Display) -> None:
    path = plan.config.log_path
    if isinstance(start, Resume):
        state_path = present_path(run.path, start.state_path)
        display.say(f"{path}: resuming at step {start.batch} of {plan.total} from {state_path}")
    elif isinstance(start, LoadCheckpoint):
        display.say(f"{path}: starting fresh from the weights of {start.state_path}")
    else:
        display.say(f"{path}: starting fresh")


def _bring_in_line(plan: Plan, run: RunDirectory, start: Start) -> str:
    """Moves rows that will be written again out of the way; gives the run's id.

    The journal is marked first: after a crash in between, the next start moves the rows.
    """
    if isinstance(start, Resume):
        run.checkpoints.mark_resumed(start.batch, start.record)
        run.roll_back(start.batch)
        return run.begin(plan.config, plan.meaning, origin=None)
    if run.checkpoints.records:  # earlier records stay, but no longer count
        run.checkpoints.mark_resumed(0, None)
    run.roll_back(0)
    resolved = start.state_path if isinstance(start, LoadCheckpoint) else None
    return run.begin(plan.config, plan.meaning, Origin(given=plan.config.load_checkpoint_path, resolved=resolved))


def _version(record: CheckpointRecord | None) -> int:
    """Optimizer steps that led to a record's weights. Other tools do not record them; there each batch was one step."""
    if record is None:
        return 0
    return (record.batch or 0) if record.version is None else record.version
