"""Where the documentation explains the report."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata

_PAGE = "guides/report"


@dataclass(frozen=True)
class Guide:
    """The page of the documentation on reading a report.

    Attributes:
        name: its file in the source.
        address: where it is published; None if the package names no such place.
    """

    name: str
    address: str | None


def where_to_read() -> Guide:
    """The page, at the address that the installed package names as its documentation."""
    try:
        urls = metadata("socratic-distill").get_all("Project-URL") or []
    except PackageNotFoundError:  # imported from a source tree that is not installed
        urls = []
    return guide_of(urls)


def guide_of(urls: Iterable[str]) -> Guide:
    """The page, from the package's lines `label, address`."""
    pairs = (line.partition(",")[::2] for line in urls)
    site = next((address.strip() for label, address in pairs if label.strip().lower() == "documentation"), None)
    is_web = site is not None and site.startswith("https://")
    return Guide(f"docs/{_PAGE}.md", f"{site.rstrip('/')}/{_PAGE}.html" if site is not None and is_web else None)
