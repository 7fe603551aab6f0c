"""The variables that a chat template is rendered with: reasoning, options of the config, and the date."""

from datetime import date
from typing import Any

import jinja2
from jinja2 import meta

from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.errors import RenderingError

_PARSER = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
# What every chat template is given, or may ask of its surroundings.
_GIVEN = frozenset(
    ("messages", "add_generation_prompt", "tools", "documents", "bos_token", "eos_token", "raise_exception")
)
_DATE = "strftime_now"
# Some templates write today's date. It is fixed, so that a run that goes on another day reads the same contexts.
_TODAY = date(2026, 1, 1)


def template_variables(tokenizer: Any, model_name: str, choice: TemplateChoice) -> dict[str, Any]:
    """The variables of a model's template.

    Args:
        tokenizer: the model's; its template may be a text, or be hidden behind `apply_chat_template`.
        model_name: for error messages, and to look up how its template is asked for reasoning.
        choice: what the config says.

    Raises:
        ConfigError: the template is known not to have this level of reasoning.
        RenderingError: the template would ignore what the config says of reasoning, or an option.
    """
    variables, needed = choice.variables(model_name), choice.needed(model_name)
    source = getattr(tokenizer, "chat_template", None)
    known = _names(source) if isinstance(source, str) else None
    if known is None:
        return variables
    if missing := sorted(needed - known):
        taken = ", ".join(sorted(known - _GIVEN - {_DATE})) or "none"
        raise RenderingError(
            f"the chat template of {model_name!r} does not know {', '.join(missing)}; the variables that it takes are: "
            f"{taken}. Set reasoning and template_options to what it takes, or leave them out"
        )
    return variables | ({_DATE: _TODAY.strftime} if _DATE in known else {})


def _names(source: str) -> frozenset[str] | None:
    """The variables that a template reads; None for a template that this version of jinja cannot parse."""
    try:
        return frozenset(meta.find_undeclared_variables(_PARSER.parse(source)))
    except jinja2.TemplateError:
        return None
