import io

from socratic_distill.cli.downloaded import DownloadedBytes
from socratic_distill.outputs.display.console import TextConsole


def test_a_terminal_shows_bars_and_lines_above_them():
    stream = io.StringIO()
    with DownloadedBytes(TextConsole(file=stream, force_terminal=True, force_interactive=True, width=100)) as shown:
        shown.say("exporting \x1b[2Jit")
        shown.downloaded("a.safetensors", 0, None)
        shown.downloaded("a.safetensors", 1_500_000, 3_000_000)
        shown.downloaded("a.safetensors", 3_000_000, 3_000_000)
    text = stream.getvalue()
    assert "exporting \\x1b[2Jit" in text and "a.safetensors" in text and "3.0/3.0 MB" in text


def test_elsewhere_there_are_lines_alone():
    stream = io.StringIO()
    with DownloadedBytes(TextConsole(file=stream)) as shown:
        shown.say("exporting it")
        shown.downloaded("a.safetensors", 1, 2)
    assert stream.getvalue() == "exporting it\n"


def test_a_closed_stream_does_not_stop_the_export():
    stream = io.StringIO()
    with DownloadedBytes(TextConsole(file=stream)) as shown:
        stream.close()
        shown.say("exporting it")
        shown.say("exporting it")
