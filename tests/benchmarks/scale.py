"""Memory and processor time by the size of a batch, and by the number of steps, on the virtual service.

    python tests/benchmarks/scale.py [--docs]
    python tests/benchmarks/scale.py run GROUPS DIALOGUES TURNS STEPS

The first form runs every case in a process of its own and prints a table, with `--docs` also into docs/performance.md;
the second one case, as JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tables import publish, table
from workload import MeteredService, write_seeds

from socratic_distill import build_socratic_config, train_async
from socratic_distill.testing import FakeRestClient, run_virtual

# groups, dialogues a group, tutor turns, steps
CASES = (
    (64, 4, 8, 2),
    (256, 4, 2, 2),
    (625, 4, 2, 2),
    (1250, 4, 2, 2),
    (2500, 4, 2, 2),
    (4, 4, 2, 10),
    (4, 4, 2, 100),
)


class ForgetfulService(MeteredService):
    """Its records of calls would grow with the run: they are dropped at every optimizer step."""

    def submit(self, call: str, action: Any, **arguments: Any) -> Any:
        if call == "optim_step":
            self.ledger.clear()
            self.calls.clear()
        return super().submit(call, action, **arguments)


def run_case(groups: int, dialogues: int, turns: int, steps: int) -> dict[str, Any]:
    """One case, in this process: peak memory over what the imports take, and own processor seconds."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        config = build_socratic_config(
            tutor_model_name="tutor",
            student_model_name="student",
            teacher_model_name="teacher",
            learning_rate=0.1,
            max_tokens=512,
            log_path=directory / "run",
            seeds_file=write_seeds(directory, groups),
            groups_per_batch=groups,
            num_envs=dialogues,
            max_turns=turns,
            max_steps=steps,
            max_concurrent_dialogues=groups * dialogues,
            display="off",
        )

        async def train(**changes: Any) -> float:
            service = ForgetfulService()
            began = time.process_time()
            await train_async(
                config.model_copy(update=changes), service_client=service, rest_client=FakeRestClient(service)
            )
            return time.process_time() - began - service.cpu

        # Imports and the like come first, so that they do not count.
        run_virtual(train(groups_per_batch=1, num_envs=1, max_steps=1, log_path=str(directory / "first")))
        before, wall = _peak_mib(), time.perf_counter()
        cpu = run_virtual(train())
        total = groups * dialogues * steps
        return {
            "case": f"{groups} × {dialogues} dialogues × {turns} turns, {steps} steps",
            "dialogues": groups * dialogues,
            "turns": turns,
            "steps": steps,
            "mib": _peak_mib() - before,
            "kib_per_dialogue": (_peak_mib() - before) * 1024 / (groups * dialogues),
            "cpu": cpu * 1000 / total,
            "wall": time.perf_counter() - wall,
        }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/performance.md")
    one = parser.add_subparsers(dest="command").add_parser("run", help="run one case in this process")
    for name in ("groups", "dialogues", "turns", "steps"):
        one.add_argument(name, type=int)
    given = parser.parse_args()
    if given.command == "run":
        print(json.dumps(run_case(given.groups, given.dialogues, given.turns, given.steps)))
        return
    rows = []
    for case in CASES:
        command = [sys.executable, __file__, "run", *map(str, case)]
        result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        rows.append([result["case"], *(f"{result[key]:.1f}" for key in ("mib", "kib_per_dialogue", "cpu", "wall"))])
        print(*rows[-1], sep=", ", file=sys.stderr, flush=True)
    heads = ["a run", "peak MiB over the start", "KiB a dialogue of a step", "own CPU s/1,000 dialogues", "wall s"]
    publish("scale", table(heads, rows), given.docs)


if __name__ == "__main__":
    main()
