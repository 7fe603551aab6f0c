"""Composes batches of seeds that the tutor plays on and recordings that it learns from. Pure."""

import functools
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

from socratic_distill.config.config import SocraticConfig
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.recordings import Recording
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.errors import RecordingError, SeedError

T = TypeVar("T")


def hold_out(seeds: Sequence[Seed], count: int) -> tuple[tuple[Seed, ...], tuple[Seed, ...]]:
    """Splits seeds into those to train on and those to evaluate on, each in the given order. Pure.

    A hash of the questions decides which are held out; their order, their number and the run's random seed do not. So
    two runs on the same problems are evaluated on the same seeds. Seeds on one question stay together.

    Args:
        seeds: all seeds.
        count: minimum number to hold out; more are held out if a question has several seeds.

    Raises:
        SeedError: no seeds would be left to train on.
    """
    order = sorted({seed.question for seed in seeds}, key=lambda text: hashlib.sha256(text.encode()).digest())
    on_question = Counter(seed.question for seed in seeds)
    held, questions = 0, iter(order)
    chosen = set()
    while held < count and (question := next(questions, None)) is not None:
        chosen.add(question)
        held += on_question[question]
    rest = tuple(seed for seed in seeds if seed.question not in chosen)
    if not rest:
        raise SeedError(
            f"eval_seeds={count} of {len(seeds)} seeds on {len(order)} questions leaves none to train on; lower it, or "
            "give more seeds"
        )
    return rest, tuple(seed for seed in seeds if seed.question in chosen)


def steps_per_run(count: int, epochs: int, size: int) -> int:
    """Number of batches of `size` in `epochs` passes over `count` seeds; the last is filled from the next epoch."""
    return math.ceil(count * epochs / size)


def batch(seeds: Sequence[T], *, seed: int, step: int, size: int) -> list[T]:
    """The seeds, or other items, of one batch; a pure function of its arguments.

    Each epoch is a shuffle of all seeds by (seed, epoch). The epochs follow each other in one sequence, and a batch is
    its positions `[step * size, (step + 1) * size)`. So nothing is dropped or repeated within an epoch, every batch has
    the same size, and a batch may span two epochs.
    """
    return [at_position(seeds, seed, position)[1] for position in range(step * size, (step + 1) * size)]


def at_position(seeds: Sequence[T], seed: int, position: int) -> tuple[int, T]:
    """The epoch and the item at a position in the sequence of all epochs."""
    epoch, index = divmod(position, len(seeds))
    return epoch, seeds[_shuffle(len(seeds), seed, epoch)[index]]


@functools.lru_cache(maxsize=4)
def _shuffle(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of an epoch, by SHA-256: the same on every machine and version of Python."""

    def key(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{epoch}:{index}".encode()).digest()

    return tuple(sorted(range(count), key=key))


def recorded_batch(recordings: Sequence[Recording], *, seed: int, step: int, size: int) -> list[Recording]:
    """The recordings of one batch, in the order of `batch`; a pure function of its arguments.

    If the tutor plays a share of the groups, the number of recordings varies between batches. Then take one at a time,
    with size 1 and, as `step`, the number of recorded groups before it, `step * groups - on_policy_before(…)`.
    """
    return batch(recordings, seed=seed, step=step, size=size)


def on_policy_before(step: int, groups: int, fraction: float) -> int:
    """How many groups the tutor plays in the batches before `step`: `fraction` of all groups, rounded half up.

    The fraction is read as a decimal number, so that a tenth of ten groups is exactly one at every step.
    """
    return math.floor(Fraction(str(fraction)) * groups * step + Fraction(1, 2))


def on_policy_places(seed: int, step: int, groups: int, fraction: float) -> list[bool]:
    """Which groups of a batch the tutor plays (True), and which are recorded: lmbda of GKD (arXiv:2306.13649).

    The step decides how many it plays: at each step their share of all groups so far is `fraction` to within half a
    group. A stable hash draws which groups of the batch these are, `[groups]`.
    """
    count = on_policy_before(step + 1, groups, fraction) - on_policy_before(step, groups, fraction)
    drawn = sorted(range(groups), key=lambda group: (stable_seed("on_policy", seed, step, group), group))[:count]
    return [group in drawn for group in range(groups)]


def played_places(config: SocraticConfig, step: int) -> list[bool]:
    """Which groups of a batch the tutor plays."""
    if config.recordings is None:
        return [True] * config.groups_per_batch
    return on_policy_places(config.seed, step, config.groups_per_batch, config.recordings.on_policy_fraction)


def compose(
    config: SocraticConfig,
    seeds: Sequence[Seed],
    recordings: Sequence[Recording],
    step: int,
    drawn: Sequence[Seed] | None = None,
) -> list[Seed | Recording]:
    """One entry for each of a batch's groups: a seed to play on, or a recording.

    Seeds and recordings each follow their own epochs, whatever share of the groups they have. It is a pure function of
    its arguments, so a resumed run takes none twice.

    Args:
        config: the config.
        seeds: those to play on.
        recordings: those to learn from.
        step: the batch.
        drawn: the seeds of this batch, as many as it plays on. None: those whose turn it is.
    """
    size = config.groups_per_batch
    if config.recordings is None:
        return list(batch(seeds, seed=config.seed, step=step, size=size) if drawn is None else drawn)
    fraction = config.recordings.on_policy_fraction
    played = on_policy_before(step, size, fraction)
    recorded = step * size - played
    entries: list[Seed | Recording] = []
    given = None if drawn is None else iter(drawn)
    for is_played in played_places(config, step):
        if is_played:
            entries += batch(seeds, seed=config.seed, step=played, size=1) if given is None else [next(given)]
            played += 1
        else:
            entries += recorded_batch(recordings, seed=config.seed, step=recorded, size=1)
            recorded += 1
    return entries


def total_steps(config: SocraticConfig, seeds: Sequence[Seed], recordings: Sequence[Recording]) -> int:
    """Number of batches: `max_steps`, or `epochs` passes over the seeds, or over the recordings if none are played."""
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
    """For an objective on sampled tokens, refuses recordings that the tutor did not sample, or sampled too long ago.

    Raises:
        RecordingError: the message names the recording and says what to use instead.
    """
    objectives = config.recordings.objective.divergences if config.recordings else ()
    if not any(divergence.trains_sampled_tokens for divergence in objectives):
        return
    for recording in recordings:
        if recording.kind != "run":
            raise RecordingError(
                f"recording {recording.id!r} is text that the tutor did not sample (a {recording.kind} file), so it "
                "has no log-probabilities for 'sampled_reverse_kl'; set recordings.objective to 'supervised', "
                "'forward_kl' or 'jensen_shannon'"
            )
    oldest = config.max_staleness * config.num_substeps
    for step in range(total):
        for entry in compose(config, seeds, recordings, step):
            if isinstance(entry, Recording):
                _check_age(entry, step, step * config.num_substeps, oldest, config.max_staleness)


def _check_age(recording: Recording, step: int, version: int, oldest: int, max_staleness: int) -> None:
    versions = [turn.version or 0 for turn in recording.tutor_turns if not turn.by]
    if not all(version - oldest <= sampled_by <= version for sampled_by in versions):
        raise RecordingError(
            f"recording {recording.id!r} was sampled by weights of version {min(versions)}, and batch {step} trains "
            f"version {version}; 'sampled_reverse_kl' needs tokens at most max_staleness={max_staleness} batches old. "
            "Raise max_staleness, or set recordings.objective to 'forward_kl', 'jensen_shannon' or 'supervised'"
        )
