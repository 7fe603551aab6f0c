"""Help texts: each command has examples, and each example is a valid command line. And what the start costs."""

import argparse
import shlex
import subprocess
import sys

import pytest

from socratic_distill import cli
from socratic_distill.cli import main


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (one for one in cli._parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(action.choices)


def examples() -> list[str]:
    texts = [parser.epilog or "" for parser in commands().values()]
    return [line.strip() for text in texts for line in text.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize("name", commands())
def test_each_command_has_two_to_four_examples_of_itself(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out.partition("examples:\n")[2]
    shown = [line for line in text.splitlines() if line.startswith(f"  socratic-distill {name}")]
    assert 2 <= len(shown) <= 4, "an example is missing, or was wrapped"


@pytest.mark.parametrize("example", examples())
def test_each_example_parses(example):
    words = shlex.split(example.partition(" > ")[0])
    assert words[0] == "socratic-distill"
    assert callable(cli._parser().parse_args(words[1:]).command)


def test_version_is_printed_alone(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("socratic-distill ")


def test_the_command_line_starts_without_heavy_modules():
    heavy = ("torch", "transformers", "tinker", "pydantic", "numpy", "rich", "pandas", "importlib.metadata")
    script = (
        "import sys\nfrom socratic_distill import cli\ntry:\n cli.main(['--help'])\nexcept SystemExit:\n pass\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
