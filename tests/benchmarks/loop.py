"""Our trainer against tinker-cookbook's on-policy distillation, on the same virtual service and workload.

    python tests/benchmarks/loop.py [--steps 20] [--repeats 3] [--cookbook-python PYTHON] [--docs]
    python tests/benchmarks/loop.py run ours --staleness 1 --steps 20
    python tests/benchmarks/loop.py run cookbook --no-last-answer

The first form runs every contender in a process of its own and prints tables of ratios, with `--docs` also into
docs/performance.md; the others run one of them, in this process, and print its figures as JSON. PYTHON is an
interpreter with this package, tinker-cookbook 0.5.8 and `requirements.txt`. What the workload is, and what is measured,
is in `workload.py`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import critical_path
from tables import publish, table
from workload import ROLES, Figures, MeteredService, make_config, measure

from socratic_distill import train_async
from socratic_distill.testing import FakeRestClient, Latency, VirtualServiceClient, run_virtual

# The cookbook comes first, with and without the student's answer to the last turn, as what the others are set against.
CONTENDERS = (
    ("cookbook",),
    ("cookbook", "--no-last-answer"),
    ("ours", "--staleness", "0"),
    ("ours", "--staleness", "1"),
    ("ours", "--staleness", "3"),
)
_REPEATS = 5
_BUILD = """socratic_distill.build_socratic_config(
    tutor_model_name="tutor", student_model_name="student", teacher_model_name="teacher", learning_rate=0.1,
    max_tokens=512, log_path="run")"""
_COOKBOOK = "import tinker_cookbook.distillation.train_on_policy"
# What is run before the clock starts, and what is timed.
STARTS = {
    "import socratic_distill": ("", "import socratic_distill"),
    "import tinker": ("", "import tinker"),
    "build_socratic_config(…) after it": ("import socratic_distill", _BUILD),
    _COOKBOOK: ("", _COOKBOOK),
}
_TIMED = """
import time
{before}
wall, cpu = time.perf_counter(), time.process_time()
{timed}
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def run_one(contender: str, steps: int, staleness: int, answers_last: bool) -> Figures:
    """One contender, in this process."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if contender == "cookbook":
            from cookbook import train

            title = "cookbook" if answers_last else "cookbook, no last answer"
            return measure(title, steps, partial(train, directory=directory, steps=steps, answers_last=answers_last))

        config = make_config(directory, steps, max_staleness=staleness)

        async def train_ours(service: MeteredService) -> None:
            await train_async(config, service_client=service, rest_client=FakeRestClient(service))

        return measure(f"ours, max_staleness={staleness}", steps, train_ours)


def run_all(steps: int, repeats: int, cookbook_python: str) -> list[dict[str, Any]]:
    """Every contender `repeats` times, each in a fresh process; gives its run with the median CPU time.

    They take turns, since a machine may be slower at one time than at another.
    """
    runs: list[list[dict[str, Any]]] = [[] for _ in CONTENDERS]
    for number in range(repeats):
        for contender, done in zip(CONTENDERS, runs, strict=True):
            print(f"round {number + 1} of {repeats}:", *contender, file=sys.stderr, flush=True)
            python = cookbook_python if contender[0] == "cookbook" else sys.executable
            done.append(json.loads(_output([python, __file__, "run", *contender, "--steps", str(steps)])))
            assert done[-1]["traffic"] == done[0]["traffic"], f"{contender} did not repeat itself"
    return [sorted(done, key=_cpu)[repeats // 2] for done in runs]


def time_starts(cookbook_python: str) -> dict[str, tuple[float, float]]:
    """Wall and processor seconds of imports and start-up, the median of fresh interpreters."""
    times = {}
    for name, (before, timed) in STARTS.items():
        python = cookbook_python if name == _COOKBOOK else sys.executable
        script = _TIMED.format(before=before, timed=timed)
        runs = [map(float, _output([python, "-c", script]).split()) for _ in range(_REPEATS)]
        wall, cpu = zip(*runs, strict=True)
        times[name] = (median(wall), median(cpu))
    return times


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def bounds(steps: int) -> list[list[str]]:
    """Ours against what the same service would have allowed, by its ledger; seconds a step in the steady state."""
    rows = []
    for staleness in (0, 1, 3):
        with tempfile.TemporaryDirectory() as name:
            config = make_config(Path(name), steps, max_staleness=staleness)

            async def ledger(config: Any = config) -> tuple[Any, Latency]:
                service = VirtualServiceClient(keep_tokens=True)
                await train_async(config, service_client=service, rest_client=FakeRestClient(service))
                return service.ledger, service.latency

            run = run_virtual(ledger())
        observed = critical_path.observed(run[0])
        cycle = critical_path.training_cycle(*run)
        row = [f"ours, max_staleness={staleness}", f"{observed.seconds_a_step:.2f}"]
        if staleness == 0:
            path = critical_path.on_policy(*run)
            row += [f"{path.seconds_a_step:.2f}", f"{observed.total / path.total - 1:+.1%}"]
        else:
            row += ["", ""]
        rows.append([*row, f"{cycle.seconds_a_step:.2f}", f"{observed.seconds_a_step / cycle.seconds_a_step - 1:+.1%}"])
    return rows


def speed_table(results: Sequence[dict[str, Any]]) -> str:
    """Virtual and processor seconds; the ratios are to the first two results."""
    rows, peers = [], results[:2]
    for one in results:
        steady = _ratios(peers, lambda peer, one=one: peer["step_seconds"] / one["step_seconds"])
        whole = _ratios(peers, lambda peer, one=one: peer["seconds"] / one["seconds"])
        cpu = _ratios(peers, lambda peer, one=one: _cpu(one) / _cpu(peer))
        rows.append([one["contender"], f"{one['step_seconds']:.2f}", steady, f"{one['seconds'] / one['steps']:.2f}"])
        rows[-1] += [whole, f"{_cpu(one):.2f}", cpu, f"{one['peak_mib']:.0f}"]
    heads = ["contender", "s/step, steady", "times the steps", "s/step, whole run", "times the steps"]
    return table([*heads, "own CPU s/1,000 dialogues", "ratio", "peak MiB"], rows)


def token_table(results: Sequence[dict[str, Any]]) -> str:
    """Requests and tokens; the ratios are to the first two results."""
    rows, peers = [], results[:2]
    for one in results:
        uncached = _ratios(peers, lambda peer, one=one: _sum(one, "uncached") / _sum(peer, "uncached"))
        rows.append([one["contender"], f"{one['requests']:,}", f"{_sum(one, 'prompt'):,}"])
        rows[-1] += [f"{_sum(one, 'uncached'):,}", uncached]
        rows[-1] += [f"{one['traffic'][role]['uncached']:,}" for role in ROLES]
        rows[-1].append(f"{_sum(one, 'sampled'):,}")
    heads = ["contender", "requests", "prompt tokens", "uncached", "ratio", *(f"of the {role}" for role in ROLES)]
    return table([*heads, "sampled"], rows)


def _ratios(peers: Sequence[dict[str, Any]], ratio: Any) -> str:
    return " / ".join(f"{ratio(peer):.2f}" for peer in peers)


def _cpu(one: dict[str, Any]) -> float:
    return one["cpu"] * 1000 / one["dialogues"]


def _sum(one: dict[str, Any], kind: str) -> int:
    return sum(one["traffic"][role][kind] for role in ROLES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="training steps of each contender")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each contender; the median CPU time counts")
    parser.add_argument("--cookbook-python", default=sys.executable, help="interpreter with tinker-cookbook")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/performance.md")
    one = parser.add_subparsers(dest="command").add_parser("run", help="run one contender in this process")
    one.add_argument("contender", choices=["ours", "cookbook"])
    one.add_argument("--steps", type=int, default=20)
    one.add_argument("--staleness", type=int, default=0, help="max_staleness of ours")
    one.add_argument(
        "--no-last-answer", action="store_true", help="the cookbook leaves out the answer to the last turn"
    )
    given = parser.parse_args()
    if given.command == "run":
        figures = run_one(given.contender, given.steps, given.staleness, not given.no_last_answer)
        print(json.dumps(asdict(figures)))
        return
    results = run_all(given.steps, given.repeats, given.cookbook_python)
    publish("speed", speed_table(results), given.docs)
    publish("tokens", token_table(results), given.docs)
    heads = ["contender", "s/step", "on-policy path", "whole run over it", "training cycle and saves", "over it"]
    publish("bounds", table(heads, bounds(given.steps)), given.docs)
    starts = time_starts(given.cookbook_python)
    rows = [[name, f"{wall:.3f}", f"{cpu:.3f}"] for name, (wall, cpu) in starts.items()]
    publish("starts", table(["start", "wall s", "CPU s"], rows), given.docs)


if __name__ == "__main__":
    main()
