"""The texts given to tutor, student and teacher, and how a seed is filled into them."""

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from socratic_distill.config import SocraticConfig
from socratic_distill.errors import ConfigError
from socratic_distill.seeds import Seed

_FIELDS = ("question", "expected_answer", "initial_error", "student_profile")
# Lower-case words only, so that LaTeX such as \frac{1}{2} stays as it is.
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Prompts:
    """The system prompts of a run, with `{question}`-like fields still open."""

    tutor: str
    teacher: str
    student: str
    student_attempt: str
    student_opening: str

    def for_tutor(self, seed: Seed) -> str:
        """The tutor's system prompt on a seed: never the answer, never the mistake."""
        return _fill(self.tutor, (("question", seed.question),))

    def for_teacher(self, seed: Seed, profile: str) -> str:
        """The teacher's system prompt on a seed."""
        return _fill(self.teacher, tuple(_facts(seed, profile).items()))

    def for_student(self, seed: Seed, profile: str) -> str:
        """The student's system prompt: with its mistake, or to try on its own where the seed has none."""
        text = self.student if seed.initial_error else self.student_attempt
        facts = _facts(seed, profile)
        del facts["expected_answer"]  # a student who knows the answer has nothing to learn
        return _fill(text, tuple(facts.items()))


def load_prompts(config: SocraticConfig) -> Prompts:
    """Reads the prompt files that the config names, the packaged ones elsewhere.

    Raises:
        ConfigError: a file cannot be read, or uses a field that its reader may not see.
    """
    teacher = _read(config.teacher_prompt_file, "teacher.txt")
    if config.teacher_sees_answer:
        teacher += "\n\n" + _read(None, "teacher_private.txt")
    own_student = config.student_prompt_file
    prompts = Prompts(
        tutor=_read(config.tutor_prompt_file, "tutor.txt"),
        teacher=teacher,
        student=_read(own_student, "student.txt"),
        student_attempt=_read(own_student, "student_attempt.txt"),
        student_opening=_read(None, "student_opening.txt"),
    )
    _try_all(prompts)
    return prompts


def _try_all(prompts: Prompts) -> None:
    """Fills every prompt once, so that a misspelt field is found before the first request."""
    for error in (None, "mistake"):
        seed = Seed(id="probe", question="question", expected_answer="1", initial_error=error)
        prompts.for_tutor(seed)
        prompts.for_teacher(seed, "profile")
        prompts.for_student(seed, "profile")


def _read(path: str | None, packaged: str) -> str:
    if path is None:
        return files(__name__).joinpath(packaged).read_text(encoding="utf-8").strip()
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompt file {path!r} cannot be read: {error}") from error


def _facts(seed: Seed, profile: str) -> dict[str, str]:
    return {
        "question": seed.question,
        "expected_answer": seed.expected_answer,
        "initial_error": seed.initial_error or "not known",
        "student_profile": seed.student_profile or profile,
    }


@lru_cache(4096)  # each view of a dialogue begins with the same text
def _fill(template: str, given: tuple[tuple[str, str], ...]) -> str:
    facts = dict(given)

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name in facts:
            return facts[name]
        hidden = "its reader must not see it" if name in _FIELDS else "there is no such field"
        raise ConfigError(f"a prompt uses {{{name}}}, but {hidden}; use one of {', '.join(sorted(facts))}")

    return _PLACEHOLDER.sub(value, template)
