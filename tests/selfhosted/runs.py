"""Small runs on the server, in this process or in one of their own, and how two are compared."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.selfhosted.hosting import Host

from socratic_distill.training.server_facts import REMEMBERED

PATIENCE = 900.0
# What a run's own history puts into its rows.
_HISTORY = ("time/", "recovery/", "cost/")


def small_fields(host: Host, seeds: Path) -> dict[str, Any]:
    """A config of four dialogues a batch, one turn of one length each, so that the server compiles little."""
    return dict(
        tutor_model_name=host.model, student_model_name=host.model, teacher_model_name=host.model, base_url=host.url,
        learning_rate=1e-2, max_tokens=8, lora_rank=8, seeds_file=str(seeds), groups_per_batch=2, num_envs=2,
        max_turns=1, max_steps=6, save_every=2, display="off", write_report=False,
    )  # fmt: skip


def know_server_as(url: str, whole: Path, log_path: Path) -> None:
    """Lets a run know what another one found out about its only server, under another address of the server."""
    (facts,) = json.loads((whole / REMEMBERED).read_text()).values()
    log_path.mkdir(parents=True)
    (log_path / REMEMBERED).write_text(json.dumps({url: facts}))


def train_command(fields: dict[str, Any]) -> list[str]:
    """The command that trains by a config in a process of its own."""
    script = "import json, sys, socratic_distill as s; s.train(s.build_socratic_config(**json.loads(sys.argv[1])))"
    return [sys.executable, "-c", script, json.dumps(fields)]


class Trainer:
    """A run in a process of its own."""

    def __init__(self, fields: dict[str, Any], log_path: Path) -> None:
        self.log_path = log_path
        command = train_command({**fields, "log_path": str(log_path)})
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not is_so():
            assert self._process.poll() is None, f"it ended before {what}:\n{self._output()}"
            assert time.monotonic() < until, f"no {what} in {PATIENCE:.0f} s"
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def end(self) -> tuple[int, str]:
        """Its exit code and output."""
        output = self._output()
        return self._process.returncode, output

    def _output(self) -> str:
        try:
            return self._process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.communicate()[0]


def finished_rows(log_path: Path, name: str = "metrics") -> list[dict[str, Any]]:
    """Whole rows of a file of the run."""
    path = log_path / f"{name}.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def dialogues_played(log_path: Path) -> list[tuple[int, str, int]]:
    """Step, seed and number of each dialogue, in order."""
    return [(row["step"], row["seed"], row["number"]) for row in finished_rows(log_path, "dialogues")]


def assert_alike(log_path: Path, other: Path, leeway: float) -> None:
    """The same dialogues in the same order, and metrics that are equal but for the server's rounding, the leeway."""
    assert dialogues_played(log_path) == dialogues_played(other)
    for ours, theirs in zip(finished_rows(log_path), finished_rows(other), strict=True):
        differing = {
            key: (ours.get(key), theirs.get(key))
            for key in ours.keys() | theirs.keys()
            if not _is_near(key, ours, theirs, leeway)
        }
        assert not differing, f"step {ours['step']}"


def _is_near(key: str, ours: dict[str, Any], theirs: dict[str, Any], leeway: float) -> bool:
    one, other = ours.get(key), theirs.get(key)
    if key.startswith(_HISTORY) or one == other:
        return True
    return (
        isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=leeway, abs_tol=leeway)
    )
