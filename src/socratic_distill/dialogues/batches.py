"""What a batch is made of: seeds that the tutor plays on, and recordings that it learns from. Pure."""

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
    """Parts seeds into those to train on and those to evaluate on, each in their order. Pure.

    Which are held out, a hash of their questions decides: not their order, their number or the run's random seed, so
    that two runs on the same problems are measured on the same ones. Seeds on one question stay together.

    Args:
        seeds: all seeds.
        count: how many to hold out at least; more where a question has several seeds.

    Raises:
        SeedError: nothing would be left to train on.
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
            f"eval_seeds={count} of {len(seeds)} seeds on {len(order)} questions leave none to train on; lower it, or "
            "give more seeds"
        )
    return rest, tuple(seed for seed in seeds if seed.question in chosen)


def steps_per_run(count: int, epochs: int, size: int) -> int:
    """Batches of `size` that `epochs` passes over `count` seeds take; the last one runs over."""
    return math.ceil(count * epochs / size)


def batch(seeds: Sequence[T], *, seed: int, step: int, size: int) -> list[T]:
    """The seeds of one batch, or whatever else there is a row of; a pure function of its arguments.

    The epochs, each a shuffle of all seeds by (seed, epoch), stand one behind the other; a batch is places
    `[step * size, (step + 1) * size)` of that row. So nothing is dropped or repeated within an epoch, every
    batch has the same size, and one may lie across two epochs.
    """
    places = (divmod(place, len(seeds)) for place in range(step * size, (step + 1) * size))
    return [seeds[_shuffle(len(seeds), seed, epoch)[place]] for epoch, place in places]


@functools.lru_cache(maxsize=4)
def _shuffle(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of an epoch, by SHA-256: the same on every machine and version of Python."""

    def key(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{epoch}:{index}".encode()).digest()

    return tuple(sorted(range(count), key=key))


def recorded_batch(recordings: Sequence[Recording], *, seed: int, step: int, size: int) -> list[Recording]:
    """The recordings of one batch, a pure function of its arguments: `seeds.batch` says how they follow.

    Where the tutor plays a share of the groups, batches hold more or fewer recordings. Then take them one by
    one: size 1, and as `step` the number of recorded groups before, `step * groups - on_policy_before(…)`.
    """
    return batch(recordings, seed=seed, step=step, size=size)


def on_policy_before(step: int, groups: int, fraction: float) -> int:
    """How many groups the tutor plays in the batches before `step`: `fraction` of them all, rounded half up.

    The fraction is read as decimals, so that a tenth of ten groups is exactly one at every step.
    """
    return math.floor(Fraction(str(fraction)) * groups * step + Fraction(1, 2))


def on_policy_places(seed: int, step: int, groups: int, fraction: float) -> list[bool]:
    """Which groups of a batch the tutor plays (True), and which are recorded: lmbda of GKD (arXiv:2306.13649).

    How many it plays follows from the step, so that at each step the share of all groups so far is `fraction`
    to within half a group. Which of the batch's places `[groups]` these are is drawn by a stable hash.
    """
    count = on_policy_before(step + 1, groups, fraction) - on_policy_before(step, groups, fraction)
    drawn = sorted(range(groups), key=lambda place: (stable_seed("on_policy", seed, step, place), place))[:count]
    return [place in drawn for place in range(groups)]


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
    objectives = config.recordings.objective.divergences if config.recordings else ()
    if not any(divergence.trains_sampled_tokens for divergence in objectives):
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
