"""A script with the default environment on a machine whose cores are busy with something else.

With a thread for every core, torch waits at each small operation until the busy cores let all threads go on: steps of
the tiny model were 4 to 30 times slower. So the engine itself computes small models with one thread.
"""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS = 2
# As in the docs: nothing is said about threads.
SCRIPT = """
import sys
from socratic_distill import build_socratic_config, train
from socratic_distill.local.tiny import TRAIN_SEEDS

config = build_socratic_config(
    tutor_model_name="tiny", student_model_name="tiny", teacher_model_name="tiny", learning_rate=3e-3, max_tokens=40,
    log_path=sys.argv[1], base_url="local", seeds_file=TRAIN_SEEDS, groups_per_batch=4, num_envs=4, max_turns=2,
    max_steps=int(sys.argv[2]),
)
train(config)
"""


@contextmanager
def busy_cores():
    """While every core has another process that computes."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds_a_step(log_path, **environment: str) -> float:
    """The fastest step of a run in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", SCRIPT, str(log_path), str(STEPS)]
    subprocess.run(command, env=inherited | environment, check=True, capture_output=True, timeout=600)
    rows = [json.loads(line) for line in (log_path / "metrics.jsonl").read_text().splitlines()]
    return min(row["time/step"] for row in rows if "time/step" in row)


def test_default_is_as_fast_as_one_thread_while_all_cores_are_busy(tmp_path):
    with busy_cores():
        # In turns, so that a slow minute of the machine meets both.
        default, single = [], []
        for turn in range(2):
            default.append(seconds_a_step(tmp_path / f"default{turn}"))
            single.append(seconds_a_step(tmp_path / f"single{turn}", OMP_NUM_THREADS="1"))
    print(f"seconds a step, default {min(default):.2f}, one thread {min(single):.2f}")
    assert min(default) <= 1.2 * min(single)
