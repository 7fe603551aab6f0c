"""Works out, before any client is opened, which teachers each seed has and which prompts everyone gets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.teachers import ResolvedTeacher, plan_teachers
from socratic_distill.dialogues.prompts import Prompts, check_prompts, load_prompts
from socratic_distill.dialogues.routing import route, teachers_of
from socratic_distill.dialogues.seeds import Seed


@dataclass(frozen=True)
class Briefing:
    """The teachers, the prompts and the routes of a run.

    Attributes:
        teachers: the teachers, in the config's order.
        prompts: the system prompts of tutor, student and teachers.
        routes: by seed id, the names of its teachers in the config's order.
    """

    teachers: tuple[ResolvedTeacher, ...]
    prompts: Prompts
    routes: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, config: SocraticConfig, seeds: Iterable[Seed]) -> "Briefing":
        """The briefing of a config for some seeds.

        Raises:
            ConfigError: a prompt file cannot be read, or the tutor's or the student's prompt uses a field that its
                reader must not see.
        """
        return cls(plan_teachers(config), load_prompts(config), {}).routed(config, seeds)

    def routed(self, config: SocraticConfig, seeds: Iterable[Seed]) -> "Briefing":
        """The same teachers and prompts for other seeds. Of seeds with one id, the last one decides."""
        routes = {seed.id: teachers_of(seed, self.teachers, config.teacher_average) for seed in seeds}
        return replace(self, routes=routes)

    def renamed(self, config: SocraticConfig) -> "Briefing":
        """The same prompts and routes for a config whose model names were settled since."""
        return replace(self, teachers=plan_teachers(config))

    def check(self, config: SocraticConfig, seeds: Sequence[Seed]) -> None:
        """Refuses seeds without a teacher, teachers without a seed, and prompts that use a field that a seed lacks.

        Args:
            config: the config of this briefing.
            seeds: all seeds that a teacher scores. If there are none, nothing is checked.

        Raises:
            ConfigError: the message names the seed, teacher or prompt, and says what to change.
        """
        if seeds:
            routes = route(self.teachers, seeds, config.teacher_average)
            check_prompts(self.prompts, seeds, config.student_profile, routes)
