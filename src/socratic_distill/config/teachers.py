"""Several teachers: what each is, which seeds it takes, and how the scores of several become one. Pure.

A config without `teachers` has one teacher, named "teacher". Which seeds a teacher takes is its route: seeds of the
files in its `seeds_files` and seeds with one of its `tags`. A teacher without a route takes the seeds that no route
leads elsewhere, and every seed where scores are averaged.
"""

from dataclasses import dataclass
from typing import Literal

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.parts import Teacher

# The name of a config's teacher where it has no others.
SINGLE_TEACHER = "teacher"

Average = Literal["log_mean", "mixture"]


@dataclass(frozen=True)
class TeacherPlan:
    """One teacher, nothing left open.

    Attributes:
        name: its name, in metrics and messages.
        model_name: base model, as the config has it.
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


def plan_teachers(config: SocraticConfig) -> tuple[TeacherPlan, ...]:
    """The teachers of a config, in its order, with what they leave open taken from its `teacher_…` fields."""
    if config.teachers:
        return tuple(_plan(config, one) for one in config.teachers)
    only = TeacherPlan(
        name=SINGLE_TEACHER,
        model_name=config.teacher_model_name,
        checkpoint_path=config.teacher_checkpoint_path,
        lag_steps=config.teacher_lag_steps,
        enable_thinking=config.teacher_enable_thinking,
    )
    return (only,)


def _plan(config: SocraticConfig, one: Teacher) -> TeacherPlan:
    thinking = config.teacher_enable_thinking if one.enable_thinking is None else one.enable_thinking
    return TeacherPlan(
        name=one.name,
        model_name=one.model_name or config.teacher_model_name,
        checkpoint_path=one.checkpoint_path,
        lag_steps=one.lag_steps,
        enable_thinking=thinking,
        weight=one.weight,
        seeds_files=one.seeds_files,
        tags=one.tags,
    )
