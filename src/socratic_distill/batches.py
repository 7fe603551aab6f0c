"""What a batch is made of: seeds that the tutor plays on, and recordings that it learns from. Pure."""

import math
from collections.abc import Sequence

from socratic_distill.config import SocraticConfig
from socratic_distill.errors import RecordingError
from socratic_distill.recordings import Recording, on_policy_before, on_policy_places, recorded_batch
from socratic_distill.seeds import Seed, batch, steps_per_run
from socratic_distill.settings import divergences


def compose(
    config: SocraticConfig, seeds: Sequence[Seed], recordings: Sequence[Recording], step: int
) -> list[Seed | Recording]:
    """One entry for each of a batch's groups: a seed to play on, or a recording.

    Seeds and recordings follow each other in epochs of their own, whatever share of the groups they have: a pure
    function of its arguments, so that a resumed run takes none twice.
    """
    size = config.groups_per_batch
    if config.recordings is None:
        return list(batch(seeds, seed=config.seed, step=step, size=size))
    fraction = config.recordings.on_policy_fraction
    played = on_policy_before(step, size, fraction)
    recorded = step * size - played
    entries: list[Seed | Recording] = []
    for is_played in on_policy_places(config.seed, step, size, fraction):
        if is_played:
            entries += batch(seeds, seed=config.seed, step=played, size=1)
            played += 1
        else:
            entries += recorded_batch(recordings, seed=config.seed, step=recorded, size=1)
            recorded += 1
    return entries


def total_steps(config: SocraticConfig, seeds: Sequence[Seed], recordings: Sequence[Recording]) -> int:
    """Batches in a run: `max_steps`, or what `epochs` passes take, over the seeds where any are played on."""
    if config.max_steps is not None:
        return config.max_steps
    if config.recordings is None:
        return steps_per_run(len(seeds), config.epochs, config.groups_per_batch)
    fraction = config.recordings.on_policy_fraction
    count = len(seeds) if fraction else len(recordings)
    return math.ceil(count * config.epochs / (config.groups_per_batch * (fraction or 1.0)))


def check_recordings(
    config: SocraticConfig, seeds: Sequence[Seed], recordings: Sequence[Recording], total: int
) -> None:
    """Refuses recordings whose tokens the tutor did not sample, or too long ago, for an objective on sampled tokens.

    Raises:
        RecordingError: says which recording, and what to take instead.
    """
    objectives = divergences(config.recordings.objective) if config.recordings else ()
    if not any(one.kind == "sampled_reverse_kl" for one in objectives):
        return
    for one in recordings:
        if one.kind != "run":
            raise RecordingError(
                f"recording {one.id!r} is text that the tutor did not sample (a {one.kind} file), so it has no "
                "log-probabilities for 'sampled_reverse_kl'; set recordings.objective to 'supervised', 'forward_kl' or "
                "'jensen_shannon'"
            )
    oldest = config.max_staleness * config.num_substeps
    for step in range(total):
        for one in compose(config, seeds, recordings, step):
            if isinstance(one, Recording):
                _check_age(one, step, step * config.num_substeps, oldest, config.max_staleness)


def _check_age(recording: Recording, step: int, version: int, oldest: int, max_staleness: int) -> None:
    versions = [turn.version or 0 for turn in recording.tutor_turns]
    if not all(version - oldest <= one <= version for one in versions):
        raise RecordingError(
            f"recording {recording.id!r} was sampled by weights of version {min(versions)}, and batch {step} trains "
            f"version {version}; 'sampled_reverse_kl' takes what is at most max_staleness={max_staleness} batches old. "
            "Raise max_staleness, or set recordings.objective to 'forward_kl', 'jensen_shannon' or 'supervised'"
        )
