"""Progress of an evaluation: lines with times in a pipe, bars in a terminal, and never the evaluation's end."""

import io
from datetime import datetime, timedelta

from socratic_distill.cli.played import PlayedDialogues
from socratic_distill.outputs.display.console import TextConsole


class Clock:
    """A time of day that moves three seconds at each look."""

    def __init__(self):
        self.now = datetime(2026, 1, 1, 12)

    def __call__(self):
        self.now += timedelta(seconds=3)
        return self.now


def test_in_a_pipe_there_is_a_line_each_ten_seconds_and_at_the_end():
    out = io.StringIO()
    with PlayedDialogues(TextConsole(file=out), Clock()) as played:
        for done in range(1, 9):
            played("ba\x1bse", done, 8)
    assert out.getvalue().splitlines() == [
        "12:00:15 ba\\x1bse: 4 of 8 dialogues",
        "12:00:27 ba\\x1bse: 8 of 8 dialogues",
    ]


def test_in_a_terminal_there_is_a_bar_for_each_tutor_that_goes_at_the_end():
    out = io.StringIO()
    console = TextConsole(file=out, force_terminal=True, width=80, legacy_windows=False)
    with PlayedDialogues(console) as played:
        played("base", 1, 2)
        played("[final]", 2, 2)
    assert "base" in out.getvalue() and "[final]" in out.getvalue() and "1/2" in out.getvalue()
    assert out.getvalue().rstrip().endswith("\x1b[2K"), "the bars are wiped"


def test_a_closed_stream_does_not_end_the_evaluation():
    out = io.StringIO()
    console = TextConsole(file=out)
    with PlayedDialogues(console, Clock()) as played:
        out.close()
        played("base", 2, 2)
    assert console.quiet, "it says nothing more"
