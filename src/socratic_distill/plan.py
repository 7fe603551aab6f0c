"""What a run is to do, and what is left of it: read from its config and its directory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from socratic_distill.config import SocraticConfig
from socratic_distill.drift import Change, Fingerprint, changes, fingerprint
from socratic_distill.journal import Journal
from socratic_distill.prompts import load_prompts
from socratic_distill.run import RunDirectory, read_fingerprint
from socratic_distill.saver import What
from socratic_distill.seeds import Seed, load_seeds, steps_per_run
from socratic_distill.start import Resume, Start, read_history, resolve


@dataclass(frozen=True)
class Plan:
    """What a run is to do, read once: nothing in it changes while a process lives.

    Attributes:
        config: the run's config.
        seeds: its seeds.
        total: batches in the run.
        meaning: what the config means.
        drift: where that differs from what the run directory holds.
        failed_saves: failures in a row by kind of save, over all sessions of the process.
    """

    config: SocraticConfig
    seeds: tuple[Seed, ...]
    total: int
    meaning: Fingerprint
    drift: Sequence[Change]
    failed_saves: Counter[What] = field(default_factory=Counter)


def read_plan(config: SocraticConfig, run: RunDirectory) -> Plan:
    """Reads seeds and prompts, and compares what the config means with what the run has meant so far.

    Raises:
        SeedError: the seeds cannot be read.
        ConfigError: a prompt file cannot be used.
        StartError: `fingerprint.json` cannot be read.
    """
    seeds = load_seeds(config.seeds_file, config.seeds_limit, config.seeds_files)
    meaning = fingerprint(config, seeds, load_prompts(config))
    drift = changes(read_fingerprint(run.path), meaning, config.allow_config_changes)
    total = config.max_steps or steps_per_run(len(seeds), config.epochs, config.groups_per_batch)
    return Plan(config, seeds, total, meaning, drift)


def decide(plan: Plan, run: RunDirectory, unusable: Mapping[str, str] | None = None) -> Start:
    """What the run begins from, by what its directory says; raises as `resolve_start`, and for drift."""
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
    """The final state and sampler path at the batch that the run resumes from, as far as they are recorded.

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
