"""Finds the local engine's saved weights by path, also in run directories that were moved or copied."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socratic_distill.errors import DamagedWeights
from socratic_distill.files.rows import number, read_object, step_of, whole

STORE = "local"
"""The local engine's folder in a run directory."""
FACTS = "state.json"
_ADAPTER = "adapter_config.json"
_END_OF_TIME = 253_402_300_799  # the year 9999, seconds since the epoch
_PARTS = 3  # server run, kind, name


def own_weights(root: Path, path: str) -> Path | None:
    """The directory in a store of the saved weights at a path; None if the path does not belong to this store.

    A journal holds the path at which weights were saved. In a moved or copied store they are those of the same server
    run, kind and name, unless different weights still exist at the path.

    Args:
        root: the store.
        path: from a journal.
    """
    given, root = Path(path), root.resolve()
    parts = given.parts[-_PARTS:]
    if "://" in path or len(given.parts) < _PARTS or ".." in parts:
        return None
    if _is_within(given, root):
        return given
    # The store may have moved: the last three parts of the path stay the same.
    twin = root.joinpath(*parts)
    others = holds_weights(given) or is_foreign(given)
    if _is_within(twin, root) and (not others or _is_same_save(given, twin)):
        return twin
    return None


def present_path(directory: Path, path: str) -> str:
    """The present path of weights in a run's journal: in the run directory if they belong to it, else unchanged."""
    own = own_weights(directory / STORE, path)
    return path if own is None else str(own)


def holds_weights(directory: Path) -> bool:
    """Whether a directory holds saved weights, damaged or not."""
    return all(os.path.isfile(directory / name) for name in (FACTS, _ADAPTER))


def is_foreign(directory: Path) -> bool:
    """Whether a directory holds an adapter that the local engine did not save."""
    return os.path.isfile(directory / _ADAPTER) and not os.path.lexists(directory / FACTS)


def read_facts(directory: Path) -> dict[str, Any]:
    """The contents of `state.json`: base_model, rank, …, created_at, expires_at, user_metadata.

    Raises:
        DamagedWeights: `state.json` is missing, cannot be read, or has an invalid field.
    """
    facts = read_object(directory / FACTS, DamagedWeights, "load another state")
    if facts is None:
        raise DamagedWeights(f"the weights in {directory} lack {FACTS}; load another state")
    if invalid := [key for key, is_valid in _VALID.items() if not is_valid(facts.get(key))]:
        raise DamagedWeights(f"{directory / FACTS} has no valid {', '.join(invalid)}; load another state")
    return facts


def _is_within(directory: Path, root: Path) -> bool:
    """Whether a directory holds weights and lies in a store after links are resolved."""
    return holds_weights(directory) and directory.resolve().is_relative_to(root)


def _is_same_save(original: Path, copy: Path) -> bool:
    """Whether two directories hold the same save; their expiry may differ, since it can be set later."""
    try:
        first, second = read_facts(original), read_facts(copy)
    except DamagedWeights:
        return False
    return first | {"expires_at": None} == second | {"expires_at": None}


def _is_time(value: object) -> bool:
    return (seconds := number(value)) is not None and 0 <= seconds < _END_OF_TIME


_VALID: dict[str, Callable[[object], bool]] = {
    "base_model": lambda value: isinstance(value, str),
    "rank": lambda value: (whole(value) or 0) > 0,
    "train_mlp": lambda value: isinstance(value, bool),
    "train_attn": lambda value: isinstance(value, bool),
    "train_unembed": lambda value: isinstance(value, bool),
    "steps": lambda value: step_of({"step": value}) is not None,
    "computed": lambda value: value is None or isinstance(value, dict),
    "created_at": _is_time,
    "expires_at": lambda value: value is None or _is_time(value),
    "user_metadata": lambda value: (
        value is None or (isinstance(value, dict) and all(isinstance(text, str) for text in value.values()))
    ),
}
