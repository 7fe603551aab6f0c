"""The display of a notebook: one output, updated in place, at most once a second."""

import asyncio
import sys
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.markup import MARKUP, check_inert

from socratic_distill.outputs.display import Moment, open_display
from socratic_distill.outputs.display.notebook import NotebookView
from socratic_distill.outputs.display.plain import Plain
from socratic_distill.outputs.progress import Progress
from socratic_distill.text import shown

ROW = {"teacher_kl": 0.25, "first_reply/tells": 0.5, "first_reply/asks": None, "solved": 1.0, "time/step": 2.0}


class Page:
    """The outputs that a notebook was sent."""

    def __init__(self):
        self.sent = []

    def __call__(self, forms, is_update):
        self.sent.append((dict(forms), is_update))

    @property
    def html(self):
        return self.sent[-1][0]["text/html"]


def kernel(monkeypatch, display):
    """Makes this process look like a notebook's kernel."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return shell


@pytest.mark.virtual_time
async def test_one_output_is_updated_at_most_once_a_second():
    page, loop = Page(), asyncio.get_running_loop()
    view = NotebookView(page, loop.time)
    moment = Moment(0, 4, dialogues_done=1, dialogues=8, in_flight=7, stage="playing")
    view.watch(lambda: moment)
    for done in range(1, 101):
        await asyncio.sleep(0.1)
        view.step(done, 100, ROW | {"step": done - 1})
        view.say(f"message {done}")
    assert [is_update for _, is_update in page.sent] == [False] + [True] * (len(page.sent) - 1)
    assert 9 <= len(page.sent) <= 21, "ten seconds: one drawing a second, and those at calls"
    assert "message 99" in page.html and "message 10<" not in page.html and "teacher_kl" in page.html
    view.close()
    assert "94 earlier messages" in page.html and "message 1\n" in check_inert(page.html)
    count = len(page.sent)
    await asyncio.sleep(5)
    assert len(page.sent) == count, "after its end it draws no more"


@pytest.mark.virtual_time
async def test_hostile_texts_stay_texts_and_other_threads_do_not_publish():
    page, loop = Page(), asyncio.get_running_loop()
    view = NotebookView(page, loop.time)
    await asyncio.sleep(2)
    view.watch(lambda: Moment(1, 2, stage=MARKUP, checkpoint=MARKUP, evaluation=MARKUP, dialogues=1))
    count = len(page.sent)
    thread = threading.Thread(target=view.say, args=(MARKUP,))
    thread.start()
    thread.join()
    assert len(page.sent) == count
    await asyncio.sleep(1.5)
    assert shown(MARKUP) in check_inert(page.html)
    view.close()


@pytest.mark.virtual_time
async def test_an_error_of_an_update_is_raised_at_the_next_call():
    page = Page()
    view = NotebookView(page, asyncio.get_running_loop().time)
    view.say("begun")
    page.sent = cast(Any, None)
    await asyncio.sleep(3)
    with pytest.raises(AttributeError):
        view.say("later")


def test_a_kernel_gets_the_view_and_keeps_one_display_id(monkeypatch):
    calls = []
    kernel(monkeypatch, lambda forms, **options: calls.append(options))
    view = open_display("auto")
    assert isinstance(view, NotebookView)
    view.close()
    assert [call["update"] for call in calls] == [False, True]
    assert len({call["display_id"] for call in calls}) == 1 and all(call["raw"] for call in calls)
    assert isinstance(open_display("plain"), Plain)


def test_lines_are_printed_where_outputs_cannot_be_updated(monkeypatch):
    def refuse(forms, **options):
        raise TypeError("no display_id")

    kernel(monkeypatch, refuse)
    assert isinstance(open_display("auto"), Plain)


def test_a_terminal_ipython_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))
    assert isinstance(open_display("auto"), Plain)


async def test_a_run_in_a_notebook_shows_its_progress_there(monkeypatch, make_config):
    page = Page()
    kernel(monkeypatch, lambda forms, *, update, **options: page(forms, update))
    async with Progress(make_config(display="auto")) as progress:
        progress.say("starting fresh")
        progress.watch(lambda: Moment(0, 2))
    assert "starting fresh" in page.html and "0/2" in page.html
