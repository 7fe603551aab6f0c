"""The variables that a chat template is rendered with: reasoning, options of the config, and the date."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta

from socratic_distill.config.paths import resolved
from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.errors import ConfigError, RenderingError

_PARSER = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
# What every chat template is given, or may ask of its surroundings.
_GIVEN = frozenset(
    ("messages", "add_generation_prompt", "tools", "documents", "bos_token", "eos_token", "raise_exception")
)
_DATE = "strftime_now"
# Some templates write today's date. It is fixed, so that a run that goes on another day reads the same contexts.
_TODAY = date(2026, 1, 1)
_DATE_CODES = ("%a", "%A", "%b", "%B", "%d", "%H", "%I", "%j", "%m", "%M", "%p", "%S", "%x", "%X", "%y", "%Y", "%c")


def template_variables(tokenizer: Any, model_name: str, choice: TemplateChoice) -> dict[str, Any]:
    """The arguments that a model's template is rendered with, besides the messages.

    They are variables of the template. For one that writes today's date they hold the template too, as
    `chat_template`, with a fixed date.

    Args:
        tokenizer: the model's; its template may be a text, or be used by `apply_chat_template` alone.
        model_name: for error messages, and to look up how its template is asked for reasoning.
        choice: what the config says.

    Raises:
        ConfigError: the template is known not to have this level of reasoning, or its file cannot be read.
        RenderingError: the template would ignore what the config says of reasoning, or an option.
    """
    variables, needed = choice.variables(model_name), choice.needed(model_name)
    source = chat_template(tokenizer, choice)
    known = _names(source) if isinstance(source, str) else None
    if not isinstance(source, str) or known is None:
        return variables
    if missing := sorted(needed - known):
        taken = ", ".join(sorted(known - _GIVEN - {_DATE})) or "none"
        raise RenderingError(
            f"the chat template of {model_name!r} does not know {', '.join(missing)}; the variables that it takes are: "
            f"{taken}. Set reasoning and template_options to what it takes, or leave them out"
        )
    if _DATE in known:
        return variables | {"chat_template": _on_a_fixed_day(source)}
    return variables | ({} if choice.file is None else {"chat_template": source})


def chat_template(tokenizer: Any, choice: TemplateChoice) -> Any:
    """The template that a model is rendered with: the file's, else the tokenizer's, which may be a text or hidden.

    Raises:
        ConfigError: the file cannot be read, or is no template.
    """
    if choice.file is None:
        return getattr(tokenizer, "chat_template", None)
    source = read_template(choice.file)
    try:
        _PARSER.parse(source)
    except jinja2.TemplateError as error:
        raise ConfigError(f"the chat template {choice.file!r} is no template in jinja: {error}") from error
    return source


def read_template(path: str) -> str:
    """The text of a file with a chat template.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Path(resolved(path)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the chat template {path!r} cannot be read: {error}") from error


def _on_a_fixed_day(source: str) -> str:
    """A template whose `strftime_now` gives the fixed date.

    It is a macro in the template, since transformers turns a function among the variables into a text.
    """
    values = {"%-d": str(_TODAY.day), "%-m": str(_TODAY.month), "%e": f"{_TODAY.day:2}"}
    values |= {code: _TODAY.strftime(code) for code in _DATE_CODES}
    filters = "".join(f" | replace({json.dumps(code)}, {json.dumps(value)})" for code, value in values.items())
    # transformers removes the newline after a block, so that the source still begins at the start of a line.
    return f"{{% macro {_DATE}(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}\n{source}"


def _names(source: str) -> frozenset[str] | None:
    """The variables that a template reads; None for a template that this version of jinja cannot parse."""
    try:
        return frozenset(meta.find_undeclared_variables(_PARSER.parse(source)))
    except jinja2.TemplateError:
        return None
