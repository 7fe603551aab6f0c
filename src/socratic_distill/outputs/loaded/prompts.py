"""The system prompts that the sides of a stored dialogue had, those that the run's config lets be read."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.dialogues.prompts import Prompts, load_prompts
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.errors import SocraticError


class PromptReader:
    """Fills the run's prompts for one dialogue after another. A prompt file that changed since shows its new text."""

    def __init__(self, config: Callable[[], SocraticConfig]) -> None:
        """Reads nothing yet.

        Args:
            config: gives the run's config; may raise `SocraticError`.
        """
        self._config = config

    @cached_property
    def _prompts(self) -> Prompts | None:
        try:
            return load_prompts(self._config())
        except SocraticError:  # no config, or prompts in files that it may not name
            return None

    def of(self, row: Mapping[str, Any]) -> dict[str, str]:
        """The prompts of a dialogue by title; those that cannot be read, or that need private fields, are left out.

        Args:
            row: a row of `dialogues.jsonl`.
        """
        if (prompts := self._prompts) is None:
            return {}
        keys = ("seed", "question", "expected_answer", "initial_error", "student_profile")
        # Strangers' rows may hold anything; prompts are filled with texts.
        seed = Seed(*(None if row.get(key) is None else str(row[key]) for key in keys))  # pyright: ignore[reportArgumentType]
        profile, teachers = self._config().student_profile, row.get("teachers")
        views: dict[str, Callable[[], str]] = {
            "the tutor's prompt": lambda: prompts.for_tutor(seed),
            "the student's prompt": lambda: prompts.for_student(seed, profile),
        }
        for name in map(str, teachers if isinstance(teachers, list) else ()):
            if name in prompts.teachers:
                title = f"the prompt of the teacher {name!r}"
                views[title] = lambda name=name: prompts.for_teacher(seed, profile, name)
        return {title: text for title, view in views.items() if (text := _text(view)) is not None}


def _text(view: Callable[[], str]) -> str | None:
    try:
        return view()
    except SocraticError:
        return None
