"""Pages: template, style and scripts in one file that asks the network for nothing."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from socratic_distill.outputs.report.embedding import to_json
from socratic_distill.text import shown

if TYPE_CHECKING:
    from jinja2 import Template

_REPORT = (
    "page.js", "charts.js", "phases.js", "tokens.js", "dialogues.js", "pairs.js", "lead.js", "start.js",
)  # fmt: skip


def render(
    view: Mapping[str, Any],
    data: Mapping[str, Any],
    template: str = "page.html",
    scripts: Sequence[str] = _REPORT,
) -> bytes:
    """The page.

    Args:
        view: what the template shows: titles, tables, notes.
        data: what the scripts draw: curves and dialogues.
        template: name of the page's template.
        scripts: names of its scripts, in order.
    """
    from markupsafe import Markup

    style, script = _asset("page.css"), "\n".join(map(_asset, scripts))
    text = _template(template).render(
        **view,
        style=Markup(style),
        script=Markup(f'"use strict";\n{script}'),
        style_hash=_hash(style),
        script_hash=_hash(f'"use strict";\n{script}'),
        data=Markup(to_json(data).decode()),
    )
    return text.encode()


@cache
def _template(name: str) -> "Template":
    """Compiled once a process: it takes longer than to fill it in, and a run writes its report again and again."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    return environment.from_string(_asset(name))


@cache
def _asset(name: str) -> str:
    return (files("socratic_distill.outputs.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names an inline element that it lets through."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _printable(value: object) -> object:
    return shown(value) if type(value) is str else value
