"""Model names as people write them, and as the services know them. Pure."""

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from socratic_distill.errors import ModelNotOffered
from socratic_distill.escaping import get_logger

if TYPE_CHECKING:
    from socratic_distill.config import SocraticConfig

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


def named_models(config: "SocraticConfig") -> dict[str, str]:
    """The model names that a run of the config uses, by the field that each stands in."""
    names = {"tutor_model_name": config.tutor_model_name, "student_model_name": config.student_model_name}
    if not config.teachers or any(one.model_name is None for one in config.teachers):
        names["teacher_model_name"] = config.teacher_model_name
    for number, one in enumerate(config.teachers):
        if one.model_name is not None:
            names[f"teachers[{number}].model_name"] = one.model_name
    if config.judge is not None:
        names["judge.model_name"] = config.judge.model_name
    return names


def with_names(config: "SocraticConfig", name_of: Callable[[str, str], str]) -> "SocraticConfig":
    """The config with other model names; the config itself where none changes.

    Args:
        config: has names as they were given.
        name_of: gives the name for a field and its name, for each of `named_models`.
    """
    names = {field: name_of(field, name) for field, name in named_models(config).items()}
    if names == named_models(config):
        return config
    changes: dict[str, Any] = {field: name for field, name in names.items() if "." not in field}
    changes["teachers"] = tuple(
        one.model_copy(update={"model_name": names.get(f"teachers[{number}].model_name")})
        for number, one in enumerate(config.teachers)
    )
    if config.judge is not None:
        changes["judge"] = config.judge.model_copy(update={"model_name": names["judge.model_name"]})
    return config.model_copy(update=changes)


def with_known_names(config: "SocraticConfig", recorded: Sequence[str] = ()) -> "SocraticConfig":
    """The config with full names, as far as they are known without a service.

    Args:
        config: has names as they were given.
        recorded: full names that the config's run has had so far; a short name that fits one of them means it.
    """

    def name_of(field: str, name: str) -> str:
        # The last part of a local path is no name.
        candidates = [one for one in recorded if one.casefold() == name.casefold() or one.count("/") == 1]
        try:
            return resolve_name(name, candidates, field)
        except ModelNotOffered:
            return full_model_name(name)

    return with_names(config, name_of)


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
