"""What is shown steers no terminal: `shown`, the loggers, the console, errors."""

import ast
import io
import logging
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from rich.table import Table
from tests.support.hostile_text import HOSTILE, is_safe

import socratic_distill
from socratic_distill.cli import main
from socratic_distill.cli.script import run_script
from socratic_distill.errors import ConfigError
from socratic_distill.outputs.display.console import TextConsole
from socratic_distill.text import get_logger, printable, show, shown


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_shown_is_safe_for_any_text_and_does_nothing_twice(text):
    once = shown(text)
    assert is_safe(once)
    assert shown(once) == once
    once.encode()  # raises on half a character
    assert not set("\n\t") & set(shown(text, one_line=True))


_FAMILY = "\U0001f469\u200d\U0001f467"  # joined by U+200D
_ORDINARY = [
    "é ü ß",
    "数学の問題",
    "مرحبا",
    _FAMILY,
    "\u2764\ufe0f",
    "e\u0301 n\u0303",
    "a\tb\nc",
    r"\x1b",
    "x² ≤ ½",
]


@pytest.mark.parametrize("text", _ORDINARY)
def test_shown_leaves_ordinary_text_as_it_is(text):
    assert shown(text) == text


def test_shown_is_readable():
    assert shown("\x1b[2J \u202e \x9b \ud800 \x00 a\r\nb\r") == "\\x1b[2J \\u202e \\x9b \\ud800 \\x00 a\nb\\r"
    assert shown("a\nb\tc", one_line=True) == "a\\nb\\tc"


def test_show_prints_what_the_encoding_of_a_stream_lacks_as_escapes():
    raw = io.BytesIO()
    show(Path("数/\x1b"), file := io.TextIOWrapper(raw, "ascii"))
    file.flush()
    assert raw.getvalue() == b"\\u6570/\\x1b\n"
    assert printable("é", "no such encoding") == "é"


def test_messages_and_tracebacks_of_loggers_are_escaped():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log = get_logger("socratic_distill.of_this_test")
    assert get_logger(log.name) is log and len(log.filters) == 1
    log.addHandler(handler)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.warning("%s: %r", HOSTILE, "50 %", exc_info=True)
    finally:
        log.removeHandler(handler)
    assert is_safe(stream.getvalue())
    assert "'50 %'" in stream.getvalue() and "Traceback" in stream.getvalue() and "\\x1b]52" in stream.getvalue()


def test_every_module_takes_its_logger_from_text():
    root = Path(socratic_distill.__file__).parent
    of_their_own = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node) in ("logging.getLogger(__name__)", "getLogger(__name__)")
    ]
    assert of_their_own == [], "these log unescaped; take get_logger of text"


def test_commands_print_by_show_and_text_console_alone():
    root = Path(socratic_distill.__file__).parent
    sources = sorted((root / "cli").glob("*.py"))
    plain = [
        f"{path.name}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id in ("print", "Console")
    ]
    assert plain == []


def test_errors_as_text_are_escaped_and_keep_what_was_given():
    error = ConfigError(f"{HOSTILE} cannot be read")
    assert is_safe(str(error)) and "\\x1b[2J" in str(error)
    assert error.args == (f"{HOSTILE} cannot be read",)


@pytest.mark.parametrize("with_traceback", [False, True])
def test_the_error_that_ends_a_script_is_escaped(capsys, with_traceback):
    def fail():
        try:
            raise KeyError(HOSTILE)
        except KeyError as cause:
            raise ConfigError(HOSTILE) from cause

    assert run_script(fail, with_traceback=with_traceback) == 1
    assert is_safe(capsys.readouterr().err)


def test_a_wrong_argument_is_repeated_escaped(capsys):
    with pytest.raises(SystemExit):
        main(["checkpoints", "run", HOSTILE])
    told = capsys.readouterr().err
    assert is_safe(told) and "\\x1b]52" in told


def test_a_bug_in_a_command_is_one_escaped_traceback(capsys, monkeypatch):
    def fail(parsed):
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr("socratic_distill.cli.report.run", fail)
    assert main(["report", "run"]) == 1
    told = capsys.readouterr().err
    assert is_safe(told) and "RuntimeError: \\x1b]52" in told


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_console_takes_no_markup_and_no_control_characters_from_a_table(is_terminal):
    stream = io.StringIO()
    console = TextConsole(file=stream, force_terminal=is_terminal, width=200, color_system=None)
    table = Table("name", title=HOSTILE)
    for cell in (HOSTILE, "[link=http://evil]x[/link]", "[/no] :smile:"):
        table.add_row(cell)
    console.print(table)
    console.print(HOSTILE)
    # rich's own sequences are styles alone: they end in m
    text = stream.getvalue().replace("\x1b[3m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert is_safe(text)
    assert "[link=http://evil]x[/link]" in text and "[/no] :smile:" in text
