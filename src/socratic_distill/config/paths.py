"""Paths as users give them, and what they meant when the config was built.

A field of a config reads as it was written, `~/runs/a` or `data/seeds.jsonl`. What it led to goes with it, into the
`config.json` of the run too, so that a run can be exported, evaluated and talked to from any working directory.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel

STORED_AS = "resolved_paths"
"""Key of a stored config beside its fields: what its paths meant, by how they were given."""
TINY = "tiny"
"""Name of the packaged model, whatever lies in the working directory."""
_stored: ContextVar[Mapping[str, str] | None] = ContextVar("stored", default=None)


class GivenPath(str):
    """A path as it was given.

    Attributes:
        resolved: the absolute path that it meant when the config was built; a URL stays as it is.
    """

    resolved: str

    def __new__(cls, text: str, resolved: str | None = None) -> "GivenPath":
        """Resolves the path now, unless it was before.

        Args:
            text: as it was given.
            resolved: what it meant before. None: find out.
        """
        path = super().__new__(cls, text)
        path.resolved = _absolute(text) if resolved is None else resolved
        return path


def resolved(path: str | os.PathLike[str]) -> str:
    """The path to open: of a config's field what it meant when the config was built, else with `~` expanded."""
    text = os.fspath(path)
    if isinstance(text, GivenPath):
        return text.resolved
    return text if "://" in text else os.path.expanduser(text)


def given_path(text: str) -> GivenPath:
    """A path of a config that is being built: resolved now, or, where it was read from a file, as stored there."""
    if isinstance(text, GivenPath):
        return text
    known = (_stored.get() or {}).get(text)
    return GivenPath(text, known if known is not None and os.path.lexists(known) else None)


def given_model(name: str) -> str:
    """A model's name of a config that is being built: a path where there is a file or a directory of that name."""
    if name == TINY:
        return TINY
    path = given_path(name)
    return path if "://" not in name and os.path.exists(path.resolved) else str(name)


@contextmanager
def stored_paths(stored: object) -> Iterator[None]:
    """While a config is built from a file: what its paths meant when it was built first.

    Args:
        stored: resolved paths by given ones; anything else counts as none.
    """
    pairs = stored.items() if isinstance(stored, dict) else ()
    known = {given: path for given, path in pairs if isinstance(path, str) and "\0" not in path}
    token = _stored.set(known)
    try:
        yield
    finally:
        _stored.reset(token)


def paths_of(part: Any) -> dict[str, str]:
    """The paths of a config, or of a part of one, by how they were given, as far as they mean something else."""
    if isinstance(part, GivenPath):
        return {} if part.resolved == part else {str(part): part.resolved}
    parts = dict(part).values() if isinstance(part, BaseModel) else part if isinstance(part, tuple | list) else ()
    return {given: path for one in parts for given, path in paths_of(one).items()}


def _absolute(text: str) -> str:
    if "://" in text:
        return text
    path = os.path.expanduser(text)
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
