"""What a run is to do, and what is left of it: read from its config and its directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import with_known_names
from socratic_distill.config.trust import check_files
from socratic_distill.dialogues.batches import check_recordings, hold_out, total_steps
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.recordings import Recording, recordings_of
from socratic_distill.dialogues.seeds import Seed, seeds_of
from socratic_distill.dialogues.verdicts import check_verdicts
from socratic_distill.errors import ConfigError, raise_all
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.drift import (
    Change,
    Fingerprint,
    changes,
    comparable,
    fingerprint,
    model_names,
    read_fingerprint,
)
from socratic_distill.run.journal import Journal
from socratic_distill.run.start import Resume, Start, read_history, resolve
from socratic_distill.service.connect import Service
from socratic_distill.service.offer import check_teachers, settle_models


@dataclass(frozen=True)
class Plan:
    """What a run is to do, read once: nothing in it changes while a process lives.

    Attributes:
        config: the run's config, its models by full names.
        given: all seeds of the config.
        seeds: those that it trains on.
        held_out: those that it is evaluated on.
        recordings: recorded dialogues that it learns from.
        total: batches in the run.
        meaning: what the config means.
        drift: where that differs from what the run directory holds.
        briefing: who teaches which seed, and the prompts.
    """

    config: SocraticConfig
    given: tuple[Seed, ...]
    seeds: tuple[Seed, ...]
    held_out: tuple[Seed, ...]
    recordings: tuple[Recording, ...]
    total: int
    meaning: Fingerprint
    drift: Sequence[Change]
    briefing: Briefing

    @property
    def played_seeds(self) -> tuple[Seed, ...]:
        """What dialogues are played on; none where all are recorded."""
        return self.seeds if self.config.plays_seeds else ()

    @property
    def all_seeds(self) -> list[Seed]:
        """What a teacher is asked about, played or recorded; a seed that is both counts once."""
        recordings = self.config.recordings
        is_asked = recordings is not None and (recordings.objective.asks_teacher or recordings.take_over is not None)
        recorded = [recording.seed for recording in self.recordings] if is_asked else []
        return list({seed.id: seed for seed in (*recorded, *self.played_seeds)}.values())


def read_plan(config: SocraticConfig, run: RunDirectory) -> Plan:
    """Reads seeds, recordings and prompts, and compares what the config means with what the run has meant so far.

    Of the user's code it runs only functions that change seeds and recordings: those of rewards and losses are imported
    by whoever is about to play dialogues.

    Raises:
        SeedError: the seeds cannot be read.
        RecordingError: the recordings cannot be read, or not learned from with their objective.
        ConfigError: a prompt file cannot be used.
        UntrustedConfig: the config was read from a run directory, and names files elsewhere, or functions of seeds.
        StartError: `fingerprint.json` cannot be read.
    """
    before = read_fingerprint(run.path)
    config = with_known_names(config, model_names(before))
    check_files(config, "rewards")
    given = seeds_of(config)
    seeds, held_out = hold_out(given, config.eval_seeds)
    recordings = recordings_of(config)
    recorded = [recording.seed for recording in recordings]
    # Of seeds with one id, that which is played counts.
    briefing = Briefing.read(config, (*given, *recorded, *(seeds if config.plays_seeds else ())))
    meaning, drift = _compare(config, before, given, recordings, briefing)
    total = total_steps(config, seeds, recordings)
    if config.lr_warmup_steps >= total:
        raise ConfigError(
            f"lr_warmup_steps={config.lr_warmup_steps} leaves nothing of the run's {total} steps; lower it"
        )
    if config.plays_dialogues:
        is_begun = config.recordings is not None and config.recordings.take_over is not None
        check_verdicts(config, [*given, *(recorded if is_begun else ())])
    check_recordings(config, seeds, recordings, total)
    plan = Plan(config, given, seeds, held_out, recordings, total, meaning, drift, briefing)
    briefing.check(config, [*plan.all_seeds, *(held_out if config.eval_every is not None else ())])
    return plan


def _compare(
    config: SocraticConfig,
    before: Fingerprint | None,
    given: Sequence[Seed],
    recordings: Sequence[Recording],
    briefing: Briefing,
) -> tuple[Fingerprint, Sequence[Change]]:
    """What the config means, and where that differs from the fingerprint that the run directory holds."""
    meaning = fingerprint(config, given, briefing, [recording.seed for recording in recordings])
    return meaning, changes(comparable(before, meaning, config), meaning, config.allow_config_changes)


def decide(plan: Plan, run: RunDirectory, unusable: Mapping[str, str] | None = None) -> Start:
    """What the run begins from, by what its directory says; raises as `resolve_start`, and for drift."""
    check_files(plan.config, "load_checkpoint_path")
    return resolve(read_history(run.path), plan.config.load_checkpoint_path, unusable, plan.drift)


def finished(plan: Plan, run: RunDirectory, start: Start) -> tuple[str, str | None] | None:
    """Final state and sampler path, where nothing is left to do or to save."""
    if not isinstance(start, Resume) or start.batch < plan.total:
        return None
    state_path, sampler_path = final_paths(run, start)
    if start.batch > plan.total:
        return state_path or start.state_path, sampler_path
    return None if state_path is None or sampler_path is None else (state_path, sampler_path)


def final_paths(run: RunDirectory, start: Start) -> tuple[str | None, str | None]:
    """The final state and sampler path at the batch that the run resumes from; None for what is not recorded.

    Of the current lineage alone: another may have ended at the same batch, with other weights.
    """
    if not isinstance(start, Resume):
        return None, None
    journal = Journal.read(run.checkpoints.path)
    finals = journal.finals(start.batch)
    is_final = any(record.state_path == start.state_path for record in finals)
    samplers = (record.sampler_path for record in reversed(finals) if record.sampler_path)
    live = next((path for path in samplers if not journal.is_deleted(path)), None)
    return (start.state_path if is_final else None), live


async def fit_to_service(plan: Plan, run: RunDirectory, service: Service) -> Plan:
    """The plan with the names of the service's models.

    Raises:
        ModelNotOffered: the service does not offer a model, or not for its part.
        ConfigError: a model's context is too short.
        CheckpointNotFound: a teacher's checkpoint is not there, or cannot be sampled from.
        ModelMismatch: it is of another base model.
        PreflightError: several of these.
        ServiceError: the service failed a call.
    """
    before = read_fingerprint(run.path)
    config, problems = await settle_models(plan.config, service, model_names(before))
    briefing = plan.briefing.renamed(config)
    raise_all([*problems, *await check_teachers(briefing.teachers, service.rest)])
    if config is plan.config:
        return plan
    meaning, drift = _compare(config, before, plan.given, plan.recordings, briefing)
    return replace(plan, config=config, meaning=meaning, drift=drift, briefing=briefing)
