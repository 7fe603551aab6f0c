"""What the displays print: lines in files, a view in terminals, and the run untouched whatever becomes of either."""

import io
import logging
import re
import sys
import threading
from contextlib import closing
from typing import Any

import pyte
import pytest
from rich.console import Console
from rich.text import Text
from tests.support.patience import PATIENCE

from socratic_distill.outputs.display import Moment, open_display
from socratic_distill.outputs.display.live import LiveView
from socratic_distill.outputs.display.plain import Plain
from socratic_distill.outputs.progress import Progress

ROW = {"teacher_kl": 0.25, "first_reply/tells": 0.5, "first_reply/asks": None, "solved": 1.0, "time/step": 2.0}
TIME = re.compile(r"^\d\d:\d\d:\d\d ")
LOG = logging.getLogger("socratic_distill.anything")


class Terminal(io.StringIO):
    """A terminal in memory."""

    def isatty(self):
        return True

    def screen(self, width=100, height=30):
        """The lines on it, trailing spaces and empty lines at the end left out."""
        shown = pyte.Screen(width, height)
        pyte.Stream(shown).feed(self.getvalue().replace("\n", "\r\n"))
        assert not shown.cursor.hidden, "the cursor was not given back"
        return "\n".join(line.rstrip() for line in shown.display).rstrip("\n").split("\n")


def console_on(file, **changes):
    fields: dict[str, Any] = {"force_terminal": file.isatty(), "width": 100, "height": 30, "legacy_windows": False}
    return Console(file=file, **(fields | changes))


def show_short_run(display):
    """A short run, as the trainer tells of it."""
    moment = Moment(0, 2, stage="playing")
    with closing(display):
        display.say("run [red]x[/red]: starting fresh")
        display.watch(lambda: moment)
        for done in (1, 2):
            display.step(done, 2, ROW | {"step": done - 1})
            moment = Moment(done, 2, checkpoint=f"{done:06d}")


@pytest.mark.parametrize("force_terminal", [True, False], ids=["colours forced", "as it is"])
def test_piped_output_is_plain_lines_without_control_characters(force_terminal):
    out = io.StringIO()
    show_short_run(open_display("auto", console_on(out, force_terminal=force_terminal)))
    lines = out.getvalue().splitlines()
    assert all(TIME.match(line) for line in lines)
    assert [TIME.sub("", line).partition("  left")[0] for line in lines] == [
        "run [red]x[/red]: starting fresh",
        "step 1/2  teacher_kl 0.250  tells 50%  solved 100%  seconds 2.0",
        "step 2/2  teacher_kl 0.250  tells 50%  solved 100%  seconds 2.0",
    ]


@pytest.mark.parametrize("mode", ["auto", "plain"])
def test_what_is_said_cannot_steer_a_terminal_or_a_file(mode):
    out = io.StringIO()
    open_display(mode, console_on(out)).say("told \x1b[2J\x07\r\x9b by the service\nand over")
    assert TIME.sub("", out.getvalue()) == "told \\x1b[2J\\x07\\r\\x9b by the service\nand over\n"


def test_text_that_an_encoding_lacks_is_written_out():
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as out:
        open_display("plain", console_on(out)).say("π \ud83d")
        out.flush()
        assert TIME.sub("", raw.getvalue().decode("ascii")) == "\\u03c0 \\ud83d\n"


def test_terminal_keeps_what_was_said_above_the_last_state():
    out = Terminal()
    show_short_run(open_display("auto", console_on(out)))
    lines = out.screen()
    assert lines[0] == "run [red]x[/red]: starting fresh"
    assert lines[1].split()[:2] == ["step", "2/2"]
    assert [line.split()[:2] for line in lines[2:4]] == [["teacher_kl", "0.250"], ["tells", "50%"]]
    assert lines[-1] == "checkpoint 000002"


def test_terminal_shows_the_run_as_it_stands_when_it_draws():
    out, seen = Terminal(), threading.Semaphore(0)

    def look():
        seen.release()
        return Moment(3, 8, dialogues_done=5, dialogues=32, in_flight=27, stage="playing")

    with closing(open_display("auto", console_on(out))) as display:
        display.watch(look)
        for _ in range(3):
            assert seen.acquire(timeout=PATIENCE), "the view is not drawn again by itself"
    assert "5/32" in out.getvalue() and "27 in flight" in out.getvalue() and "playing" in out.getvalue()
    assert "27 in flight" not in "\n".join(out.screen()), "the last state speaks of a run that goes on"
    assert any("stopped here" in line for line in out.screen())


def test_view_goes_on_from_the_steps_before_a_resume():
    out = Terminal()
    with closing(open_display("auto", console_on(out))) as display:
        rows = [{"step": i, "teacher_kl": 0.9, "tokens/tutor": 1000, "cost/usd": 1.0} for i in range(2)]
        display.watch(lambda: Moment(3, 4), rows)
        display.step(3, 4, {"step": 2, "teacher_kl": 0.3, "tokens/tutor": 500, "cost/usd": 1.0})
        display.watch(lambda: Moment(3, 4), rows)  # once more, after a loss
    lines = {line.split()[0]: line for line in out.screen()}
    assert "0.300   ██▃" in lines["teacher_kl"]
    assert "2.5k sampled" in lines["tokens"] and "about $3.00" in lines["cost"]


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_terminal_that_cannot_move_its_cursor_gets_plain_lines(environment):
    out = Terminal()
    show_short_run(open_display("auto", console_on(out, _environ={"TERM": "xterm"} | environment)))
    assert "\x1b" not in out.getvalue() and "step 2/2  teacher_kl" in out.getvalue()


def test_notebook_gets_plain_lines_as_text():
    out = Terminal()
    show_short_run(open_display("auto", console_on(out, force_jupyter=True)))
    assert "\x1b" not in out.getvalue() and "step 2/2  teacher_kl" in out.getvalue()


def test_no_color_leaves_no_colour_in_the_view():
    coloured, plain = Terminal(), Terminal()
    for out, no_color in ((coloured, False), (plain, True)):
        show_short_run(open_display("auto", console_on(out, no_color=no_color, color_system="standard")))
    assert "\x1b[36m" in coloured.getvalue()
    assert "\x1b[36m" not in plain.getvalue() and plain.screen() == coloured.screen()


def test_terminal_without_blocks_gets_ascii():
    raw = io.BytesIO()

    class Latin(io.TextIOWrapper):
        def isatty(self):
            return True

    with Latin(raw, encoding="latin-1") as out:
        show_short_run(open_display("auto", console_on(out)))
        out.flush()
        text = raw.getvalue()
    assert b"########" in text and text.isascii()


def test_off_prints_nothing(make_config, capfd):
    streams = sys.stdout, sys.stderr
    show_short_run(Progress(make_config(display="off")))
    assert capfd.readouterr() == ("", "") and (sys.stdout, sys.stderr) == streams


# The terminal


def view_of(out, size, lines):
    """A view of so many lines of text, which fill the width of the console."""
    console = console_on(out, width=size[0], height=size[1])
    view = LiveView(console)
    view._lines = lambda width: [Text("x" * width, end="") for _ in range(lines)]
    return view, console


def draw(view, out):
    """What one drawing writes."""
    before = len(out.getvalue())
    view._draw()
    return out.getvalue()[before:]


def test_lines_that_a_narrower_terminal_broke_are_erased():
    out = Terminal()
    view, console = view_of(out, (90, 20), lines=3)
    with view._live:
        draw(view, out)
        console.width = 40
        assert draw(view, out).count("\x1b[1A") == 9, "each line of 90 cells takes three rows"
        assert draw(view, out).count("\x1b[1A") == 3
        console.width = 100
        assert draw(view, out).count("\x1b[1A") == 3


def test_view_leaves_a_line_of_a_low_terminal_free():
    out = Terminal()
    view, _ = view_of(out, (40, 4), lines=9)
    with view._live:
        assert draw(view, out).count("x" * 40) == 3


def test_cursor_rests_on_an_empty_line_so_that_an_echo_breaks_none_of_ours():
    out = Terminal()
    view, _ = view_of(out, (10, 9), lines=2)
    with view._live:
        view._draw()
        out.write("^C")
        view._waiting.append(Text("said"))
        view._is_closing = True
        view._draw()
    assert out.screen(10, 9) == ["said", "x" * 10, "x" * 10]


# What others write


def test_warnings_appear_above_the_view_once_though_reported_twice():
    out = Terminal()
    with closing(open_display("auto", console_on(out))) as display:
        display.watch(lambda: Moment(0, 2))
        LOG.warning("recovery %d of 3", 1)
        display.say("recovery 1 of 3")
        LOG.info("not for the view")
    assert out.screen()[0] == "warning: recovery 1 of 3"
    assert not any("recovery" in line or "not for" in line for line in out.screen()[1:])


def test_handlers_of_the_program_are_neither_left_out_nor_doubled(caplog):
    """One that writes to the terminal would tear the view; one that writes elsewhere has its messages as before."""
    out, log_file = Terminal(), io.StringIO()
    on_terminal, in_file = logging.StreamHandler(out), logging.StreamHandler(log_file)
    on_terminal.setFormatter(logging.Formatter("mine: %(message)s"))
    package = logging.getLogger("socratic_distill")
    before = list(package.handlers)
    package.handlers += [on_terminal, in_file]
    try:
        with closing(open_display("auto", console_on(out))) as display:
            display.watch(lambda: Moment(0, 2))
            LOG.warning("careful")
        assert on_terminal.stream is out, "the program's handler was not given its stream back"
        assert package.handlers == [*before, on_terminal, in_file]
    finally:
        package.handlers[:] = before
    assert out.screen()[0] == "mine: careful" and not any("careful" in line for line in out.screen()[1:])
    assert log_file.getvalue() == "careful\n" and caplog.messages == ["careful"]


def test_prints_of_the_program_go_above_the_view(monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    with closing(open_display("auto", console_on(out))) as display:
        display.watch(lambda: Moment(0, 2))
        print("one", end="")
        print(" line", "\r50%\r100%", sep="\n")
        print("\x1b[31mred\x1b[0m and unfinished", end="")
    assert sys.stdout is out
    assert out.screen()[:2] == ["one line", "100%"] and out.screen()[2].startswith("step")
    assert out.screen()[-1] == "red and unfinished", "what was no line yet is lost, or above its place in time"


def test_all_that_is_written_stands_in_order(monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    with closing(open_display("auto", console_on(out))) as display:
        display.watch(lambda: Moment(0, 2))
        for i in range(50):
            display.say(f"{i} said")
            print(f"{i} printed")
            LOG.warning("%d logged", i)
            print(f"{i} on standard error", file=sys.stderr)
    kinds = ("{} said", "{} printed", "warning: {} logged", "{} on standard error")
    assert out.screen(height=300)[:200] == [kind.format(i) for i in range(50) for kind in kinds]


def test_a_flushed_print_keeps_its_line_and_a_bar_leaves_its_last_state(monkeypatch):
    """Rich's own redirection would make each part a line."""
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    with closing(open_display("auto", console_on(out))) as display:
        display.watch(lambda: Moment(0, 2))
        print("loading", end=" ", flush=True)
        print("done", flush=True)
        for percent in range(0, 101, 10):
            print(f"\r{percent}%", end="", flush=True)
        print()
    assert out.screen()[:2] == ["loading done", "100%"] and out.screen()[2].startswith("step")


def test_streams_that_are_files_or_were_replaced_meanwhile_are_left_alone(monkeypatch):
    out, log_file, other = Terminal(), io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", log_file)
    with closing(open_display("auto", console_on(out))) as display:
        display.watch(lambda: Moment(0, 2))
        print("to the file", file=sys.stderr)
        monkeypatch.setattr(sys, "stdout", other)
    assert sys.stdout is other and sys.stderr is log_file
    assert log_file.getvalue() == "to the file\n" and "to the file" not in out.getvalue()


class Wrapper:
    """Stands for a stream, as what keeps trackers quiet does."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)


def test_who_took_the_stream_meanwhile_is_still_heard_after_the_run(monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    with closing(open_display("auto", console_on(out))) as display:
        display.watch(lambda: Moment(0, 2))
        monkeypatch.setattr(sys, "stdout", Wrapper(sys.stdout))
        taken = sys.stdout
    print("after the run", flush=True)
    print("and by another", end="", file=taken, flush=True)
    assert out.screen()[-2:] == ["after the run", "and by another"]


def test_second_run_sees_the_view_of_the_first_through_a_wrapper(monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    with closing(open_display("auto", console_on(out))) as first:
        first.watch(lambda: Moment(0, 2))
        monkeypatch.setattr(sys, "stdout", Wrapper(sys.stdout))
        assert isinstance(open_display("auto"), Plain)


def test_long_lines_are_left_to_the_terminal_to_break(monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    with closing(open_display("auto", console_on(out))) as display:
        display.watch(lambda: Moment(0, 2))
        display.say("said/" * 50)
        print("printed/" * 50)
    assert "said/" * 50 in out.getvalue() and "printed/" * 50 in out.getvalue()


def test_second_run_in_a_process_prints_lines_above_the_view_of_the_first(monkeypatch):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    with closing(open_display("auto", console_on(out))) as first:
        first.watch(lambda: Moment(0, 2))
        show_short_run(open_display("auto"))
    assert TIME.sub("", out.screen()[0]) == "run [red]x[/red]: starting fresh"
    assert TIME.sub("", out.screen()[2]).startswith("step 2/2  teacher_kl")
    assert out.screen()[3].startswith("step       0/2")


# What may fail


def test_look_that_fails_leaves_the_last_state():
    out, moments, has_failed = Terminal(), [Moment(1, 2, checkpoint="000001")], threading.Event()

    def look():
        if not moments:
            has_failed.set()
            raise RuntimeError("the run is over")
        return moments.pop()

    with closing(open_display("auto", console_on(out))) as display:
        display.watch(look)
        assert has_failed.wait(timeout=PATIENCE)
    assert out.screen()[-1] == "checkpoint 000001"


class Gone(Terminal):
    """A terminal, or pipe, that nobody reads any more."""

    def __init__(self, error, is_terminal):
        super().__init__()
        self._error, self._is_terminal = error, is_terminal

    def isatty(self):
        return self._is_terminal

    def write(self, text):
        raise self._error


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "gone"), OSError(5, "gone"), ValueError("closed file")])
def test_display_that_cannot_write_warns_once_and_lets_the_run_go_on(
    make_config, monkeypatch, caplog, error, is_terminal
):
    out = Gone(error, is_terminal)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    show_short_run(Progress(make_config(display="auto")))
    assert len(caplog.messages) == 1 and "the display failed and is off from here on" in caplog.messages[0]
    assert sys.stdout is out


def test_terminal_that_is_halted_holds_nobody_up(monkeypatch):
    """As with Ctrl-S: the writing waits, what is told does not."""

    class Halted(Terminal):
        def write(self, text):
            assert free.wait(timeout=PATIENCE)
            return super().write(text)

    free, out = threading.Event(), Halted()
    monkeypatch.setattr(sys, "stdout", out)
    display = open_display("auto", console_on(out))
    display.say("first")
    print("printed")
    LOG.warning("logged")
    display.watch(lambda: Moment(0, 2))
    display.step(1, 2, ROW)
    display.say("second")
    assert out.getvalue() == ""
    free.set()
    display.close()
    assert out.screen()[:4] == ["first", "printed", "warning: logged", "second"]


def test_a_display_that_fails_while_it_shows_gives_the_terminal_back(make_config, monkeypatch, caplog):
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress(make_config(display="auto"))
    progress.watch(lambda: Moment(0, 2))
    progress.step(1, 2, ROW | {"step": 0, "tokens/tutor": "many"})
    print("the run goes on")
    progress.say("unheard")
    progress.close()
    (message,) = caplog.messages
    assert message.startswith("the display failed and is off from here on: TypeError") and sys.stdout is out
    assert out.screen()[-1] == "the run goes on" and "unheard" not in out.getvalue()
