"""The report of the quickstart's run in a real browser: with the pointer, the keyboard, in the dark, on a phone.

With SOCRATIC_SCREENSHOTS set to a folder, pictures of the page are left there.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.pages import overflow, picture
from tests.support.written_runs import TELLS, row_of, write_run

from socratic_distill.outputs.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs the `browser` extra")
pytest.importorskip("torch", reason="the quickstart needs the `local` extra")

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
NARROW = 400
MARKUP = "<img src=x onerror=\"document.title='hit'\"><b>bold</b></script><script>document.title='hit'</script>"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page that a short run of the quickstart leaves."""
    log_path = tmp_path_factory.mktemp("browser") / "quickstart"
    command = [sys.executable, ROOT / "examples" / "quickstart.py", "--steps", "4", "--log-path", log_path]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    return log_path / "report.html"


def focused(page, what="textContent"):
    return page.evaluate(f"document.activeElement.{what}")


def tip(page):
    """The lines of what is shown beside the pointer."""
    return page.locator("#tip p").all_inner_texts()


def bottom(page, selector):
    """Where an element ends, pixels from the top of the page."""
    box = page.locator(selector).bounding_box()
    return box["y"] + box["height"]


def test_the_verdict_and_a_pair_are_seen_without_scrolling(open_page, report):
    page = open_page(report, height=800)
    verdict = page.inner_text(".verdict").replace("\xa0", " ")
    assert re.match(
        r"This tutor tells the answer in \d+ % of dialogues \(\d+ % before training\); the student", verdict
    )
    assert "64 at batch 0 and 64 at batch 4" in page.inner_text("#verdict .note >> nth=0")
    before, after = page.locator("#lead .card").all()
    assert before.bounding_box()["y"] == after.bounding_box()["y"], "side by side"
    assert max(bottom(page, "#lead .card >> nth=0"), bottom(page, "#lead .card >> nth=1")) <= 800
    assert "Before" in before.inner_text() and "batch 4" in after.inner_text()
    spoken = [each.locator(".says").count() for each in (before, after)]
    assert min(spoken) >= 2 and all(text.strip() for text in page.locator("#lead .says span").all_inner_texts())
    first = page.locator("#pair .column >> nth=0").locator(".said >> nth=0").inner_text()
    assert page.locator("#lead .says span").first.inner_text() == first, "the pair of the section below"
    picture(page, "top-1280")


def test_a_phone_sees_the_verdict_and_the_beginning_of_the_pair(open_page, report):
    page = open_page(report, NARROW, height=800)
    assert bottom(page, "#verdict .verdict") <= 800 and bottom(page, "#lead .card >> nth=0 >> .says >> nth=0") <= 800
    before, after = (each.bounding_box() for each in page.locator("#lead .card").all())
    assert after["y"] > before["y"] and after["x"] == before["x"], "stacked"


def test_the_seconds_of_a_step_are_told_by_phase(open_page, report):
    page = open_page(report)
    plot = page.locator("#phases svg.bars")
    assert plot.locator("g").count() == 4, "a bar a step"
    plot.focus()
    page.keyboard.press("Home")
    lines = tip(page)
    numbers = [float(re.findall(r"[\d.]+(?= s$)", line)[0]) for line in lines]
    assert lines[0].startswith("step 0: ") and numbers[0] == pytest.approx(sum(numbers[1:]), abs=0.1 * len(numbers))
    rows = page.locator("table.phases tbody tr")
    shares = [int(text.rstrip(" %")) for text in rows.locator("small").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=len(shares))
    colours = plot.locator("g >> nth=0 >> rect").evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
    assert len(set(colours)) == len(colours) == rows.count()


def test_the_page_says_where_it_is_explained(open_page, report):
    assert "docs/guides/report.md" in open_page(report).inner_text("footer")


def test_the_summary_and_the_curves_can_be_read(open_page, report):
    page = open_page(report)
    assert page.inner_text("h1") == "quickstart"
    head, *_ = page.locator("table.measures thead").all_inner_texts()
    assert re.search(r"Before\s+batch 0\s+After\s+batch 4", head)
    row = page.locator("table.measures tr", has_text="first_reply/tells").last
    page.click("summary:has-text('more measures')")
    assert re.search(r"\d+\.\d %\s*\[\d+\.\d, \d+\.\d %\]", row.inner_text())
    assert page.locator("#charts svg.plot .band").count() >= 6
    assert page.locator("#charts figure").first.locator(".mark").count() == 2, "the two evaluations"
    plot = page.locator("#charts svg.plot").first
    plot.hover(position={"x": 300, "y": 90})
    assert tip(page)[0] == "teacher_kl, nats a token" and re.match(r"step \d: 0\.\d+ \[", tip(page)[1])
    page.mouse.move(0, 0)
    plot.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#live").startswith("step 1: 0.")
    page.select_option("figure:has-text('Telling@k') select", "1")
    for title in ("Telling", "Success"):
        assert f"{title}@1, share" in page.inner_text(f"figure:has-text('{title}@k') figcaption"), "both follow"
    assert "there is none" in page.inner_text("figure:has-text('Cost and tokens')")


def test_a_filter_narrows_the_list_and_a_dialogue_opens(open_page, report):
    page = open_page(report)
    entries = page.locator("#list button")
    every = entries.count()
    assert page.inner_text("#found") == f"{every} of {every} shown"
    page.get_by_role("group", name="Told").get_by_role("radio", name="yes").click()
    told = entries.count()
    assert 0 < told < every and all("told" in text for text in entries.all_inner_texts())
    page.get_by_role("group", name="Told").get_by_role("radio", name="no").click()
    assert entries.count() == every - told
    page.fill("input[name=from]", "2")
    steps = page.locator("#list .when").all_inner_texts()
    assert steps and all(int(re.findall(r"\d+", text)[0]) >= 2 for text in steps)
    entry = entries.nth(3)
    seed = entry.locator(".seed").inner_text()
    entry.click()
    assert page.inner_text("#reader h3").startswith(f"{seed} · ")
    assert entry.get_attribute("aria-current") == "true"
    assert "not told" in page.inner_text("#reader .badges")
    page.click("button:has-text('Show all')")
    playwright.expect(entries).to_have_count(every)


def test_a_token_tells_its_figures_to_the_pointer_and_to_the_keyboard(open_page, report):
    page = open_page(report)
    turn = page.locator("#reader .turn.tutor").first
    tokens = turn.locator(".tok")
    tokens.nth(1).hover()
    lines = tip(page)
    tutor, teacher, gap = (float(re.findall(r"[−+]?\d+\.\d+", line)[0].replace("−", "-")) for line in lines[2:5])
    assert [line.split()[0] for line in lines[2:5]] == ["tutor", "teacher", "teacher"]
    assert gap == pytest.approx(teacher - tutor, abs=0.006) and f"token 2 of {tokens.count()}" in lines
    data = json.loads(page.text_content("#data"))
    first = next(one for one in data["talks"][0]["t"] if "w" in one)
    assert (tutor, teacher) == (first["u"][1] / 1000, first["c"][1] / 1000)
    colours = tokens.evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
    assert len(set(colours)) > 1, "tokens on which the two differ are coloured"
    tokens.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#live").split(", ")[0] == lines[0]
    page.keyboard.press("End")
    assert f"token {tokens.count()} of {tokens.count()}" in page.inner_text("#live")


def test_the_page_can_be_used_with_the_keyboard_alone(open_page, report):
    page = open_page(report)
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the report"
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    assert focused(page) == page.locator("#list button").first.text_content()
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    second = page.locator("#list button").nth(1)
    assert focused(page) == second.text_content()
    page.keyboard.press("Enter")
    assert focused(page, "id") == "reader" and second.get_attribute("aria-current") == "true"
    page.keyboard.press("Tab")
    assert "tok" in focused(page, "className")
    page.keyboard.press("Escape")
    assert focused(page) == second.text_content()
    page.keyboard.press("/")
    page.keyboard.type("no such words anywhere")
    assert page.inner_text("#found").startswith("0 of ")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Escape")
    assert focused(page) == second.text_content()


def test_a_turn_jumps_to_where_the_teacher_disagrees(open_page, tmp_path):
    row = row_of(("5", "one two", "6"), gap=0.25)
    row["turns"][1]["teacher_logprobs"][4] = -3.5
    page = open_page(write_report([write_run(tmp_path, rows=[row])]))
    page.locator("#reader .tok").first.focus()
    page.keyboard.press("d")
    assert page.inner_text("#live").startswith("“t”, token 5 of ")
    assert page.inner_text("#live").endswith("teacher − tutor −2.50 nats")
    assert "lowest −2.50 at “t”" in page.inner_text("#reader .tutor .who")
    strong = page.locator("#reader .tok.strong")
    assert strong.count() == 1 and "underline" in strong.evaluate("one => getComputedStyle(one).textDecorationLine")


def test_the_same_seed_stands_before_and_after(open_page, report):
    page = open_page(report)
    titles = page.locator("#pair .column h3").all_inner_texts()
    assert titles == ["Before: evaluation, batch 0", "After: evaluation, batch 4"]
    problems = page.locator("#pair .problem")
    first = problems.first.inner_text()
    assert first == problems.last.inner_text()
    page.click("text=Next seed")
    assert problems.first.inner_text() == problems.last.inner_text() != first
    page.click("text=Previous seed")
    assert problems.first.inner_text() == first and page.is_disabled("text=Previous seed")


def test_dark_and_light_follow_the_system_and_the_button(open_page, report):
    ground = "getComputedStyle(document.body).backgroundColor"
    page = open_page(report)
    light = page.evaluate(ground)
    picture(page, "light-1280")
    page.click("button:has-text('Dark')")
    dark = page.evaluate(ground)
    assert light != dark
    picture(page, "dark-1280")
    page.reload()
    assert page.evaluate(ground) == dark, "the choice is kept"
    page.click("button:has-text('Light')")
    assert page.evaluate(ground) == light
    assert open_page(report, theme="dark").evaluate(ground) == dark
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_the_page_without_scrolling_sideways(open_page, report, theme):
    page = open_page(report, NARROW, theme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert overflow(page) == 0
    picture(page, f"{theme}-400")
    wide = open_page(report, 1280, theme)
    assert overflow(wide) == 0


def test_the_print_holds_every_section(open_page, report, tmp_path):
    page = open_page(report, theme="dark")
    page.pdf(path=str(tmp_path / "report.pdf"))
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for name in ("summary", "curves", "dialogues", "pairs", "runs", "measures"):
        assert page.is_visible(f"#{name} h2")
    assert page.is_visible("dl.config") and not page.is_visible("#filters")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.is_visible("dl.config"), "what printing unfolded is folded again"


def test_markup_in_what_anyone_said_shows_as_text(open_page, tmp_path):
    rows = [row_of((MARKUP, MARKUP, "12"), seed=MARKUP, question=MARKUP, error=MARKUP, recording=None)]
    old = row_of((MARKUP, "12 " + MARKUP, "12"), seed="old", number=1)
    old["turns"][1].pop("pieces")
    config = {"tutor_model_name": MARKUP, "student_profile": MARKUP}
    path = write_run(tmp_path / "<b>run", rows=[*rows, old], config=config)
    page = open_page(write_report([path]), NARROW)
    assert page.inner_text("h1") == "<b>run"
    assert MARKUP in page.inner_text("#reader")
    page.click("#list button >> nth=1")
    assert MARKUP in page.inner_text("#reader")
    assert page.locator("#main img, #main script, #main b:not(.who b):not(.problem b)").count() == 0
    assert "hit" not in page.title() and overflow(page) == 0


def test_tokens_of_rows_without_pieces_are_numbered(open_page, tmp_path):
    row = row_of(TELLS)
    row["turns"][1].pop("pieces")
    page = open_page(write_report([write_run(tmp_path, rows=[row])]))
    assert TELLS[1] in page.inner_text("#reader .turn.tutor .said >> nth=0")
    page.locator("#reader .tok").nth(2).hover()
    assert tip(page)[0] == f"token id {row['turns'][1]['tokens'][2]}" and tip(page)[1].startswith("token 3 of ")


def test_several_runs_share_charts_and_are_told_apart(open_page, report, tmp_path):
    other = write_run(tmp_path / "other", steps=3)
    page = open_page(write_report([report.parent, other], tmp_path / "both.html"))
    assert page.locator("#legend bdi").all_inner_texts() == ["quickstart", "other"]
    assert page.locator("#verdict .verdict").count() == page.locator("#verdict h2").count() == 2
    assert page.locator("#phases svg.bars").count() == 1 and page.locator("#phases .missing").count() == 1
    lines = page.locator("#charts figure").first.locator(".line")
    style = "getComputedStyle(one)"
    looks = lines.evaluate_all(f"all => all.map(one => [{style}.stroke, {style}.strokeDasharray])")
    assert len(looks) == 2 and looks[0][0] != looks[1][0] and looks[0][1] != looks[1][1]
    page.select_option("select[name=run]", "1")
    assert page.inner_text("#found").startswith("12 of ")
    assert page.is_visible("text=What sets the configs apart")
    picture(page, "two-runs-1280")


def test_a_run_that_has_only_begun_says_so(open_page, tmp_path):
    page = open_page(write_report([write_run(tmp_path / "run", steps=0, rows=[])]))
    assert page.inner_text("#reader") == "There are no dialogues to read yet."
    assert page.locator("#charts .missing").count() == page.locator("#charts figure").count() > 5
    assert page.inner_text(".verdict") == "There is no dialogue yet that shows what this tutor does."
    assert page.locator("#lead *").count() == 0
