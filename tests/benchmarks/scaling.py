"""The figures of docs/scaling.md: the client's own overhead, a projection of long runs, and what a run costs.

    python tests/benchmarks/scaling.py [--docs] [--only TABLE]
    python tests/benchmarks/scaling.py run GROUPS DIALOGUES TURNS STEPS STALENESS

The first form measures every case in a process of its own and prints the tables, with `--docs` also into the page; the
second plays one case on the virtual service, and prints it as JSON. Virtual seconds, tokens and costs are the same on
every machine; processor seconds and memory are those of the machine at hand.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scale import ForgetfulService
from tables import publish, table
from workload import write_seeds

from socratic_distill import (
    CostEstimate,
    SocraticConfig,
    build_socratic_config,
    estimate_cost,
    load_evaluations,
    train_async,
)
from socratic_distill.config.catalogue import catalogue
from socratic_distill.testing import FakeRestClient, run_virtual

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"
LONG = 1000  # steps of the runs that are projected
# groups, dialogues a group, tutor turns, steps: as `scale.py` measures them
OVERHEAD = ((25, 4, 4, 2), (250, 4, 4, 2), (2500, 4, 4, 1))
# groups, dialogues a group, tutor turns, steps, max_staleness
PROJECTED = (
    (16, 4, 4, 20, 0),
    (16, 4, 4, 20, 3),
    (64, 4, 4, 10, 0),
    (64, 4, 4, 10, 3),
    (250, 4, 4, 5, 0),
    (250, 4, 4, 5, 3),
)
# A run of LONG steps that is played in full, to see what the projection from its first ones is worth.
WHOLE = (4, 2, 2, LONG, 0)
SHORT = 20
# A run whose averages are taken, and others that are estimated from them.
LEARNED_FROM = (6, 4, 4, 4, 0)
ESTIMATED: tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...] = (
    ("the same with other random numbers", (6, 4, 4, 4, 0), {"seed": 7}),
    ("9 turns instead of 4, 8 steps", (6, 4, 9, 8, 0), {}),
    ("2 turns, 12 groups instead of 6", (12, 4, 2, 4, 0), {}),
    ("8 dialogues a group instead of 4", (6, 8, 4, 4, 0), {}),
    ("1 dialogue a group", (6, 1, 4, 4, 0), {}),
    ("max_staleness=2", (6, 4, 4, 8, 2), {}),
    ("temperature 0.7, the tutor scored too", (6, 4, 4, 4, 0), {"temperature": 0.7}),
    ("evaluations on 4 seeds every 2 steps", (6, 4, 4, 4, 0), {"eval_every": 2, "eval_seeds": 4}),
)
# Whose prices the toy models of the virtual service stand for.
MODELS = {
    "tutor": "Qwen/Qwen3.5-9B",
    "student": "Qwen/Qwen3.6-35B-A3B",
    "teacher": "Qwen/Qwen3.5-397B-A17B",
}


class Timed(ForgetfulService):
    """Remembers when optimizer steps ended, before its ledger is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def submit(self, call: str, action: Any, **arguments: Any) -> Any:
        answer = super().submit(call, action, **arguments)
        if call == "optim_step":
            self.ends.append(self.ledger[-1].ended)
        return answer


def make_config(directory: Path, name: str, shape: Sequence[int], **changes: Any) -> SocraticConfig:
    """A run of groups × dialogues × turns, steps and staleness, in money of the models that the toys stand for."""
    groups, dialogues, turns, steps, staleness = shape
    fields: dict[str, Any] = dict(
        tutor_model_name="tutor", student_model_name="student", teacher_model_name="teacher", learning_rate=0.1,
        max_tokens=512, log_path=directory / name, seeds_file=write_seeds(directory, max(64, groups)),
        groups_per_batch=groups, num_envs=dialogues, max_turns=turns, max_steps=steps, max_staleness=staleness,
        max_concurrent_dialogues=groups * dialogues * (1 + staleness), display="off", write_report=False,
        prices={role: price_of(model) for role, model in MODELS.items()},
    )  # fmt: skip
    return build_socratic_config(**(fields | changes))


def timed_run(config: SocraticConfig) -> dict[str, Any]:
    """A run on the virtual service: seconds at which its steps ended, whole seconds, and its rows' cost."""

    async def main() -> tuple[list[float], float]:
        service = Timed()
        await train_async(config, service_client=service, rest_client=FakeRestClient(service))
        return service.ends, asyncio.get_running_loop().time()

    ends, seconds = run_virtual(main())
    rows = [json.loads(line) for line in (Path(config.log_path) / "metrics.jsonl").read_text().splitlines()]
    usd = sum(row["cost/usd"] for row in rows) + sum(one.cost_usd or 0.0 for one in load_evaluations(config.log_path))
    return {"ends": ends, "seconds": seconds, "usd": usd}


def play(*shape: int) -> dict[str, Any]:
    """One case."""
    with tempfile.TemporaryDirectory() as name:
        return timed_run(make_config(Path(name), "run", shape))


def price_of(model: str) -> dict[str, float | None]:
    known = catalogue().price(model)
    assert known is not None, f"the price list lacks {model}"
    return known.price.model_dump()


def projected(found: dict[str, Any], steps: int) -> float:
    """Seconds of a run of LONG steps, from one of `steps`: its own, and as many more of its steady ones."""
    ends = found["ends"]
    return found["seconds"] + (LONG - steps) * (ends[-1] - ends[0]) / (steps - 1)


def in_process(script: str, case: Iterable[int]) -> dict[str, Any]:
    """A case, measured in a fresh process."""
    command = [sys.executable, str(Path(__file__).with_name(script)), "run", *map(str, case)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(script, *case, file=sys.stderr, flush=True)
    return found


def overhead() -> str:
    rows = []
    for groups, dialogues, turns, steps in OVERHEAD:
        found, count = in_process("scale.py", (groups, dialogues, turns, steps)), groups * dialogues
        requests = count * (2 * turns + 1) + groups
        cpu = found["cpu"] * count / 1000
        rows.append(
            [
                f"{count:,}",
                f"{requests:,}",
                f"{cpu:.2f}",
                f"{found['cpu']:.1f}",
                f"{1e6 * cpu / requests:.0f}",
                f"{found['mib']:.0f}",
                f"{found['kib_per_dialogue']:.0f}",
            ]
        )
    heads = ["dialogues at once", "requests a step", "own CPU s a step", "ms a dialogue", "µs a request"]
    return table([*heads, "peak MiB over the start", "KiB a dialogue"], rows)


def projection() -> str:
    rows = []
    for groups, dialogues, turns, steps, staleness in PROJECTED:
        found = in_process("scaling.py", (groups, dialogues, turns, steps, staleness))
        ends = found["ends"]
        rows.append(
            [
                f"{groups} × {dialogues}, max_staleness={staleness}",
                f"{(ends[-1] - ends[0]) / (steps - 1):.1f}",
                f"{projected(found, steps) / 3600:.1f}",
                f"{found['usd'] / steps * LONG:,.0f}",
            ]
        )
    return table(["groups × dialogues", "s a step", f"hours for {LONG:,} steps", "USD"], rows)


def check() -> str:
    """How far a projection from a few steps is from a run that is played in full."""
    *shape, steps, staleness = WHOLE
    whole = in_process("scaling.py", WHOLE)
    short = in_process("scaling.py", (*shape, SHORT, staleness))
    rows = [
        [f"{steps:,} steps, played in full", f"{whole['seconds'] / 3600:.3f}", f"{whole['usd']:.3f}"],
        [f"projected from {SHORT}", f"{projected(short, SHORT) / 3600:.3f}", f"{short['usd'] / SHORT * LONG:.3f}"],
    ]
    return table([f"{shape[0]} × {shape[1]} dialogues of {shape[2]} turns", "hours", "USD"], rows)


def costs() -> str:
    """The estimate of the guide's run, by part and model, without a run to learn from."""
    found = guide(100)
    rows = []
    for part in dict.fromkeys(line.part for line in found.lines):
        for role in MODELS:
            lines = [line for line in found.lines if (line.part, line.role) == (part, role)]
            if lines:
                tokens = sum(line.tokens for line in lines) / 1e6
                rows.append([f"{part}, {role}", f"{tokens:.1f}", f"{sum(line.usd or 0.0 for line in lines):.2f}"])
    rows.append(["together", f"{sum(line.tokens for line in found.lines) / 1e6:.1f}", f"{found.usd:.2f}"])
    return table(["what for", "million tokens", "USD"], rows)


def accuracy() -> str:
    """Estimates over what runs came to, from the averages of another run and from defaults."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        past = make_config(directory, "past", LEARNED_FROM)
        timed_run(past)
        for told, shape, changes in ESTIMATED:
            config = make_config(directory, told, shape, **changes)
            found = estimate_cost(config, past=past.log_path, allow_files=True).usd
            blind = estimate_cost(config).usd
            usd = timed_run(config)["usd"]
            rows.append([told, *(f"{(estimate or 0.0) / usd - 1:+.1%}" for estimate in (found, blind))])
    return table(["a run", "with another run's averages", "from defaults"], rows)


def guide(steps: int) -> CostEstimate:
    return estimate_cost(
        build_socratic_config(
            tutor_model_name="Qwen3.5-9B",
            student_model_name="Qwen3.6-35B-A3B",
            teacher_model_name="Qwen3.5-397B-A17B",
            learning_rate=1e-4,
            max_tokens=512,
            log_path="never-written",
            groups_per_batch=16,
            num_envs=4,
            max_turns=6,
            max_steps=steps,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/scaling.md")
    parser.add_argument("--only", metavar="TABLE", help="one table alone: costs, accuracy, check, projection, overhead")
    one = parser.add_subparsers(dest="command").add_parser("run", help="play one case in this process")
    for name in ("groups", "dialogues", "turns", "steps", "staleness"):
        one.add_argument(name, type=int)
    given = parser.parse_args()
    if given.command == "run":
        print(json.dumps(play(given.groups, given.dialogues, given.turns, given.steps, given.staleness)))
        return
    for measure in (costs, accuracy, check, projection, overhead):
        if given.only in (None, measure.__name__):
            publish(measure.__name__, measure(), given.docs, "bench-scaling", DOCUMENT)


if __name__ == "__main__":
    main()
