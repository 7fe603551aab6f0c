"""Pictures of the report in Chromium, light and dark."""

import os
import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page, sync_playwright

_WIDTH, _HEIGHT = 1280, 800
# So many keep a page's text smooth and its colours apart, in a third of the bytes.
_COLOURS = 220


def write(report: Path, directory: Path) -> list[Path]:
    """The top of the page, and a pair of dialogues with their tokens coloured.

    Args:
        report: the page.
        directory: where the pictures go.
    """
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        raise SystemExit("no Chromium was found; install it, or set CHROMIUM to its path")
    written = []
    with sync_playwright() as driver:
        # Containers run as root, where Chromium's sandbox does not start.
        browser = driver.chromium.launch(executable_path=binary, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme=theme)
            page.goto(report.resolve().as_uri())
            written.append(_save(page.screenshot(), directory / f"report-{theme}.png"))
            written.append(_save(_tokens(page), directory / f"tokens-{theme}.png"))
        browser.close()
    return written


def _tokens(page: Page) -> bytes:
    """The first pair, with some room around it."""
    place = page.locator("#pair .columns")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box is not None
    room = {"x": box["x"] - 20, "y": box["y"] - 16, "width": box["width"] + 40, "height": box["height"] + 20}
    return page.screenshot(clip=FloatRect(**room))


def _save(picture: bytes, path: Path) -> Path:
    with Image.open(BytesIO(picture)) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path
