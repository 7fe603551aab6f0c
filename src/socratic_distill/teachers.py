"""Several teachers: what each is, which seeds it takes, and how the scores of several become one. Pure.

A config without `teachers` has one teacher, named "teacher". Which seeds a teacher takes is its route: seeds of the
files in its `seeds_files` and seeds with one of its `tags`. A teacher without a route takes the seeds that no route
leads elsewhere, and every seed where scores are averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from socratic_distill.config import SocraticConfig
from socratic_distill.errors import ConfigError
from socratic_distill.models import full_model_name
from socratic_distill.seeds import Seed
from socratic_distill.sequences import Floats
from socratic_distill.settings import Teacher

# The name of a config's teacher where it has no others.
SINGLE_TEACHER = "teacher"

Average = Literal["log_mean", "mixture"]


@dataclass(frozen=True)
class TeacherPlan:
    """One teacher, nothing left open.

    Attributes:
        name: its name, in metrics and messages.
        model_name: base model, by its full name.
        checkpoint_path: sampler weights that it scores with; None: the base model's, or the tutor's where lag_steps.
        lag_steps: scores with the tutor's own weights, taken over every so many batches; None: with frozen ones.
        enable_thinking: whether its context is rendered as if it were to think first.
        weight: its weight in averages, before they are normalised.
        seeds_files: seeds files that it takes, as the config writes them.
        tags: tags of seeds that it takes.
    """

    name: str
    model_name: str
    checkpoint_path: str | None = None
    lag_steps: int | None = None
    enable_thinking: bool = False
    weight: float = 1.0
    seeds_files: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def is_routed(self) -> bool:
        """Whether it says which seeds it takes."""
        return bool(self.seeds_files or self.tags)

    def names(self, seed: Seed) -> bool:
        """Whether the seed's file or one of its tags is among those that it takes."""
        return seed.source in self.seeds_files or not set(self.tags).isdisjoint(seed.tags)


def plan_teachers(config: SocraticConfig) -> tuple[TeacherPlan, ...]:
    """The teachers of a config, in its order, with what they leave open taken from its `teacher_…` fields."""
    if config.teachers:
        return tuple(_plan(config, one) for one in config.teachers)
    only = TeacherPlan(
        name=SINGLE_TEACHER,
        model_name=full_model_name(config.teacher_model_name),
        checkpoint_path=config.teacher_checkpoint_path,
        lag_steps=config.teacher_lag_steps,
        enable_thinking=config.teacher_enable_thinking,
    )
    return (only,)


def _plan(config: SocraticConfig, one: Teacher) -> TeacherPlan:
    thinking = config.teacher_enable_thinking if one.enable_thinking is None else one.enable_thinking
    return TeacherPlan(
        name=one.name,
        model_name=full_model_name(one.model_name or config.teacher_model_name),
        checkpoint_path=one.checkpoint_path,
        lag_steps=one.lag_steps,
        enable_thinking=thinking,
        weight=one.weight,
        seeds_files=one.seeds_files,
        tags=one.tags,
    )


def route(plans: Sequence[TeacherPlan], seeds: Sequence[Seed], average: Average | None) -> dict[str, tuple[str, ...]]:
    """Which teachers each seed has.

    Args:
        plans: the teachers, in the config's order.
        seeds: all seeds of the run.
        average: how scores of several teachers are averaged; None: each seed has one teacher.

    Returns:
        By seed id the names of its teachers, in the config's order; at least one, and just one without `average`.

    Raises:
        ConfigError: a seed has no teacher, or several without `average`; a teacher has no seed; or one names a file
            that no seed comes from.
    """
    _check_files(plans, seeds)
    routes = {seed.id: teachers_of(seed, plans, average) for seed in seeds}
    for seed in seeds:
        _check_number(seed, routes[seed.id], plans, average)
    busy = {name for names in routes.values() for name in names}
    for plan in plans:
        if plan.name not in busy:
            raise ConfigError(_idle(plan, seeds))
    return routes


def teachers_of(seed: Seed, plans: Sequence[TeacherPlan], average: Average | None) -> tuple[str, ...]:
    """The names of a seed's teachers, in the config's order, be they none or too many; `route` refuses those."""
    named = tuple(plan.name for plan in plans if plan.names(seed))
    if named and average is None:
        return named
    return tuple(plan.name for plan in plans if not plan.is_routed or plan.name in named)


def _check_files(plans: Sequence[TeacherPlan], seeds: Sequence[Seed]) -> None:
    # A seeds file without seeds is an error of its own, so the seeds' files are all that the config has.
    known = sorted({seed.source for seed in seeds if seed.source is not None})
    for plan in plans:
        for path in plan.seeds_files:
            if path not in known:
                files = ", ".join(map(repr, known)) or "none, only built-in seeds"
                raise ConfigError(
                    f"teacher {plan.name!r} has seeds_files={path!r}, which is none of the config's seeds files "
                    f"({files}); write it just as there"
                )


def _check_number(seed: Seed, names: tuple[str, ...], plans: Sequence[TeacherPlan], average: Average | None) -> None:
    if not names:
        raise ConfigError(
            f"seed {seed.id!r} ({_about(seed)}) has no teacher: none of {_listed(plans)} takes its file or tags; "
            "add them to a teacher, or leave seeds_files and tags out of the one that takes all the rest"
        )
    if len(names) > 1 and average is None:
        raise ConfigError(
            f"seed {seed.id!r} ({_about(seed)}) has the teachers {', '.join(map(repr, names))}; set teacher_average to "
            "have their scores averaged, or narrow their seeds_files and tags so that one takes it"
        )


def _idle(plan: TeacherPlan, seeds: Sequence[Seed]) -> str:
    if not plan.is_routed:
        return (
            f"teacher {plan.name!r} has no seed: the other teachers' seeds_files and tags take them all; leave it out"
        )
    tags = sorted({tag for seed in seeds for tag in seed.tags})
    known = f"their tags are {', '.join(tags[:20])}" if tags else "they have no tags"
    return (
        f"teacher {plan.name!r} has no seed: none of the {len(seeds)} seeds has one of its tags "
        f"({', '.join(plan.tags)}); {known}. Correct the tags, or leave the teacher out"
    )


def _about(seed: Seed) -> str:
    tags = f"tags {', '.join(seed.tags)}" if seed.tags else "no tags"
    return f"{seed.source or 'built-in'}, {tags}"


def _listed(plans: Sequence[TeacherPlan]) -> str:
    return ", ".join(repr(plan.name) for plan in plans)


def average(scores: Sequence[Floats], weights: Sequence[float], how: Average) -> Floats:
    """One score for each token from the scores of several teachers.

    With weights `w_i`, normalised to add up to 1, and teachers `p_i`:

    - `log_mean`: `sum_i w_i log p_i`. The tutor's divergence from it is the weighted mean of its divergences from the
      teachers. It is no distribution: over the vocabulary its probabilities add up to at most 1.
    - `mixture`: `log sum_i w_i p_i`, worked out among logarithms, so that nothing underflows. The tutor is compared
      with a teacher who follows teacher `i` with probability `w_i` at each token.

    Args:
        scores: log-probabilities of the same tokens under each teacher, nats, arrays of one shape, such as `[T]`.
        weights: one weight for each, above 0.
        how: which of the two.

    Returns:
        The averaged log-probabilities, nats, of that shape. A single teacher's are returned as they are.
    """
    assert scores and len(scores) == len(weights), f"{len(scores)} scores, {len(weights)} weights"
    if len(scores) == 1:
        return scores[0]
    shares = np.asarray(weights, dtype=np.float64) / max(weights)
    shares = (shares / shares.sum()).reshape(-1, *[1] * scores[0].ndim)
    stacked = np.stack(scores)
    if how == "log_mean":
        return (shares * stacked).sum(axis=0)
    return np.logaddexp.reduce(stacked + np.log(shares), axis=0)


def lag_batch(step: int, lag_steps: int, max_staleness: int) -> int:
    """The batch whose weights, those of the tutor just before it, a lagged teacher scores batch `step` with.

    The last multiple of `lag_steps` at or below `step - max_staleness`, or 0. Dialogues may run `max_staleness` batches
    ahead of the training, so that batch `step` may be scored before any newer weights exist; where they exist already,
    they are not used either, since what is trained must not depend on who was quicker.
    """
    return max(step - max_staleness, 0) // lag_steps * lag_steps
