"""Keys and passwords taken out of what is shown, logged or written. It reads the environment, and nothing else."""

import os
import re
from urllib.parse import urlsplit

_HIDDEN = "…"
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SHORTEST = 8  # shorter values stand in texts by chance
_SECRET_IN_TEXT = re.compile(r"(?<=://)[^/\s@]+(?=@)|(?<=token=)[^&\s'\"]+|\btml-[\w.-]+")


def redacted(text: str) -> str:
    """A text without passwords in URLs, the service's keys, and values of variables that are named as secrets."""
    secrets = {value for name, value in os.environ.items() if len(value) >= _SHORTEST and _SECRET_NAME.search(name)}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _SECRET_IN_TEXT.sub(_HIDDEN, text)


def without_user(url: str) -> str:
    """A URL without the user and password that may stand before its host."""
    place = urlsplit(url)
    return place._replace(netloc=place.netloc.rpartition("@")[2]).geturl() if "@" in place.netloc else url
