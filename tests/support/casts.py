"""Casts of dialogues, built by hand."""

from collections.abc import Callable
from typing import Any

from socratic_distill import SocraticConfig
from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.prompts import load_prompts
from socratic_distill.dialogues.students import SimulatedStudent, Students


def cast_of(make_config: Callable[..., SocraticConfig], **fields: Any) -> Cast:
    """A cast of these fields, whose only student has the speaker `student`; the others are a small run's."""
    defaults: dict[str, Any] = dict(
        profile="Curious.", max_turns=lambda step: 1, max_context=None, seed=0, of_played=Wanted(),
        of_recorded=Wanted(),
    )  # fmt: skip
    prompts: dict[str, Any] = {"prompts": load_prompts(make_config())}
    merged = prompts | defaults | fields
    student = SimulatedStudent(merged.pop("student"), merged["prompts"], merged["profile"])
    return Cast(**merged, students=Students.single(student))
