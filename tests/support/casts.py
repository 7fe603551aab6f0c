"""Casts of dialogues, built by hand."""

from collections.abc import Callable
from typing import Any

from socratic_distill import SocraticConfig
from socratic_distill.config.objectives import Wanted
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.prompts import load_prompts


def cast_of(make_config: Callable[..., SocraticConfig], **fields: Any) -> Cast:
    """A cast of these fields; the others are a small run's that wants no features."""
    defaults: dict[str, Any] = dict(
        profile="Curious.", max_turns=lambda step: 1, max_context=None, seed=0, of_played=Wanted(),
        of_recorded=Wanted(),
    )  # fmt: skip
    prompts: dict[str, Any] = {"prompts": load_prompts(make_config())}
    return Cast(**(prompts | defaults | fields))
