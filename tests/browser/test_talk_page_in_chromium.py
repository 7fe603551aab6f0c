"""The page of `chat --web` and `serve` in a real browser: typing, colours, errors, hostile text, dark, on a phone.

With SOCRATIC_SCREENSHOTS set to a folder, pictures of the page are left there.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from tests.support.pages import overflow, picture
from tests.support.served import served
from tests.support.tiny_runs import tiny_config

from socratic_distill import train

playwright = pytest.importorskip("playwright.sync_api", reason="needs the `browser` extra")
pytest.importorskip("torch", reason="the tutor needs the `local` extra")
pytest.importorskip("starlette", reason="needs the `serve` extra")

pytestmark = pytest.mark.browser
PROBLEM = "At first Paul has 4 buttons. Later Paul wins 8 more. How many buttons are there now?"
SAYS = "I think 8 - 4 = 4, so the answer is 4."
ATTACK = "document.title='hit'"
MARKUP = f'<script>{ATTACK}</script></style><img src=x onerror="{ATTACK}"> a\u202eb\x1b[2Jc\r\nd\x85'
CHAT = "**/v1/chat/completions"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    home = tmp_path_factory.mktemp("talk")
    with ThreadPoolExecutor(1) as thread:  # the browser's driver runs a loop in this one
        thread.submit(train, tiny_config(home / "run-7", max_steps=2)).result()
    with served(home / "run-7", "--question", PROBLEM, log=home / "log") as found:
        yield found


@pytest.fixture
def open_page(chromium, address):
    """Opens the page; the test fails on any error, any message of the console that it did not expect, and any request
    to another server."""
    contexts, complaints, expected = [], [], []

    def opened(width=1000, theme="light", height=800, expect=""):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        page = context.new_page()
        expected.extend([expect] if expect else [])
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith((f"{address}/", "data:,")) or complaints.append(request.url),
        )
        page.goto(f"{address}/")
        page.wait_for_selector("#send:enabled")
        contexts.append(context)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(part in text for part in expected)] == []


def say(page, text=SAYS):
    page.fill("#message", text)
    page.press("#message", "Enter")


def ready(page):
    """Waits until a reply is there, with its colours."""
    page.wait_for_selector("#send:enabled", timeout=60_000)


def replies(page):
    return page.locator("#talk .tutor .said").all_inner_texts()


def stream(*events):
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return {"status": 200, "content_type": "text/event-stream", "body": body}


def delta(text, ended=None):
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": ended}]}


def test_a_reply_appears_with_the_teachers_colours(open_page):
    page = open_page()
    assert page.title() == "Tutor run-7" and page.input_value("#problem") == PROBLEM
    assert page.is_hidden("#legend")
    say(page)
    ready(page)
    assert page.locator("#talk .student .said").all_inner_texts() == [SAYS]
    (reply,) = replies(page)
    assert len(reply.split()) > 2 and page.input_value("#message") == ""
    tokens = page.locator("#talk .tutor .tok")
    assert tokens.count() > 3 and page.locator("#talk .tok.less, #talk .tok.more").count() > 2
    ground = page.locator("#talk .tok.less, #talk .tok.more").first.evaluate(
        "node => getComputedStyle(node).backgroundColor"
    )
    assert ground.startswith("rgb") and ground not in ("rgba(0, 0, 0, 0)", "rgb(0, 0, 0)")
    assert page.is_visible("#legend") and page.is_hidden("#unscored")
    summary = page.inner_text(".figures")
    assert summary.startswith("teacher − tutor: mean ")
    tokens.nth(1).hover()
    assert "token 2 of" in page.inner_text(".figures") and "nats" in page.inner_text(".figures")
    page.mouse.move(0, 0)
    assert page.inner_text(".figures") == summary
    picture(page, "talk")


def test_a_reply_comes_piece_by_piece(open_page):
    page = open_page()
    page.evaluate(
        """() => { window.seen = []; new MutationObserver(() => {
            const said = document.querySelector("#talk .tutor .said");
            if (said && !said.querySelector(".tok")) window.seen.push(said.textContent);
        }).observe(document.getElementById("talk"), { childList: true, subtree: true, characterData: true }); }"""
    )
    say(page)
    ready(page)
    seen = list(dict.fromkeys(page.evaluate("window.seen")))
    assert len(seen) > 3, "the reply came at once"
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))


def test_the_same_seed_repeats_and_another_problem_is_another_talk(open_page):
    page = open_page()

    def first_reply(seed, problem=PROBLEM):
        page.click("#again")
        assert replies(page) == []
        page.fill("#seed", seed)
        page.fill("#problem", problem)
        say(page)
        ready(page)
        return replies(page)[0]

    assert first_reply("5") == first_reply("5")
    assert len({first_reply(str(seed)) for seed in range(4)}) > 1
    with page.expect_request(CHAT) as sent:
        first_reply("5", "What is 2 + 2?")
    assert sent.value.post_data_json["problem"] == "What is 2 + 2?"


def test_a_talk_goes_on_with_all_that_was_said(open_page):
    page = open_page()
    say(page)
    ready(page)
    with page.expect_request(CHAT) as sent:
        say(page, "It is 12.")
        ready(page)
    assert [message["role"] for message in sent.value.post_data_json["messages"]] == ["user", "assistant", "user"]
    assert len(replies(page)) == 2


def test_it_is_used_with_the_keyboard_alone(open_page):
    page = open_page()
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "message"
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#message") == "one\ntwo" and page.locator("#talk li").count() == 0
    page.keyboard.press("Enter")
    ready(page)
    assert page.evaluate("document.activeElement.id") == "message"
    page.keyboard.press("Shift+Tab")
    assert "token 1 of" in page.inner_text(".figures")
    page.keyboard.press("ArrowRight")
    assert "token 2 of" in page.inner_text(".figures")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.nextElementSibling === null")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(open_page, theme):
    page = open_page(width=360, height=640, theme=theme)
    page.fill("#problem", "x" * 300)
    say(page, "y" * 300)
    ready(page)
    assert overflow(page) <= 0
    for name in ("#send", "#again"):
        assert page.locator(name).bounding_box()["height"] >= 44
    lightness = page.evaluate(
        "['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name].match(/[0-9]+/g)[0] / 255)"
    )
    assert (
        (lightness[0] > 0.8 and lightness[1] < 0.3) if theme == "light" else (lightness[0] < 0.2 and lightness[1] > 0.8)
    )
    picture(page, f"talk-phone-{theme}")


def test_hostile_text_of_a_model_is_shown_as_text(open_page):
    page = open_page()
    page.route(CHAT, lambda route: route.fulfill(**stream(delta(MARKUP[:30]), delta(MARKUP[30:], "stop"))))
    scores = {"pieces": [MARKUP, "", "b"], "thought": 2, "tutor": [-1, -1, -1], "teacher": [-4, -1, -0.5]}
    held = []
    page.route("**/scores", lambda route: held.append(route))
    say(page, MARKUP)
    page.wait_for_selector("#talk .tutor .said:has-text('x85')")
    plain = MARKUP.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b").replace("\r\n", "\n").replace("\x85", "\\x85")
    assert page.locator("#talk .tutor .said").evaluate("node => node.textContent") == plain
    assert page.locator("#talk .student .said").evaluate("node => node.textContent").startswith("<script>")
    held[0].fulfill(json=scores)
    ready(page)
    assert page.locator("#talk .tok").all_text_contents() == [plain, "▯", "b"]
    assert "\\u202e" in page.inner_text(".figures")
    assert page.locator("#talk .tok.thought").all_text_contents() == [plain, "▯"]
    assert page.locator("#talk script, #talk img, #talk style").count() == 0 and page.title() == "Tutor run-7"
    # The tutor gets back what it said, not what was shown.
    with page.expect_request(CHAT) as sent:
        say(page, "Why?")
    assert sent.value.post_data_json["messages"][1]["content"] == MARKUP


def test_errors_are_shown_and_the_message_can_be_sent_again(open_page):
    page = open_page(expect="Failed to load resource")
    say(page, "x " * 4000)
    page.wait_for_selector("#alert:visible")
    assert "context holds" in page.inner_text("#alert") and page.locator("#talk li").count() == 0
    assert page.input_value("#message") == ("x " * 4000).strip()
    page.route(CHAT, lambda route: route.fulfill(**stream(delta("Half a"))))
    say(page)
    page.wait_for_selector("#alert:has-text('cut off')")
    page.unroute(CHAT)
    page.route(CHAT, lambda route: route.abort())
    say(page)
    page.wait_for_selector("#alert:has-text('does not answer')")
    page.unroute(CHAT)
    page.route("**/scores", lambda route: route.fulfill(status=503, json={"error": {"message": "no \u202eteacher"}}))
    say(page)
    ready(page)
    assert page.is_hidden("#alert") and len(replies(page)) == 1
    assert page.inner_text("#unscored") == "No colours: no \\u202eteacher"


def test_start_again_stops_a_reply(open_page):
    page = open_page(expect="Failed to load resource")
    page.route(CHAT, lambda route: None)  # never answered
    say(page)
    assert page.is_disabled("#send")
    page.click("#again")
    page.wait_for_selector("#send:enabled")
    assert page.locator("#talk li").count() == 0 and page.is_hidden("#alert")
    page.unroute(CHAT)
    say(page)
    ready(page)
    assert len(replies(page)) == 1
