"""Completion scripts: what the shells themselves complete with them."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from socratic_distill.cli import main

LINES = {
    "ev": {"evaluate"},
    "co": {"compare", "completion", "cost"},
    "evaluate --so": {"--solve-samples"},
    "export --dtype bf": {"bfloat16"},
    "checkpoints runs/a pr": {"prune"},
    "completion z": {"zsh"},
}


@pytest.fixture
def script(tmp_path, capsys):
    def write(shell: str) -> str:
        assert main(["completion", shell]) == 0
        path = tmp_path / f"script.{shell}"
        path.write_text(capsys.readouterr().out, encoding="utf-8")
        return str(path)

    return write


def output(*command: str, cwd=None) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=100)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


def in_bash(path: str, line: str) -> set[str]:
    words = ["socratic-distill", *line.split(" ")]
    listed = " ".join(map(shlex.quote, words))
    script = f'source {path}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _socratic_distill; printf "%s\\n"'
    return output("bash", "--norc", "-c", script + ' "${COMPREPLY[@]}"') - {""}


@pytest.mark.parametrize("line", LINES)
def test_bash_completes_commands_options_and_values(script, line):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    assert in_bash(script("bash"), line) == LINES[line]


def test_bash_completes_files_and_the_command_after_an_option(script):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    path = script("bash")
    assert in_bash(path, "report ru") == set() == in_bash(path, "export --merge ru")
    assert "complete -o default -F" in Path(path).read_text(encoding="utf-8")
    assert in_bash(path, "--traceback check --allow-f") == {"--allow-files"}


@pytest.mark.parametrize("line", LINES)
def test_fish_completes_commands_options_and_values(script, tmp_path, line):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    command = f"source {script('fish')}; complete -C 'socratic-distill {line}'"
    assert output("fish", "--no-config", "-c", command, cwd=tmp_path) == LINES[line]


def test_zsh_reads_the_script(script):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    assert output("zsh", "-f", "-n", script("zsh")) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_name_every_command_and_hold_balanced_quotes(script, shell):
    text = Path(script(shell)).read_text(encoding="utf-8")
    assert text.count("'") % 2 == 0
    assert all(name in text for name in ("evaluate", "compare", "allow-code", "traceback", "rebuild"))


def test_another_shell_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "tcsh"])
    assert stopped.value.code == 2 and "invalid choice" in capsys.readouterr().err
