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


@pytest.fixture
def open_page(chromium):
    """Opens a file; the test fails on any message of the console, any error, and any request but for the file."""
    contexts, complaints = [], []

    def open_file(path, width=1280, theme="light", height=900):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        wanted = path.as_uri()
        page.on("request", lambda request: request.url in (wanted, "data:,") or complaints.append(request.url))
        page.goto(wanted)
        contexts.append(context)
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert complaints == []
