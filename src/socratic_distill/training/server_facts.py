"""What a run has found out about its server, kept in `features.json` by the server's URL and version."""

import json
from collections.abc import Mapping
from pathlib import Path

from socratic_distill.errors import StorageError
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import read_object

REMEMBERED = "features.json"
VERSION = "version"
Facts = dict[str, bool | str]  # by name


def recall(directory: Path, url: str, version: str | None = None) -> Facts:
    """What the file remembers of a server; nothing if it is damaged, since asking again is cheap.

    Args:
        directory: the run's.
        url: the server.
        version: what it calls itself; what was found out about another version does not count. None: any.
    """
    try:
        servers = read_object(directory / REMEMBERED, StorageError, "it holds what servers can do") or {}
    except StorageError:
        return {}
    known = servers.get(url)
    items = known.items() if isinstance(known, dict) else ()
    facts = {name: fact for name, fact in items if isinstance(fact, bool | str)}
    return {} if version is not None and facts.get(VERSION, version) != version else facts


def remember(directory: Path, url: str, facts: Mapping[str, bool | str]) -> None:
    """Adds facts about a server; makes the directory if it does not exist.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{directory} cannot be made: {error.strerror or error}. Take another log_path") from error
    try:
        servers = read_object(directory / REMEMBERED, StorageError, "it holds what servers can do") or {}
    except StorageError:
        servers = {}
    version = facts.get(VERSION)
    servers[url] = recall(directory, url, version if isinstance(version, str) else None) | dict(facts)
    write_atomically(directory / REMEMBERED, json.dumps(servers, indent=2, sort_keys=True) + "\n")
