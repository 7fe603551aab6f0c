"""Tables that follow from the code, put in the place of `<!-- table: name -->` when the site is built."""

import argparse
import inspect
import re
import types
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from socratic_distill import cli, errors
from socratic_distill.config import dialogue_settings, objectives, parts, rewards, students, token_weights, values
from socratic_distill.config.sections import SECTIONS
from socratic_distill.evaluation import MEASURES
from socratic_distill.run.drift import MAY_CHANGE

# A mark, and the line below it for those who read the page's source.
_MARK = re.compile(r"^<!-- table: ([a-z ]+) -->(?:\n\*[^\n]+\*)?$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replaces the marks of a page; a name that no table has ends the build with a KeyError."""
    return _MARK.sub(lambda found: _TABLES[found[1]](), markdown)


def _config() -> str:
    """The fields of a config, a table for each section; a field's name is also its anchor."""
    return "\n".join(
        f"## {section.__name__}\n\n{inspect.getdoc(section)}\n\n{_fields(section, MAY_CHANGE, anchored=True)}"
        for section in SECTIONS
    )


def _parts() -> str:
    """Every part of a config: its kinds, then a table of its fields."""
    classes = [
        value
        for module in (values, dialogue_settings, students, objectives, token_weights, parts, rewards)
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    ]
    return "\n".join(
        f"### {part.__name__}\n\n{inspect.getdoc(part)}\n\n{_fields(part)}"
        for part in classes
        if issubclass(part, values.Setting) and not part.__name__.startswith("_") and not _is_base(part)
    )


def _is_base(part: type[BaseModel]) -> bool:
    """Whether a part only collects what several kinds share."""
    kind = part.model_fields.get("kind")
    return not part.model_fields or (kind is not None and kind.annotation is Any)


def _fields(model: type[BaseModel], may_change: Sequence[str] = (), anchored: bool = False) -> str:
    """A table of fields, which narrow screens show as a list (`fields` in extra.css)."""
    rows = ["| field | type | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        mark = " ↻" if name in may_change else ""
        shown = f"[`{name}`](#{name}){{ #{name} }}" if anchored else f"`{name}`"
        rows.append(f"| {shown}{mark} | {_code(_type(field))} | {_default(field)} | {_text(field.description or '')} |")
    table = "\n".join(rows)
    return f'<div class="fields" markdown>\n\n{table}\n\n</div>\n'


def _type(field: FieldInfo) -> str:
    return _spell(field.annotation) + "".join(_bounds(field.metadata))


def _spell(kind: Any) -> str:
    """A type as one would write it, without the checks on it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _spell(parts[0]) + "".join(_bounds(getattr(parts[1], "metadata", ())))
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_spell(part) for part in parts))
    if origin is Literal:
        return " | ".join(f'"{part}"' for part in parts)
    if parts:
        return f"{origin.__name__}[{', '.join('…' if part is Ellipsis else _spell(part) for part in parts)}]"
    return "None" if kind is types.NoneType else kind.__name__


def _bounds(metadata: Any) -> Iterator[str]:
    for one in metadata:
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            if (limit := getattr(one, name, None)) is not None:
                short = f"{limit:g}"
                yield f" {sign} {short if float(short) == limit else limit}"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    value = field.default
    return _code(f"{type(value).__name__}()" if isinstance(value, BaseModel) else repr(value))


def _code(text: str) -> str:
    return f"`{text}`"


def _text(text: str) -> str:
    """A description as Markdown: fields and markup in it are meant as they are written."""
    return re.sub(r"([|<>*_])", r"\\\1", text)


def _errors() -> str:
    """The tree as it stands at the top of errors.py, then each error."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n", 1)[1]
    classes = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    what_to_do = "[What it means, and what to do](../troubleshooting.md#{})."
    return f"```text\n{tree}\n```\n\n" + "\n".join(
        f"::: socratic_distill.errors.{name}\n\n{what_to_do.format(name.lower())}\n" for name in classes
    )


def _commands() -> str:
    """Every command of the command line, as argparse describes it."""
    parser = cli._parser()
    (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    helps = {choice.dest: choice.help for choice in commands._choices_actions}
    return "\n".join(_command(name, helps[name], one) for name, one in commands.choices.items())


def _command(name: str, about: str | None, parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = partial(argparse.HelpFormatter, width=100)
    usage = parser.format_usage().removeprefix("usage: ").replace("socratic-distill", "python -m socratic_distill", 1)
    sentence = f"{about[:1].upper()}{about[1:]}" if about else ""
    rows = [f"## {name}\n\n{sentence}.\n\n```text\n{usage.strip()}\n```\n", "| argument | |", "|---|---|"]
    for action in parser._actions[1:]:  # the first is --help
        label = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        rows.append(f"| `{label}` | {_text(action.help or '')} |")
    return "\n".join(rows) + "\n"


def _measures() -> str:
    rows = ["| key | means | unit | source |", "|---|---|---|---|"]
    for one in MEASURES.values():
        rows.append(f"| `{one.name}` | {_text(one.description)} | {_text(one.unit)} | {_text(one.source)} |")
    return "\n".join(rows) + "\n"


_TABLES: dict[str, Callable[[], str]] = {
    "config fields": _config,
    "config parts": _parts,
    "errors": _errors,
    "commands": _commands,
    "measures": _measures,
}
