"""The leaderboard in a real browser: sorted by the pointer and the keyboard, in the dark, on a phone."""

import pytest
from tests.support.pages import overflow, picture
from tests.support.written_runs import ASKS, TELLS, write_run

from socratic_distill import Measure, write_leaderboard
from socratic_distill.evaluation.suites.catalogue import SUITES
from socratic_distill.evaluation.suites.results import Benchmark, SuiteResult, add_results

playwright = pytest.importorskip("playwright.sync_api", reason="needs the `browser` extra")

pytestmark = pytest.mark.browser
MARKUP = "<img src=x onerror=\"document.title='hit'\"></script><script>document.title='hit'</script>"
NARROW = 400


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The page of three runs, one of which lacks a measure."""
    folder = tmp_path_factory.mktemp("board")
    paths = [write_run(folder / name, evaluations=[(0, TELLS), (4, ASKS)]) for name in ("run-9", "run-10", "run-11")]
    for path, score in zip(paths, (-3.0, -2.0, None), strict=True):
        measures = {"text/logprob": Measure(score, None, None, 9)} if score else {}
        add_results(
            path, Benchmark(SUITES["text"].about, {MARKUP: SuiteResult("w", measures, items=3, notes=(MARKUP,))})
        )
    return write_leaderboard(paths, folder / "page.html")


def runs_of(page):
    """The runs in the order of the last table's rows."""
    return page.locator("table").last.locator("tbody th").all_inner_texts()


def test_a_column_is_sorted_by_the_pointer_and_the_keyboard(open_page, board):
    page = open_page(board)
    picture(page, "leaderboard")
    assert runs_of(page) == ["run-10", "run-9", "run-11"], "the best first, and last the one without a value"
    heads = page.locator("table").last.locator("thead button")
    column = heads.filter(has_text="logprob")
    column.click()
    assert runs_of(page) == ["run-9", "run-10", "run-11"]
    assert page.locator("table").last.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    assert page.inner_text("#live") == "Sorted by logprob, ascending"
    column.focus()
    page.keyboard.press("Enter")
    assert runs_of(page) == ["run-10", "run-9", "run-11"]
    heads.first.click()
    assert runs_of(page) == ["run-9", "run-10", "run-11"], "numbers in names count as numbers"
    assert page.locator("table").last.locator("th[aria-sort]").count() == 1


def test_markup_in_names_is_text(open_page, board):
    page = open_page(board)
    assert page.title() == "3 runs · socratic-distill" and page.locator("main img").count() == 0
    assert MARKUP in page.locator("table").last.inner_text()


def test_the_page_fits_a_phone_and_the_dark(open_page, board):
    page = open_page(board, width=NARROW, theme="dark")
    assert overflow(page) <= 0
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.click("#theme")
    assert page.locator("html").get_attribute("data-theme") == "light"
