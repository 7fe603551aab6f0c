"""Model names as people write them, and as the services know them. Pure."""

import difflib
from collections.abc import Callable, Sequence

from socratic_distill.errors import ModelNotOffered
from socratic_distill.text import get_logger

_log = get_logger(__name__)

# Short names whose organisation is beyond doubt. The guide's last one is a slip of the pen.
_SHORT_NAMES = {
    "Qwen3-4B-Instruct-2507": "Qwen/Qwen3-4B-Instruct-2507",
    "Qwen3-8B": "Qwen/Qwen3-8B",
    "Qwen3-8B-Base": "Qwen/Qwen3-8B-Base",
    "Qwen3-30B-A3B-Instruct-2507": "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "Qwen3-32B": "Qwen/Qwen3-32B",
    "Qwen3-235B-A22B-Instruct-2507": "Qwen/Qwen3-235B-A22B-Instruct-2507",
    "Kimi-K2-Thinking": "moonshotai/Kimi-K2-Thinking",
    "Qwen3-35B-A22B-Instruct": "Qwen/Qwen3-235B-A22B-Instruct-2507",
}
_KNOWN = {short.casefold(): full for short, full in _SHORT_NAMES.items()}
_NEAREST = 4  # names that an error lists
_SIMILAR = 0.4  # what counts as near, as difflib measures it


def full_model_name(name: str) -> str:
    """The name that a service knows a model by; a name that is not a known short one stays as it is."""
    return _noticed(name, _SHORT_NAMES.get(name, name))


def resolve_name(name: str, offered: Sequence[str], field: str) -> str:
    """The offered model that a name means.

    A name that is offered as it is written wins, then one that is equal but for case, then a known short name, and
    then, for a name without an organisation, one that is equal but for case and organisation.

    Args:
        name: as the config has it.
        offered: full names.
        field: where the name stands, for the error.

    Raises:
        ModelNotOffered: no offered model has the name, or several; the nearest are listed.
    """
    for same in _WAYS:
        found = sorted({one for one in offered if same(name, one)})
        if len(found) == 1:
            return _noticed(name, found[0])
        if found:
            raise ModelNotOffered(
                f"{field}={name!r} may be any of {', '.join(map(repr, found))}, which the service offers; "
                "write one of them in full",
                name,
            )
    raise ModelNotOffered(
        f"{field}={name!r} is none of the {len(offered)} models that the service offers; {nearest(name, offered)}",
        name,
    )


def nearest(name: str, offered: Sequence[str]) -> str:
    """What to take instead, as the end of a sentence: offered names that look like this one."""
    by_base = {_base(one): one for one in offered}
    close = difflib.get_close_matches(_base(name), by_base, n=_NEAREST, cutoff=_SIMILAR)
    named = [by_base[one] for one in close] or sorted(offered)[:_NEAREST]
    return f"the nearest are {', '.join(map(repr, named))}; name one of the service's, or take another base_url"


def _noticed(name: str, full: str) -> str:
    if _base(full) != _base(name):
        _log.warning("there is no model %s; taking %s", name, full)
    return full


def _base(name: str) -> str:
    """A name without organisation and case; a variant, the last of three parts, stays."""
    parts = name.casefold().split("/")
    return "/".join(parts[1:]) if len(parts) == 3 and parts[0] else parts[-1]


_WAYS: tuple[Callable[[str, str], bool], ...] = (
    lambda name, offered: offered == name,
    lambda name, offered: offered.casefold() == name.casefold(),
    lambda name, offered: offered == _KNOWN.get(name.casefold()),
    lambda name, offered: "/" not in name and _base(offered) == _base(name),
)
