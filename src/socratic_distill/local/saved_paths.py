"""The local engine's saved weights, by path, in run directories that were moved or copied."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socratic_distill.errors import DamagedWeights
from socratic_distill.files.rows import number, read_object, step_of, whole

STORE = "local"
"""The local engine's folder in a run directory."""
FACTS = "state.json"
_END_OF_TIME = 253_402_300_799  # the year 9999, seconds since the epoch
_PARTS = 3  # server run, kind, name


def own_weights(root: Path, path: str) -> Path | None:
    """The directory of saved weights in a store that a path means; None where it means none of this store.

    A journal names the weights where they were saved. In a store that was moved or copied they are those of the same
    server run, kind and name, unless the ones at the path are there, too, and are other ones.

    Args:
        root: the store.
        path: as a journal names it.
    """
    given, root = Path(path), root.resolve()
    parts = given.parts[-_PARTS:]
    if "://" in path or len(given.parts) < _PARTS or ".." in parts:
        return None
    if _is_within(given, root):
        return given
    twin = root.joinpath(*parts)
    if _is_within(twin, root) and (not holds_weights(given) or _is_same_save(given, twin)):
        return twin
    return None


def where_it_lies(directory: Path, path: str) -> str:
    """A path that a run's journal names, as it is now: in the run directory, if it means weights there."""
    own = own_weights(directory / STORE, path)
    return path if own is None else str(own)


def holds_weights(directory: Path) -> bool:
    """Whether a directory holds saved weights, whatever state they are in."""
    return all(os.path.isfile(directory / name) for name in (FACTS, "adapter_config.json"))


def read_facts(directory: Path) -> dict[str, Any]:
    """What is known of saved weights: base_model, rank, …, created_at, expires_at, user_metadata.

    Raises:
        DamagedWeights: `state.json` is not there, cannot be read, or says something else.
    """
    facts = read_object(directory / FACTS, DamagedWeights, "load another state")
    if facts is None:
        raise DamagedWeights(f"the weights in {directory} lack {FACTS}; load another state")
    if strange := [key for key, is_fit in _FITTING.items() if not is_fit(facts.get(key))]:
        raise DamagedWeights(f"{directory / FACTS} has no valid {', '.join(strange)}; load another state")
    return facts


def _is_within(directory: Path, root: Path) -> bool:
    """Whether a directory of weights lies in a store, links followed."""
    return holds_weights(directory) and directory.resolve().is_relative_to(root)


def _is_same_save(one: Path, other: Path) -> bool:
    """Whether two directories hold one save, the second as a copy: an expiry may have been set since."""
    try:
        first, second = read_facts(one), read_facts(other)
    except DamagedWeights:
        return False
    return first | {"expires_at": None} == second | {"expires_at": None}


def _is_time(value: object) -> bool:
    return (found := number(value)) is not None and 0 <= found < _END_OF_TIME


_FITTING: dict[str, Callable[[object], bool]] = {
    "base_model": lambda value: isinstance(value, str),
    "rank": lambda value: (whole(value) or 0) > 0,
    "train_mlp": lambda value: isinstance(value, bool),
    "train_attn": lambda value: isinstance(value, bool),
    "train_unembed": lambda value: isinstance(value, bool),
    "steps": lambda value: step_of({"step": value}) is not None,
    "created_at": _is_time,
    "expires_at": lambda value: value is None or _is_time(value),
    "user_metadata": lambda value: (
        value is None or (isinstance(value, dict) and all(isinstance(text, str) for text in value.values()))
    ),
}
