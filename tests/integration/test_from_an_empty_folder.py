"""A user's first hour on the command line, in an empty folder, on the packaged tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

LIMIT = 600.0  # seconds for the whole chain; on two idle cores it takes about 100


def command(folder: Path, *arguments: str) -> str:
    """What a command prints on standard output; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "socratic_distill", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def rows(run: Path) -> list[int]:
    metrics = run / "metrics.jsonl"
    return [json.loads(line)["step"] for line in metrics.read_text().splitlines()] if metrics.exists() else []


def train_until_the_second_step_and_interrupt(folder: Path) -> int:
    """Presses Ctrl-C once two steps are done; gives the exit code."""
    process = subprocess.Popen(
        [sys.executable, "-m", "socratic_distill", "train", "config.yaml"],
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ends = time.monotonic() + LIMIT
    while len(rows(folder / "runs" / "first")) < 2 and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process.wait(timeout=LIMIT)


@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT)
def test_init_train_interrupt_train_runs_compare_report_export(tmp_path):
    folder = tmp_path / "tutor"
    folder.mkdir()
    assert "config.yaml" in command(folder, "init")
    assert train_until_the_second_step_and_interrupt(folder) == 130
    done = rows(folder / "runs" / "first")
    assert 2 <= len(done) < 8
    assert "completed, 8 steps" in command(folder, "train", "config.yaml")
    assert rows(folder / "runs" / "first") == list(range(8)), "it went on where it was interrupted"

    command(folder, "train", "config.yaml", "log_path=runs/second", "max_steps=2", "objective=jensen_shannon")
    overview = json.loads(command(folder, "runs", "--json"))
    assert [(Path(run["path"]).name, run["status"]) for run in overview] == [
        ("first", "complete"),
        ("second", "complete"),
    ]
    assert "objective" in command(folder, "compare", "runs/first", "runs/second")
    page = Path(command(folder, "report", "runs/first").strip())
    assert (folder / page).read_text().count("This tutor tells the answer in") >= 1

    command(folder, "export", "runs/first", "--messages", "talks.jsonl", "--not-told")
    assert (folder / "talks.jsonl").read_text().startswith('{"messages"')
    command(folder, "export", "runs/first", "--csv", "metrics.csv")
    command(folder, "export", "runs/first", "--merge", "merged")
    assert (folder / "merged" / "model.safetensors").exists()
