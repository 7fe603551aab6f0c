"""Decides which teachers each seed has. Pure."""

from collections.abc import Sequence

from socratic_distill.config.teachers import Average, ResolvedTeacher
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.errors import ConfigError


def route(
    plans: Sequence[ResolvedTeacher], seeds: Sequence[Seed], average: Average | None
) -> dict[str, tuple[str, ...]]:
    """Which teachers each seed has.

    Args:
        plans: the teachers, in the config's order.
        seeds: all seeds of the run.
        average: how scores of several teachers are averaged; None: each seed has one teacher.

    Returns:
        By seed id, the names of its teachers in the config's order: at least one, and exactly one without `average`.

    Raises:
        ConfigError: a seed has no teacher, or several without `average`; a teacher has no seed, or names a file that
            no seed comes from.
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


def teachers_of(seed: Seed, plans: Sequence[ResolvedTeacher], average: Average | None) -> tuple[str, ...]:
    """The names of a seed's teachers, in the config's order. There may be none or too many, which `route` refuses."""
    named = tuple(plan.name for plan in plans if _names(plan, seed))
    if named and average is None:
        return named
    return tuple(plan.name for plan in plans if not plan.is_routed or plan.name in named)


def _names(plan: ResolvedTeacher, seed: Seed) -> bool:
    """Whether the seed's file or one of its tags is among those that the teacher takes."""
    return seed.source in plan.seeds_files or not set(plan.tags).isdisjoint(seed.tags)


def _check_files(plans: Sequence[ResolvedTeacher], seeds: Sequence[Seed]) -> None:
    # A seeds file without seeds is refused earlier, so every file of the config is the source of a seed.
    known = sorted({seed.source for seed in seeds if seed.source is not None})
    for plan in plans:
        for path in plan.seeds_files:
            if path not in known:
                files = ", ".join(map(repr, known)) or "none, only built-in seeds"
                raise ConfigError(
                    f"teacher {plan.name!r} has seeds_files={path!r}, which is none of the config's seeds files "
                    f"({files}); write it exactly as there"
                )


def _check_number(
    seed: Seed, names: tuple[str, ...], plans: Sequence[ResolvedTeacher], average: Average | None
) -> None:
    if not names:
        raise ConfigError(
            f"seed {seed.id!r} ({_about(seed)}) has no teacher: none of {_listed(plans)} takes its file or tags; "
            "add them to a teacher, or leave seeds_files and tags out of the teacher that takes all other seeds"
        )
    if len(names) > 1 and average is None:
        raise ConfigError(
            f"seed {seed.id!r} ({_about(seed)}) has the teachers {', '.join(map(repr, names))}; set teacher_average to "
            "average their scores, or narrow their seeds_files and tags so that only one takes the seed"
        )


def _idle(plan: ResolvedTeacher, seeds: Sequence[Seed]) -> str:
    if not plan.is_routed:
        return (
            f"teacher {plan.name!r} has no seed: the other teachers' seeds_files and tags take all seeds; leave it out"
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


def _listed(plans: Sequence[ResolvedTeacher]) -> str:
    return ", ".join(repr(plan.name) for plan in plans)


def lag_batch(step: int, lag_steps: int, max_staleness: int) -> int:
    """A lagged teacher scores batch `step` with the tutor's weights as they were before this batch.

    It is the last multiple of `lag_steps` up to `step - max_staleness`, or 0. Dialogues may run `max_staleness` batches
    ahead of training, so newer weights may not exist yet when batch `step` is scored. They are not used if they exist
    either, so that the result does not depend on timing.
    """
    return max(step - max_staleness, 0) // lag_steps * lag_steps
