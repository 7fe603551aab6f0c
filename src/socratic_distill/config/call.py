"""A config as the call that builds it, to show in a message. Pure."""

from typing import Any

from socratic_distill.config.config import SocraticConfig


def as_call(config: SocraticConfig) -> str:
    """The call of `build_socratic_config` that gives an equal config: required fields, and those that are not defaults.

    Args:
        config: none of its fields holds a secret; a user and password of `base_url` are dropped when it is built.
    """
    lines = [f"    {name}={_written(getattr(config, name))}," for name in _named(config)]
    return "\n".join(["build_socratic_config(", *lines, ")"])


def _named(config: SocraticConfig) -> list[str]:
    fields = type(config).model_fields
    required = [name for name, field in fields.items() if field.is_required()]
    changed = [name for name, field in fields.items() if getattr(config, name) != field.get_default()]
    return list(dict.fromkeys([*required, *changed]))


def _written(value: Any) -> str:
    """A value as Python, its parts as plain dicts, so that the call needs no other import."""
    if hasattr(value, "model_dump"):
        return repr(value.model_dump(exclude_unset=True) | _kind(value))
    if isinstance(value, str):
        return repr(str(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_written(entry)}' for key, entry in value.items())}}}"
    return repr(value)


def _kind(value: Any) -> dict[str, str]:
    return {"kind": value.kind} if hasattr(value, "kind") else {}
