"""The teachers of a config, each with its defaults filled in. Pure.

A config without `teachers` has one teacher, named "teacher". A teacher's route says which seeds it takes: those of the
files in its `seeds_files` and those with one of its `tags`. A teacher without seeds_files or tags takes all unclaimed
seeds, or every seed when scores are averaged.
"""

from dataclasses import dataclass
from typing import Literal

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.parts import Teacher
from socratic_distill.config.reasoning import AS_IT_COMES, TemplateChoice

# Name of the teacher of a config without `teachers`.
SINGLE_TEACHER = "teacher"

Average = Literal["log_mean", "mixture"]


@dataclass(frozen=True)
class ResolvedTeacher:
    """One teacher, with its defaults filled in.

    Attributes:
        name: its name, in metrics and messages.
        model_name: base model, as the config has it.
        checkpoint_path: sampler weights to score with. None: the base model's, or the tutor's if lag_steps is set.
        lag_steps: score with the tutor's own weights, updated every so many batches. None: frozen weights.
        template: how its context is rendered.
        weight: its weight in averages, before weights are normalised.
        seeds_files: seeds files that it takes, as the config writes them.
        tags: tags of seeds that it takes.
    """

    name: str
    model_name: str
    checkpoint_path: str | None = None
    lag_steps: int | None = None
    template: TemplateChoice = AS_IT_COMES
    weight: float = 1.0
    seeds_files: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def is_routed(self) -> bool:
        """Whether it says which seeds it takes."""
        return bool(self.seeds_files or self.tags)


def plan_teachers(config: SocraticConfig) -> tuple[ResolvedTeacher, ...]:
    """The teachers of a config, in its order; what they do not set comes from its `teacher_…` fields."""
    if config.teachers:
        return tuple(_plan(config, teacher) for teacher in config.teachers)
    only = ResolvedTeacher(
        name=SINGLE_TEACHER,
        model_name=config.teacher_model_name,
        checkpoint_path=config.teacher_checkpoint_path,
        lag_steps=config.teacher_lag_steps,
        template=_template(config, Teacher(name=SINGLE_TEACHER)),
    )
    return (only,)


def _plan(config: SocraticConfig, teacher: Teacher) -> ResolvedTeacher:
    return ResolvedTeacher(
        name=teacher.name,
        model_name=teacher.model_name or config.teacher_model_name,
        checkpoint_path=teacher.checkpoint_path,
        lag_steps=teacher.lag_steps,
        template=_template(config, teacher),
        weight=teacher.weight,
        seeds_files=teacher.seeds_files,
        tags=teacher.tags,
    )


def _template(config: SocraticConfig, teacher: Teacher) -> TemplateChoice:
    """How a teacher's context is rendered; what it sets of its own takes the place of both general fields."""
    options = config.teacher_template_options if teacher.template_options is None else teacher.template_options
    if teacher.enable_thinking is not None or teacher.reasoning is not None:
        switch = bool(teacher.enable_thinking), teacher.reasoning
    else:
        switch = config.teacher_enable_thinking, config.teacher_reasoning
    return TemplateChoice(*switch, options, config.teacher_chat_template_file)


def tutor_template(config: SocraticConfig) -> TemplateChoice:
    """How the tutor's context is rendered."""
    switch = config.tutor_enable_thinking, config.tutor_reasoning
    return TemplateChoice(*switch, config.tutor_template_options, config.tutor_chat_template_file)
