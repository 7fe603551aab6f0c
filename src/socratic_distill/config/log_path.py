"""Which log paths are in an object store."""

import os
import re
from argparse import ArgumentTypeError
from pathlib import Path

from socratic_distill.text import refuse_secrets

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_OTHERS = ("tinker://", "http://", "https://")
_FLATTENED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")


def is_url(log_path: str | os.PathLike[str]) -> bool:
    """Whether a log path is the URL of an object store; False for a checkpoint on the service or a web address."""
    text = os.fspath(log_path)
    return _URL.match(text) is not None and not text.startswith(_OTHERS)


def why_not(log_path: str) -> str | None:
    """What is wrong with a log path that looks like a URL, and what to do; None if nothing is."""
    if _FLATTENED.match(log_path):
        return f"log_path={log_path!r} is a URL that has lost a slash, since pathlib.Path removes it; give it as a str"
    if log_path.startswith(_OTHERS):
        return f"log_path={log_path!r} cannot be written to; expected a directory, or a URL such as s3://bucket/run-001"
    if not is_url(log_path):
        return None
    scheme, _, rest = log_path.partition("://")
    if scheme in ("file", "local"):
        return f"log_path={log_path!r} is a directory on this machine; give it as a plain path"
    if not rest.strip("/"):
        return f"log_path={log_path!r} names no directory; expected one such as {scheme}://bucket/runs/run-001"
    return None


def given_path(text: str) -> str | Path:
    """A log path from the command line: a URL as a str, since `Path` would remove one of its slashes.

    Raises:
        ArgumentTypeError: the URL has a password in it.
    """
    try:
        refuse_secrets(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return text if is_url(text) else given_file(text)


def given_file(text: str) -> Path:
    """A path from the command line, `~` expanded."""
    return Path(os.path.expanduser(text))


def last_folder(url: str) -> str:
    """The last folder of a URL, which names the run."""
    return url.rstrip("/").rpartition("/")[2]
