"""The prompts of tutor, student and teachers, and how a seed is filled into them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.parts import Teacher
from socratic_distill.config.paths import resolved
from socratic_distill.config.teachers import SINGLE_TEACHER
from socratic_distill.config.trust import check_files
from socratic_distill.dialogues.quotes import NOTHING_QUOTED, QUOTES, Quotes
from socratic_distill.dialogues.reading.values import PLACEHOLDER, SHARED_FIELDS
from socratic_distill.dialogues.seed import Seed
from socratic_distill.errors import ConfigError

_OPENINGS = {"question": "student_question.txt"}
_TUTOR_SEES = ("question",)
# A student who knows the answer has nothing to learn.
_STUDENT_SEES = ("question", "initial_error", "student_profile")


@dataclass(frozen=True)
class Prompts:
    """The system prompts of a run, as templates with fields such as `{question}`.

    Attributes:
        tutor: the tutor's prompt.
        teachers: the teachers' prompts by teacher name; a config's only teacher is named "teacher".
        student: the student's prompt on a seed with a mistake.
        student_attempt: the student's prompt on a seed without a mistake.
        student_opening: the first message to the student; it has no fields.
        tutor_opening: the first message to a tutor who speaks first; it has no fields.
        shows_mistake: whether the student's prompt has the seed's mistake.
    """

    tutor: str
    teachers: Mapping[str, str]
    student: str
    student_attempt: str
    student_opening: str
    tutor_opening: str = ""
    shows_mistake: bool = True

    def for_tutor(self, seed: Seed) -> str:
        """The tutor's system prompt on a seed; it never holds the answer, the mistake or the seed's private fields."""
        return _fill(self.tutor, _facts(seed, "", _TUTOR_SEES))

    def for_teacher(
        self, seed: Seed, profile: str, teacher: str = SINGLE_TEACHER, quotes: Quotes = NOTHING_QUOTED
    ) -> str:
        """A teacher's system prompt on a seed; it may hold the seed's private fields, and what came after a turn."""
        facts = (*_facts(seed, profile, SHARED_FIELDS), *seed.fields)
        return _fill(self.teachers[teacher], (*facts, *quotes.facts) if self.quoted_by(teacher) else facts)

    def quoted_by(self, teacher: str) -> frozenset[str]:
        """The variables of a teacher's prompt that quote what came after a turn, or another dialogue."""
        return _quoted(self.teachers[teacher])

    def for_student(self, seed: Seed, profile: str) -> str:
        """The student's system prompt on a seed: with its mistake, or for an own attempt if the seed has none."""
        text = self.student if seed.initial_error and self.shows_mistake else self.student_attempt
        return _fill(text, _facts(seed, profile, _STUDENT_SEES))


def load_prompts(config: SocraticConfig) -> Prompts:
    """Reads the prompt files that the config names, and the packaged prompts for the rest.

    A phrase with which the tutor ends a dialogue is added to packaged prompts, and must stand in others.

    `check_prompts` checks the private fields in teachers' prompts later, when the seeds are read.

    Raises:
        ConfigError: a file cannot be read, the tutor's or the student's prompt uses a field that its reader must not
            see, or a prompt does not name a phrase that ends dialogues.
    """
    check_files(config, "prompts")
    own_student = config.student_prompt_file
    teachers = {teacher.name: teacher_prompt(config, teacher) for teacher in config.teachers}
    prompts = Prompts(
        tutor=read_prompt(config.tutor_prompt_file, "tutor.txt", config.subject),
        teachers=teachers or {SINGLE_TEACHER: teacher_prompt(config)},
        student=read_prompt(own_student, "student.txt", config.subject),
        student_attempt=read_prompt(own_student, "student_attempt.txt", config.subject),
        student_opening=read_prompt(None, _OPENINGS.get(config.opening, "student_opening.txt")),
        tutor_opening=read_prompt(None, "tutor_opening.txt"),
        shows_mistake=config.opening not in ("attempt", "question"),
    )
    prompts = _with_phrases(prompts, config)
    _check_public(prompts)
    if config.teacher_turns:
        _check_speakers(prompts)
    return prompts


def _check_speakers(prompts: Prompts) -> None:
    """Refuses prompts of teachers that are to speak, but quote what comes after their turn."""
    for name in prompts.teachers:
        if quoted := sorted(prompts.quoted_by(name)):
            raise ConfigError(
                f"with teacher_turns a teacher speaks before it is known how the dialogue goes on, but the prompt of "
                f"teacher {name!r} uses {{{quoted[0]}}}; leave that out of the prompt, or leave out teacher_turns"
            )


def _with_phrases(prompts: Prompts, config: SocraticConfig) -> Prompts:
    phrases = [ending.phrase for ending in config.endings if ending.kind == "phrase" and ending.by == "tutor"]
    if not phrases:
        return prompts
    ask = "\n".join(read_prompt(None, "tutor_ending.txt").replace("{phrase}", phrase) for phrase in phrases)

    def named(text: str, whose: str, is_packaged: bool) -> str:
        if is_packaged:
            return f"{text}\n\n{ask}"
        if missing := [phrase for phrase in phrases if phrase not in text]:
            raise ConfigError(
                f"{whose} prompt does not name {missing[0]!r}, with which the tutor ends a dialogue; add a sentence "
                f"such as {ask.splitlines()[0]!r}"
            )
        return text

    own = {teacher.name: teacher.prompt_file for teacher in config.teachers}
    teachers = {
        name: named(text, f"the teacher's ({name!r})", not (own.get(name) or config.teacher_prompt_file))
        for name, text in prompts.teachers.items()
    }
    return replace(
        prompts, tutor=named(prompts.tutor, "the tutor's", config.tutor_prompt_file is None), teachers=teachers
    )


def teacher_prompt(config: SocraticConfig, teacher: Teacher | None = None) -> str:
    """A teacher's system prompt, as a template.

    Args:
        config: the config, for settings that the teacher does not have itself.
        teacher: one of its teachers; None: the one that the config's `teacher_…` fields describe.

    Raises:
        ConfigError: its file cannot be read.
    """
    own_file, own_sight = (teacher.prompt_file, teacher.sees_answer) if teacher else (None, None)
    text = read_prompt(own_file or config.teacher_prompt_file, "teacher.txt", config.subject)
    sees_answer = config.teacher_sees_answer if own_sight is None else own_sight
    return f"{text}\n\n{read_prompt(None, 'teacher_private.txt')}" if sees_answer else text


def check_prompts(prompts: Prompts, seeds: Sequence[Seed], profile: str, routes: Mapping[str, Sequence[str]]) -> None:
    """Checks before the first request that every seed has the fields that its prompts use.

    Of seeds with the same field names and the same teachers only the first is tried, so thousands of seeds take no
    longer than a few.

    Args:
        prompts: the prompts.
        seeds: all seeds of the run.
        profile: the student's profile for seeds without one.
        routes: by seed id, the names of its teachers, as `routing.route` returns them.

    Raises:
        ConfigError: a teacher's prompt uses a field that one of its seeds lacks, or another prompt uses a field that
            its reader must not see.
    """
    _check_public(prompts)
    tried = set()
    for seed in seeds:
        kind = (tuple(name for name, _ in seed.fields), tuple(routes[seed.id]))
        if kind not in tried:
            tried.add(kind)
            _try_teachers(prompts, seed, profile, routes[seed.id])


def _try_teachers(prompts: Prompts, seed: Seed, profile: str, teachers: Iterable[str]) -> None:
    for teacher in teachers:
        if taken := sorted(prompts.quoted_by(teacher).intersection(name for name, _ in seed.fields)):
            raise ConfigError(
                f"teacher {teacher!r} on seed {seed.id!r}: the prompt uses {{{taken[0]}}}, which quotes the "
                f'dialogue, but the seed has a field of this name; rename it in the seed\'s "fields"'
            )
        try:
            prompts.for_teacher(seed, profile, teacher)
        except ConfigError as error:
            raise ConfigError(
                f"teacher {teacher!r} on seed {seed.id!r}: {error}. Correct the prompt, or add the field to the seed's "
                '"fields"'
            ) from None


def _check_public(prompts: Prompts) -> None:
    """Refuses fields that tutor and student must not see; only teachers see a seed's private fields."""
    views = [(prompts.tutor, "tutor", _TUTOR_SEES)]
    views += [(text, "student", _STUDENT_SEES) for text in (prompts.student, prompts.student_attempt)]
    for template, reader, seen in views:
        if quoted := sorted(_quoted(template)):
            raise ConfigError(
                f"the {reader}'s prompt uses {{{quoted[0]}}}, which quotes what came after a turn or another dialogue; "
                f"the {reader} speaks before that, so only a teacher's prompt may use it"
            )
        if refused := sorted(_names(template).difference(seen)):
            raise ConfigError(
                f"the {reader}'s prompt uses {{{refused[0]}}}, which is misspelt or which the {reader} must not see; "
                f"use one of {', '.join(seen)}"
            )


def _names(template: str) -> set[str]:
    return set(PLACEHOLDER.findall(template))


@lru_cache(256)  # asked at every turn
def _quoted(template: str) -> frozenset[str]:
    return frozenset(_names(template).intersection(QUOTES))


def read_prompt(path: str | None, packaged: str, subject: str = "math") -> str:
    """The text of a prompt file, or of a packaged one if path is None; without white space at its ends.

    Args:
        path: the file.
        packaged: name of the packaged prompt.
        subject: what is taught, put in the place of `{subject}`.

    Raises:
        ConfigError: the file cannot be read.
    """
    if path is None:
        return _on_subject(files(__name__).joinpath(packaged).read_text(encoding="utf-8").strip(), subject)
    try:
        return _on_subject(Path(resolved(path)).read_text(encoding="utf-8").strip(), subject)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompt file {path!r} cannot be read: {error}") from error


def _facts(seed: Seed, profile: str, seen: Iterable[str]) -> tuple[tuple[str, str], ...]:
    facts = {
        "question": seed.problem,
        "expected_answer": seed.expected_answer or "not known",
        "initial_error": seed.initial_error or "not known",
        "student_profile": seed.student_profile or profile,
    }
    return tuple((name, facts[name]) for name in seen)


def _on_subject(template: str, subject: str) -> str:
    """A prompt with what is taught in the place of `{subject}`, and with the article that it needs.

    >>> _on_subject("You are a {subject} tutor.", "algebra")
    'You are an algebra tutor.'
    """
    if subject[0].lower() in "aeiou":
        template = re.sub(r"\b([Aa]) (?=\{subject\})", r"\1n ", template)
    return template.replace("{subject}", subject)


@lru_cache(4096)  # each view of a dialogue begins with the same text
def _fill(template: str, given: tuple[tuple[str, str], ...]) -> str:
    facts = dict(given)

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in facts:
            raise ConfigError(
                f"the prompt uses {{{name}}}, but its reader may see no such field; the fields are {', '.join(facts)}"
            )
        return facts[name]

    return PLACEHOLDER.sub(value, template)
