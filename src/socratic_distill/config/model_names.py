"""Finds the full model name that a short one stands for. Pure."""

import difflib
from collections.abc import Callable, Sequence
from functools import cache

from socratic_distill.config.catalogue import catalogue
from socratic_distill.config.paths import resolved
from socratic_distill.errors import ModelNotOffered
from socratic_distill.text import get_logger

_log = get_logger(__name__)

_NEAREST = 4  # names that an error lists
_SIMILAR = 0.4  # difflib's similarity from which a name counts as near


def full_model_name(name: str) -> str:
    """The full name of a known short name; any other name is returned unchanged."""
    return _noticed(name, _short_names().get(name, name))


def is_same_model(name: str, other: str) -> bool:
    """Whether two names or paths may be the same model: they end alike, whatever the organisation or folder."""
    ends = [resolved(text).replace("\\", "/").rstrip("/").rpartition("/")[2].lower() for text in (name, other)]
    return ends[0] == ends[1]


def resolve_name(name: str, offered: Sequence[str], field: str) -> str:
    """The offered model that a name stands for.

    The first of these that matches decides: the same name; the same but for case; a known short name; for a name
    without an organisation, the same but for case and organisation.

    Args:
        name: as the config has it.
        offered: full names.
        field: config field of the name, for the error.

    Raises:
        ModelNotOffered: no offered model matches, or several do; the nearest are listed.
    """
    for matches in _WAYS:
        models = sorted({model for model in offered if matches(name, model)})
        if len(models) == 1:
            return _noticed(name, models[0])
        if models:
            raise ModelNotOffered(
                f"{field}={name!r} may be any of {', '.join(map(repr, models))}, which the service offers; "
                "write one of them in full",
                name,
            )
    raise ModelNotOffered(
        f"{field}={name!r} is none of the {len(offered)} models that the service offers; "
        f"{_retirement(name, offered)}{nearest(name, offered)}",
        name,
    )


def nearest(name: str, offered: Sequence[str]) -> str:
    """The end of an error message: the offered names that are most similar to this one."""
    by_base = {_base(model): model for model in offered}
    close = difflib.get_close_matches(_base(name), by_base, n=_NEAREST, cutoff=_SIMILAR)
    named = [by_base[base] for base in close] or sorted(offered)[:_NEAREST]
    return f"the nearest are {', '.join(map(repr, named))}; name one of the service's, or take another base_url"


@cache
def _short_names() -> dict[str, str]:
    """Full names by the short names of known models, and by the slips of guides."""
    known = catalogue()
    return {model.short_name: name for name, model in known.models.items()} | dict(known.slips)


@cache
def _folded_names() -> dict[str, str]:
    return {short.casefold(): full for short, full in _short_names().items()}


def _retirement(name: str, offered: Sequence[str]) -> str:
    """What became of a known model that is not offered any more; empty for any other name."""
    model = catalogue().find(_folded_names().get(name.casefold().rpartition("/")[2], name))
    if model is None or model.retired is None:
        return ""
    is_there = "" if model.successor in offered else ", which is not offered here"
    return f"Tinker retired it ({model.retired}), its successor is {model.successor!r}{is_there}; "


def _noticed(name: str, full: str) -> str:
    if _base(full) != _base(name):
        _log.warning("there is no model %s; taking %s", name, full)
    return full


def _base(name: str) -> str:
    """A name in lower case without its organisation; a variant, the last of three parts, stays."""
    parts = name.casefold().split("/")
    return "/".join(parts[1:]) if len(parts) == 3 and parts[0] else parts[-1]


_WAYS: tuple[Callable[[str, str], bool], ...] = (
    lambda name, offered: offered == name,
    lambda name, offered: offered.casefold() == name.casefold(),
    lambda name, offered: offered == _folded_names().get(name.casefold()),
    lambda name, offered: "/" not in name and _base(offered) == _base(name),
)
