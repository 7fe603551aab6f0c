"""How a config and its parts look in a console and in a notebook: what was changed first, without secrets."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from socratic_distill.text import redacted
from socratic_distill.text.html import escaped, folded, soft, table, titled, without_secrets


def changed(model: BaseModel) -> Iterator[tuple[str, Any]]:
    """The fields that have no default, or another value than it, in order.

    Args:
        model: a config, or a part of one.
    """
    for name, field in type(model).model_fields.items():
        if name not in vars(model):  # a config that is refused is shown half built, by debuggers
            continue
        value, default = getattr(model, name), field.get_default(call_default_factory=True)
        # Pydantic takes 1 for 1.0 and True for 1: so the types count too.
        if default is PydanticUndefined or type(value) is not type(default) or value != default:
            yield name, value


def text_of(value: object) -> str:
    """A value as Python writes it, without secrets."""
    return redacted(repr(value))


def config_html(config: BaseModel) -> str:
    """A table of the fields that were changed, and below it, folded, the others with their defaults.

    Args:
        config: the config.
    """
    own = dict(changed(config))
    fields = type(config).model_fields
    descriptions = {name: escaped(field.description or "") for name, field in fields.items()}
    rows = {name: [escaped(name), _value(getattr(config, name)), soft(descriptions[name])] for name in fields}
    rest = [row for name, row in rows.items() if name not in own]
    return titled(
        escaped(type(config).__name__),
        table(rows[name] for name in own),
        folded(f"{len(rest)} fields with their defaults", table(rest)) if rest else "",
    )


def _value(value: object) -> str:
    return f'<code style="overflow-wrap:anywhere">{without_secrets(repr(value))}</code>'


class Shortened:
    """A `repr` and `str` that show a config's changed fields only. A base class for pydantic models."""

    def __repr_args__(self) -> list[tuple[str, Any]]:
        """The arguments of the repr, as pydantic asks for them."""
        assert isinstance(self, BaseModel), "a base class for pydantic models"
        return [(name, _Plain(text_of(value))) for name, value in changed(self)]


class _Plain(str):
    """A text whose repr is itself."""

    def __repr__(self) -> str:
        return str(self)
