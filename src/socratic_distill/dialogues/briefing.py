"""Who teaches which seed, and what everyone is told: worked out once, before anything is opened."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.teachers import TeacherPlan, plan_teachers
from socratic_distill.dialogues.prompts import Prompts, check_prompts, load_prompts
from socratic_distill.dialogues.routing import route, teachers_of
from socratic_distill.dialogues.seeds import Seed


@dataclass(frozen=True)
class Briefing:
    """What is settled about teachers and prompts.

    Attributes:
        teachers: the teachers, in the config's order.
        prompts: the system prompts of everyone.
        routes: by seed id the names of its teachers, in the config's order.
    """

    teachers: tuple[TeacherPlan, ...]
    prompts: Prompts
    routes: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, config: SocraticConfig, seeds: Iterable[Seed]) -> "Briefing":
        """The briefing of a config for some seeds.

        Raises:
            ConfigError: a prompt file cannot be read, or the tutor's or the student's prompt uses a field that it
                may not.
        """
        teachers = plan_teachers(config)
        routes = {seed.id: teachers_of(seed, teachers, config.teacher_average) for seed in seeds}
        return cls(teachers, load_prompts(config), routes)

    def check(self, config: SocraticConfig, seeds: Sequence[Seed]) -> None:
        """Refuses seeds without a teacher, teachers without a seed, and prompts that use a field which a seed lacks.

        Args:
            config: the config that the briefing is of.
            seeds: all seeds that a teacher is asked about. Without any, there is nothing to check.

        Raises:
            ConfigError: says which, and what to change.
        """
        if seeds:
            route(self.teachers, seeds, config.teacher_average)
            check_prompts(self.prompts, seeds, config.student_profile, self.routes)
