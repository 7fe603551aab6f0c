"""The built documentation as a reader opens it from disk: on a phone and on a desk, light and dark, and its search.

`make docs` builds it into site/; SOCRATIC_SITE names another folder. With SOCRATIC_SCREENSHOTS set to a folder,
pictures of the pages are left there.
"""

import os
import re
from pathlib import Path

import pytest
from tests.support.pages import overflow, picture

pytestmark = pytest.mark.browser
SITE = Path(os.environ.get("SOCRATIC_SITE") or Path(__file__).parents[2] / "site")
PAGES = sorted(page.relative_to(SITE).as_posix() for page in SITE.rglob("*.html") if page.name != "404.html")
PHONE, DESK = 400, 1280
WIDE_ELEMENTS = """
[...document.querySelectorAll("article *")]
    .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map((element) => element.outerHTML.slice(0, 120)).slice(0, 3)
"""


@pytest.fixture(scope="module", params=[PHONE, DESK])
def view(request, chromium):
    context = chromium.new_context(viewport={"width": request.param, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture
def desk(chromium):
    context = chromium.new_context(viewport={"width": DESK, "height": 900})
    requests = []
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    yield page
    context.close()
    assert [url for url in requests if not url.startswith(("file:", "data:", "about:"))] == []


def test_the_site_is_built():
    assert "index.html" in PAGES, f"{SITE} holds no site; run `make docs` first"


@pytest.mark.parametrize("name", PAGES)
def test_no_page_scrolls_sideways(view, name):
    view.goto((SITE / name).as_uri())
    for theme in ("dark", "light"):
        view.emulate_media(color_scheme=theme)
        picture(view, f"{name.removesuffix('.html').replace('/', '-')}-{view.viewport_size['width']}-{theme}")
    assert overflow(view) <= 0, f"{overflow(view)} px too wide: {view.evaluate(WIDE_ELEMENTS)}"


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("resume", "starting-a-run.html"),
        ("learning rate", "settings.html"),
        ("CheckpointConflict", "troubleshooting.html#checkpointconflict"),
    ],
)
@pytest.mark.parametrize("start", ["index.html", "guides/seeds.html"])
def test_search_works_from_disk(desk, start, words, target):
    desk.goto((SITE / start).as_uri())
    desk.keyboard.press("/")
    desk.keyboard.type(words)
    desk.wait_for_selector(".md-search-result__link")
    links = desk.eval_on_selector_all(".md-search-result__link", "links => links.map((link) => link.href)")
    found = [re.sub(r"\?h=[^#]*", "", link) for link in links]
    wanted = (SITE / target.partition("#")[0]).as_uri()
    anchor = target.partition("#")[2]
    assert any(link.startswith(wanted) and link.endswith(anchor) for link in found), found


def test_an_error_has_its_section_on_the_page_that_it_names(desk):
    desk.goto(f"{(SITE / 'troubleshooting.html').as_uri()}#configdrift")
    assert desk.inner_text("#configdrift").startswith("ConfigDrift")


def test_fields_of_the_config_are_a_list_on_a_phone(chromium):
    context = chromium.new_context(viewport={"width": PHONE, "height": 900})
    page = context.new_page()
    page.goto(f"{(SITE / 'reference' / 'config.html').as_uri()}#learning_rate")
    row = page.locator("tr", has=page.locator("#learning_rate"))
    assert row.evaluate("row => getComputedStyle(row).display") == "block"
    assert row.locator("td").last.bounding_box()["width"] > PHONE * 0.7, "the description has the page's width"
    context.close()
