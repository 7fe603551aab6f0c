"""What is known of servers beforehand, and what a run found out of its own by asking, in the run's `features.json`."""

import json
from collections.abc import Mapping
from pathlib import Path

from socratic_distill.errors import StorageError
from socratic_distill.files import write_atomically
from socratic_distill.rows import read_object

REMEMBERED = "features.json"
# By base_url, those that lack nothing: Tinker's hosted service, and the engine in this process.
COMPLETE = (None, "local")
Facts = dict[str, dict[str, bool]]  # by base_url and name


def recall(directory: Path) -> Facts:
    """What is remembered; nothing where the file is damaged, since asking again is cheap."""
    try:
        found = read_object(directory / REMEMBERED, StorageError, "it holds what servers can do") or {}
    except StorageError:
        return {}
    return {
        url: {name: value for name, value in known.items() if isinstance(value, bool)}
        for url, known in found.items()
        if isinstance(known, dict)
    }


def remember(directory: Path, url: str, found: Mapping[str, bool]) -> None:
    """Adds what was found of a server; makes the directory where it does not exist.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{directory} cannot be made: {error.strerror or error}. Take another log_path") from error
    facts = recall(directory)
    facts[url] = facts.get(url, {}) | dict(found)
    write_atomically(directory / REMEMBERED, json.dumps(facts, indent=2, sort_keys=True) + "\n")
