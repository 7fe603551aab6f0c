"""Pages in a browser."""

import os
from pathlib import Path
from typing import Any


def overflow(page: Any) -> int:
    """How much wider a page is than its window, pixels; at most 0 if it does not scroll sideways."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def picture(page: Any, name: str) -> None:
    """Leaves a picture of the whole page in the folder of SOCRATIC_SCREENSHOTS, if that is set."""
    if folder := os.environ.get("SOCRATIC_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
