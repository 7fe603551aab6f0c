"""Chromium, which must be installed; nothing is downloaded. CHROMIUM names another binary than the first on PATH."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the `browser` extra")
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("no Chromium is installed; CHROMIUM may name one")
    with playwright.sync_playwright() as driver:
        # Containers run as root, where Chromium's sandbox does not start.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=binary, args=arguments)
        yield browser
        browser.close()
