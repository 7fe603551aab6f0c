"""The servers that a user has named on the command line, remembered for that user and not in any run directory."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from socratic_distill.errors import StorageError
from socratic_distill.files.durable import write_atomically
from socratic_distill.text import get_logger

_log = get_logger(__name__)
# Stricter than URLs are: on anything else, two libraries may disagree about which host is meant.
_NETLOC = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?", re.ASCII)
_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> str | None:
    r"""Scheme, host and port of a server's URL, such as `http://gpu-box:8000`; None where they are not clear.

    >>> origin("HTTP://Box/api"), origin("https://[::1]:8000/"), origin("http://a\\@b")
    ('http://box:80', 'https://[::1]:8000', None)
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    match = _NETLOC.fullmatch(parts.netloc)
    if match is None or parts.scheme not in _PORTS or url != url.strip():
        return None
    return f"{parts.scheme}://{match['host'].lower()}:{int(match['port'] or _PORTS[parts.scheme])}"


def servers_file() -> Path:
    """Where named servers are remembered: `$XDG_CONFIG_HOME/socratic-distill/servers.json`, else below `~/.config`."""
    given = Path(os.environ.get("XDG_CONFIG_HOME") or "")
    config = given if given.is_absolute() else Path.home() / ".config"  # as the XDG specification has it
    return config / "socratic-distill" / "servers.json"


def known_servers() -> frozenset[str]:
    """Origins of the servers that the user has named; none where the file is missing or damaged."""
    try:
        stored = json.loads(servers_file().read_bytes())
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, RuntimeError, RecursionError) as error:  # RuntimeError: a user without a home
        _log.warning("the servers that were named before are not known: %s", error)
        return frozenset()
    return frozenset(one for one in stored if isinstance(one, str)) if isinstance(stored, list) else frozenset()


def remember_server(url: str) -> None:
    """Remembers a server that the user named; where that fails, it is named again the next time.

    Args:
        url: of the server.
    """
    named, known = origin(url), known_servers()
    if named is None or named in known:
        return
    with suppress(RuntimeError):
        file = servers_file()
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(file, json.dumps(sorted({*known, named}), indent=2) + "\n")
        except (OSError, StorageError) as error:
            _log.warning("the server %s is not remembered: %s", named, error)
