import io

from rich.console import Console

from socratic_distill.display import open_display

ROW = {"teacher_kl": 0.25, "first_reply/tells": 0.5, "first_reply/asks": None, "solved": 1.0, "time/step": 2.0}


def show(mode, terminal):
    out = io.StringIO()
    display = open_display(mode, Console(file=out, force_terminal=terminal, width=100))
    display.say("run [red]x[/red]: starting fresh")
    display.step(1, 2, ROW)
    display.step(2, 2, ROW)
    display.close()
    return out.getvalue()


def test_piped_output_is_plain_lines_without_control_characters():
    text = show("auto", terminal=False)
    assert text.splitlines() == [
        "run [red]x[/red]: starting fresh",
        "step 1/2  teacher_kl 0.250  tells 50%  solved 100%  seconds 2.0",
        "step 2/2  teacher_kl 0.250  tells 50%  solved 100%  seconds 2.0",
    ]


def test_terminal_shows_a_live_bar():
    text = show("auto", terminal=True)
    assert "\x1b[" in text and "2/2" in text and "teacher_kl 0.250" in text


def test_off_prints_nothing():
    assert show("off", terminal=True) == ""
