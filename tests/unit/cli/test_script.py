import signal

import pytest

from socratic_distill import ConfigError, CostLimitReached, RunInterrupted, cli, run_script


def fails(error: BaseException):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no such thing"), 1),
        (RunInterrupted("stopped", signal.SIGTERM), 143),
        (RunInterrupted("stopped", signal.SIGINT), 130),
        (CostLimitReached("spent"), 3),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(capsys, error, code):
    assert run_script(fails(error)) == code
    assert capsys.readouterr().err == f"{type(error).__name__}: {error}\nSee: {error.help_page}\n"


def test_a_main_that_ends_says_its_exit_code_or_nothing():
    assert [run_script(lambda: None), run_script(lambda: 7)] == [0, 7]
    assert run_script(fails(KeyboardInterrupt())) == 130


@pytest.mark.parametrize(("variable", "argument", "is_shown"), [
    ("1", None, True), ("0", None, False), ("", True, True), ("1", False, False),
])  # fmt: skip
def test_traceback_is_shown_where_it_is_asked_for(capsys, monkeypatch, variable, argument, is_shown):
    monkeypatch.setenv("SOCRATIC_TRACEBACK", variable)
    run_script(fails(ConfigError("no such thing")), with_traceback=argument)
    assert ("Traceback" in capsys.readouterr().err) is is_shown


def test_a_mistake_of_a_programmer_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)


def test_command_line_shows_a_traceback_on_demand(capsys, tmp_path):
    missing = str(tmp_path / "none.json")
    assert cli.main(["check", missing]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert cli.main(["--traceback", "check", missing]) == 1
    assert "Traceback" in capsys.readouterr().err
