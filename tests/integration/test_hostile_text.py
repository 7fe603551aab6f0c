"""Every command and display, on a pipe and on a terminal, where every text of a run steers terminals."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.hostile_text import HOSTILE, is_safe
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import write_rows

from socratic_distill.testing import FakeServiceClient

# Without what no file name, JSON or process can hold.
NAME = HOSTILE.replace("\ud800", "").replace("/", "")
# Run in one process, since the imports take longer than the commands.
SCRIPT = """
import json, sys
from pathlib import Path
from socratic_distill import build_socratic_config, train
from socratic_distill.cli.conversation import chat
from socratic_distill.cli import main
from socratic_distill.errors import RolloutError
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill import run_script
from socratic_distill.testing import FakeServiceClient, Fault

work, hostile = Path(sys.argv[1]), sys.argv[2]
for run in sorted(work.glob("*run*")):
    out = work / f"out {hostile}"
    for arguments in (
        ["check", run], ["chat", run], ["evaluate", run], ["report", run], ["checkpoints", run],
        ["compare", run, "--page", f"{out}.html"], ["compare", run, run, "--sort", hostile],
        ["checkpoints", run, "--json"], ["checkpoints", run, "prune", "--yes"], ["checkpoints", run, "rebuild"],
        ["cost", run], ["export", run, "--trace", f"{out}.json"], ["export", run, "--csv", f"{out}.csv"],
        ["export", run, "--messages", f"{out}.jsonl"], ["export", run, "--dataset", f"{out} {run.name}"],
        ["export", run, "--merge", f"{out} merged"], ["export", hostile], ["--traceback", "cost", hostile],
        ["evaluate", run, "--seeds", hostile], ["report", hostile],
    ):
        try:
            main(list(map(str, arguments)))
        except SystemExit:
            pass
Renderer.visible_text = lambda self, tokens: hostile
answers = iter(["hello", ""])
server = FakeServiceClient(work / "server")
run_script(lambda: chat(work / "run", hostile, service_client=server, read=lambda _: next(answers)))
for display in ("auto", "plain"):
    fields = json.loads((work / "run" / "config.json").read_text())
    fields |= dict(display=display, tutor_model_name=f"m {hostile}", teacher_model_name=f"m {hostile}", eval_every=1,
        eval_seeds=1, student_profile=hostile, seeds_file=str(work / "hostile.jsonl"),
        log_path=str(work / f"{display} {hostile}"))
    for faults in ([], [Fault(call="sample", nth=30, error=ValueError(hostile), times=10**6)]):
        service = FakeServiceClient(faults=faults)
        run_script(lambda: train(build_socratic_config(**fields), service_client=service))
        fields["log_path"] += "2"
"""


def poisoned(value):
    """A JSON value whose strings are all hostile."""
    if isinstance(value, dict):
        return {key + HOSTILE * (key == "teacher_kl"): poisoned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    return value + HOSTILE if isinstance(value, str) else value


@pytest.fixture
def work(make_config, tmp_path):
    """A directory with a run, and copies of it with a hostile name, or hostile files."""
    config = make_config(max_steps=3, eval_every=2, eval_seeds=1)
    server = FakeServiceClient(tmp_path / "server")
    train_on_fake(server, config)
    shutil.copytree(tmp_path / "run", tmp_path / f"named run {NAME}")
    for name in ("run of hostile files", "run of hostile files but its config"):
        shutil.copytree(tmp_path / "run", tmp_path / name)
        for path in (tmp_path / name).rglob("*.json*"):
            if path.is_file() and not (path.name == "config.json" and "but" in name):
                lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
                path.write_text("".join(json.dumps(poisoned(json.loads(line))) + "\n" for line in lines))
    seeds = [{"id": f"{i} {HOSTILE}", "question": f"{i} {HOSTILE}", "expected_answer": str(i)} for i in range(1, 8)]
    write_rows(tmp_path / "hostile.jsonl", *seeds)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def environment(work):
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    hostile = {"TINKER_API_KEY": NAME, "TINKER_BASE_URL": NAME, "WANDB_MODE": NAME}
    return {**kept, **hostile, "HOME": str(work), "TERM": "xterm-256color", "COLUMNS": "200", "PYTHONUTF8": "1"}


def on_a_pipe(work: Path) -> str:
    """Standard output and error."""
    command = [sys.executable, "script.py", str(work), NAME]
    done = subprocess.run(command, cwd=work, env=environment(work), input=b"\n" * 99, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return (done.stdout + done.stderr).decode()


def on_a_terminal(work: Path) -> str:
    """What a terminal is sent."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(work)
        os.execve(sys.executable, [sys.executable, "script.py", str(work), NAME], environment(work))
    os.write(terminal, b"\n" * 99)
    sent = b""
    while select.select([terminal], [], [], 300)[0]:
        try:
            block = os.read(terminal, 65536)
        except OSError:
            break
        if not block:
            break
        sent += block
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, sent.decode()[-2000:]
    return sent.decode()


# Styles, and the live view's moves: no title, no clipboard, no clearing of the screen.
OURS = re.compile("\x1b\\[[0-9;]*m|\x1b\\[\\?25[lh]|\x1b\\[[0-9]*A|\x1b\\[2K|\r")


# One of the two by default, that which has the live view too: all commands run in either.
@pytest.mark.parametrize("place", [pytest.param(on_a_pipe, marks=pytest.mark.slow), on_a_terminal])
def test_no_command_and_no_display_lets_a_control_sequence_through(work, place):
    told = place(work)
    lines = told.splitlines(keepends=False) if place is on_a_pipe else OURS.sub("", told).split("\n")
    assert len(lines) > 100 and "\\x1b]52" in told, "the hostile texts were shown"
    assert [line for line in lines if not is_safe(line)] == []
