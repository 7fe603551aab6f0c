"""Paths as users give them, with the absolute paths that they meant when the config was built.

A config field keeps the path as it was written, such as `~/runs/a` or `data/seeds.jsonl`. The absolute path is kept
with it, also in the run's `config.json`. So a run can be exported, evaluated and talked to from any working directory.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel

STORED_AS = "resolved_paths"
"""Extra key of a stored config: its absolute paths, by the path as given."""
TINY = "tiny"
"""Name of the packaged model, even if the working directory has an entry of that name."""
HUB = "hub:"
"""What the name of a data set on the hub begins with; `./hub:…` is a file of such a name."""
_stored: ContextVar[Mapping[str, str] | None] = ContextVar("stored", default=None)


class GivenPath(str):
    """A path as it was given.

    Attributes:
        resolved: the absolute path that it meant when the config was built; a URL is unchanged.
    """

    resolved: str

    def __new__(cls, text: str, resolved: str | None = None) -> "GivenPath":
        """Resolves the path now, unless `resolved` is given.

        Args:
            text: the path as it was given.
            resolved: the absolute path, if it is known. None: resolve it now.
        """
        path = super().__new__(cls, text)
        path.resolved = _absolute(text) if resolved is None else resolved
        return path


class PlacedText(str):
    """A text of a config document or of the command line. If it is a path, it is relative to a directory of its own.

    Attributes:
        path: what it means as a path.
    """

    path: GivenPath

    def __new__(cls, text: str, base: str, *, in_full: bool = False) -> "PlacedText":
        """Keeps the path.

        Args:
            text: the text as it was given.
            base: absolute directory that it is relative to.
            in_full: whether the path is kept as an absolute one, since the same text means another path elsewhere.
        """
        placed = super().__new__(cls, text)
        absolute = text if is_no_path(text) else os.path.join(base, os.path.expanduser(text))
        placed.path = GivenPath(absolute if in_full else text, absolute)
        return placed


def resolved(path: str | os.PathLike[str]) -> str:
    """The path to open: the stored absolute path of a config's field; for any other path, `~` is expanded."""
    text = os.fspath(path)
    if isinstance(text, GivenPath):
        return text.resolved
    return text if is_no_path(text) else os.path.expanduser(text)


def is_no_path(text: str) -> bool:
    """Whether a text is a URL, or names a data set on the hub."""
    return "://" in text or text.startswith(HUB)


def given_path(text: str) -> GivenPath:
    """A path of a config that is being built: resolved now, or as stored if the config is read from a file."""
    if isinstance(text, GivenPath):
        return text
    if isinstance(text, PlacedText):
        return text.path
    known = (_stored.get() or {}).get(text)
    # A stored path that is gone, as after a move of the run directory, is resolved anew.
    return GivenPath(text, known if known is not None and os.path.lexists(known) else None)


def given_model(name: str) -> str:
    """A model's name in a config that is being built: a path if a file or directory of that name exists."""
    if name == TINY:
        return TINY
    path = given_path(name)
    return path if "://" not in name and os.path.exists(path.resolved) else str(name)


@contextmanager
def stored_paths(stored: object) -> Iterator[None]:
    """Makes stored absolute paths available while a config is built from a file.

    Args:
        stored: absolute paths by the paths as given; anything but a dict is ignored.
    """
    pairs = stored.items() if isinstance(stored, dict) else ()
    known = {given: path for given, path in pairs if isinstance(path, str) and "\0" not in path}
    token = _stored.set(known)
    try:
        yield
    finally:
        _stored.reset(token)


def paths_of(part: Any) -> dict[str, str]:
    """The absolute paths in a config or a part of it, by the path as given; without those that are equal."""
    if isinstance(part, GivenPath):
        return {} if part.resolved == part else {str(part): part.resolved}
    parts = dict(part).values() if isinstance(part, BaseModel) else part if isinstance(part, tuple | list) else ()
    return {given: path for child in parts for given, path in paths_of(child).items()}


def _absolute(text: str) -> str:
    if is_no_path(text):
        return text
    path = os.path.expanduser(text)
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
