"""The switch that `check` sets: scripts are looked at, and a stray variable never turns training off unseen."""

import asyncio
import os
import sys
import textwrap

import pytest

import socratic_distill
from socratic_distill import ConfigError, compare, compare_async, evaluate, evaluate_async, train, train_async
from socratic_distill.cli.scripted_config import find_config
from socratic_distill.service.handover import LOOK, HandedOver, hand_over, looking
from socratic_distill.testing import FakeRestClient, FakeServiceClient

BEGINNING = """\
import asyncio, contextlib, subprocess, sys, threading
from socratic_distill import build_socratic_config, compare, evaluate, train, train_async

def config(name="run"):
    return build_socratic_config("a", "b", "c", learning_rate=0.1, max_tokens=12, log_path=name)

"""


@pytest.fixture
def script(tmp_path):
    def write(text: str, beginning: str = BEGINNING):
        path = tmp_path / "script.py"
        path.write_text(beginning + textwrap.dedent(text))
        return path

    return write


ENDS = {
    "two calls": "train(config()); train(config('second'))",
    "except Exception": "try: train(config())\nexcept Exception: sys.exit('caught')",
    "bare except": "try: train(config())\nexcept: pass\nraise RuntimeError('it went on')",
    "exit in finally": "try: train(config())\nfinally: sys.exit(3)",
    "async": "asyncio.run(train_async(config()))",
    "thread": "thread = threading.Thread(target=train, args=[config()])\nthread.start(); thread.join()",
    "task group": """
        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(train_async(config()))
        asyncio.run(main())
        """,
    "running loop": "async def main(): train(config())\nasyncio.run(main())",
    "evaluate": "evaluate(config(), 'no-such-tutor')",
    "compare": "compare(config(), [])",
    "star import": "from socratic_distill import *\ntrain(config())",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("ending", ENDS.values(), ids=list(ENDS))
def test_the_first_config_is_found_whatever_the_script_does(script, ending, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ), list(sys.argv), list(sys.path)
    assert find_config(script(ending)).config.log_path == "run"
    assert (dict(os.environ), sys.argv, sys.path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"], "something was opened or written"


def test_clients_are_handed_over(make_config):
    service = FakeServiceClient()
    rest = FakeRestClient(service)
    with looking() as handovers, pytest.raises(HandedOver):
        train(make_config(), service_client=service, rest_client=rest)
    (handover,) = handovers
    assert (handover.service_client, handover.rest_client) == (service, rest)


def test_a_script_sees_its_name_arguments_and_directory(script, tmp_path, monkeypatch, capsys):
    (tmp_path / "beside.py").write_text("NAME = 'from beside'")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = script("""
        import os, beside
        print(__name__, __file__ == sys.argv[0], sys.argv[1:], beside.NAME, os.path.basename(os.getcwd()))
        train(config())
        """)
    find_config(path, ["--steps", "3"])
    assert capsys.readouterr().out == "__main__ True ['--steps', '3'] from beside elsewhere\n"


@pytest.mark.parametrize(
    ("ending", "error", "message"),
    [
        ("raise KeyError('mine')", KeyError, "mine"),
        ("raise KeyboardInterrupt", KeyboardInterrupt, "^$"),
        ("try: train(config())\nexcept BaseException: raise KeyboardInterrupt", KeyboardInterrupt, "^$"),
        ("config(name=3)", ConfigError, "log_path"),
        ("pass", ConfigError, "script.py ended and called none of train"),
        ("sys.exit(4)", ConfigError, "script.py ended with exit code 4 and called none of train"),
    ],
)
def test_an_error_of_the_script_is_raised_as_it_is(script, ending, error, message):
    with pytest.raises(error, match=message):
        find_config(script(ending))


def test_a_child_of_the_script_refuses_to_train(script, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "child.py").write_text(BEGINNING + "train(config('child'))")
    path = script("print(subprocess.run([sys.executable, 'child.py']).returncode)\ntrain(config())")
    assert find_config(path).config.log_path == "run"
    told = capfd.readouterr()
    assert told.out == "1\n" and f"ConfigError: {LOOK} is set in the environment" in told.err
    assert not (tmp_path / "child").exists()


@pytest.mark.parametrize("value", ["1", "", "anything"])
def test_a_stray_variable_is_an_error_and_not_a_silent_end(make_config, monkeypatch, value):
    monkeypatch.setenv(LOOK, value)
    config = make_config()
    for call in (lambda: train(config), lambda: evaluate(config), lambda: compare(config, ["base"])):
        with pytest.raises(ConfigError, match="so nothing is trained or evaluated"):
            call()
    for work in (train_async(config), evaluate_async(config), compare_async(config, ["base"])):
        with pytest.raises(ConfigError, match="so nothing is trained or evaluated"):
            asyncio.run(work)


def test_a_stray_variable_does_not_keep_check_from_looking(script, monkeypatch):
    monkeypatch.setenv(LOOK, "stray")
    assert find_config(script("train(config())")).config.tutor_model_name == "a"
    assert os.environ[LOOK] == "stray"


def test_a_script_that_clears_its_environment_does_not_train(script, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert find_config(script("import os\nos.environ.clear()\ntrain(config())")).config.log_path == "run"


def test_the_switch_is_off_afterwards(make_config):
    with looking():
        pass
    hand_over(make_config(), None, None)
    assert LOOK not in os.environ


def test_no_function_of_the_package_is_replaced(script):
    path = script("import socratic_distill\nassert train.__module__ == 'socratic_distill.training.trainer'\n")
    with pytest.raises(ConfigError, match="called none"):
        find_config(path)
    assert socratic_distill.train is train
