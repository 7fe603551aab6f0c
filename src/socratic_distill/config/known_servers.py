"""Remembers the servers that a user named on the command line, in the user's settings and not in a run directory."""

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
# Stricter than the URL standard: on anything else, two libraries may disagree about which host a URL names.
_NETLOC = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?", re.ASCII)
_PORTS = {"http": 80, "https": 443}
_API = "/api/v1"


def origin(url: str) -> str | None:
    r"""Scheme, host and port of a server's URL, such as `http://gpu-box:8000`; None if they are ambiguous.

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


def server_root(url: str) -> str:
    """A server's URL without the API's own path, `/api/v1`, and without slashes at its end; other texts as they are.

    The SDK adds `/api/v1` itself. URLs with a query or a fragment are not changed.

    >>> server_root("http://box:8000/api/v1/"), server_root("https://box/tinker/"), server_root("local")
    ('http://box:8000', 'https://box/tinker', 'local')
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in _PORTS or not separator or "?" in rest or "#" in rest:
        return url
    root = rest.rstrip("/")
    while root.endswith(_API):  # all of them, so that a second call changes nothing
        root = root.removesuffix(_API).rstrip("/")
    return f"{scheme}://{root}" if root else url


def servers_file() -> Path:
    """The file of remembered servers: `$XDG_CONFIG_HOME/socratic-distill/servers.json`, else below `~/.config`."""
    xdg_home = Path(os.environ.get("XDG_CONFIG_HOME") or "")
    config = xdg_home if xdg_home.is_absolute() else Path.home() / ".config"  # XDG: ignore relative paths
    return config / "socratic-distill" / "servers.json"


def known_servers() -> frozenset[str]:
    """Origins of the servers that the user has named; empty if the file is missing or damaged."""
    try:
        stored = json.loads(servers_file().read_bytes())
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, RuntimeError, RecursionError) as error:  # RuntimeError: a user without a home
        _log.warning("the remembered servers cannot be read: %s", error)
        return frozenset()
    return frozenset(entry for entry in stored if isinstance(entry, str)) if isinstance(stored, list) else frozenset()


def remember_server(url: str) -> None:
    """Remembers a server that the user named; if that fails, the user has to name it again next time.

    Args:
        url: the server's URL.
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
