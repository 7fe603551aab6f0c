"""Signed URLs of a store: which ones are asked, and that no message or log shows them."""

from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

from socratic_distill.config.known_servers import origin
from socratic_distill.errors import DownloadError
from socratic_distill.text import remember


def keep_secret(url: str) -> None:
    """Removes a signed URL from all later messages and logs."""
    remember(url)
    remember(url.partition("?")[2])


def check_url(url: str, before: str | None, name: str) -> None:
    """Returns if a file may be asked for at a URL. Remembers the URL as a secret.

    Args:
        url: signed by the service, or where the store redirects to.
        before: what redirected here; None: the service gave it.
        name: the file, for the message.

    Raises:
        DownloadError: the URL is neither https nor http on loopback, or leads from elsewhere to this machine.
    """
    keep_secret(url)
    place, parts = origin(url), urlsplit(url) if origin(url) else None
    is_here = parts is not None and _is_loopback(parts.hostname or "")
    came_from_here = before is None or _is_loopback(urlsplit(before).hostname or "")
    if place is None or parts is None or not (parts.scheme == "https" or is_here) or (is_here and not came_from_here):
        who = "the service" if before is None else "the store"
        raise DownloadError(
            f"{who} gives {name} at {place or 'an invalid URL'}, which is not asked; expected https, or a server on "
            "this machine"
        )


def redirected(url: str, location: str) -> str:
    """Where a redirect leads to.

    Args:
        url: what was asked.
        location: as the store gives it, perhaps relative.
    """
    try:
        return urljoin(url, location)
    except ValueError:  # such as "http://[": refused as any other text that is no URL
        return location


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
