"""PedagogicalRL's reward on the tiny model: examples/pedagogical_rl.py, with and without vetoes and distillation.

    python tests/benchmarks/pedagogical.py [--repeats 3] [--steps 16] [--docs]

Prints a table, with `--docs` also into docs/guides/rewards.md. Each run is measured on the 128 held-out problems.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

# As in the quickstart; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from tables import publish, table

from pedagogical_rl import make_config  # pyright: ignore[reportMissingImports]
from socratic_distill import Evaluation, SocraticConfig, evaluate, load_seeds, open_service, train
from socratic_distill.local.tiny import HELDOUT_SEEDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "guides" / "rewards.md"
TARGET = "bench-pedagogical"
ALONE = {
    "eval_every": None, "eval_seeds": 0, "write_report": False, "display": "off",
    "lora_targets": ("attention", "mlp", "unembed"),
}  # fmt: skip
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hard veto": ({"veto": "hard"}, {}),
    "soft veto": ({"veto": "soft"}, {}),
    "hard veto and distillation": ({"veto": "hard", "kl": 1.0}, {}),
    "solve rate alone, no veto": ({}, {"rewards": [{"kind": "solve_rate"}]}),
    "distillation alone": ({"kl": 1.0}, {"rewards": ()}),
}
SHOWN = ("solved/untold", "solved", "first_reply/tells", "first_reply/asks", "solve_rate/after")


def do_run(steps: int, seed: int, given: dict[str, Any], changes: dict[str, Any]) -> tuple[Evaluation, Evaluation]:
    """A run, measured before and after."""
    with tempfile.TemporaryDirectory() as directory:
        config = make_config(steps, directory, seed=seed, **given)
        config = SocraticConfig(**(config.model_dump() | ALONE | changes))
        service = open_service(config)
        clients = {"service_client": service.client, "rest_client": service.rest}
        heldout = load_seeds(HELDOUT_SEEDS)
        train(config, **clients)
        before = evaluate(config, "base", seeds=heldout, **clients)
        return before, evaluate(config, seeds=heldout, **clients)


def row(name: str, runs: Sequence[Evaluation]) -> list[str]:
    """Means over runs; of the first measure also the interval of each run."""
    cells = [f"{mean(run.measures[measure].value or 0.0 for run in runs):.0%}" for measure in SHOWN]
    intervals = [run.measures[SHOWN[0]] for run in runs]
    each = ", ".join(f"{one.value:.0%} [{one.low:.0%}, {one.high:.0%}]" for one in intervals)
    return [name, *cells, each]


def compare(steps: int, repeats: int) -> str:
    """The table."""
    rows, start = [], None
    for name, (given, changes) in RUNS.items():
        runs = [do_run(steps, repeat, given, changes) for repeat in range(repeats)]
        start = start or row("before training", [before for before, _ in runs])
        rows.append(row(name, [after for _, after in runs]))
        print(" | ".join(rows[-1]), flush=True)
    assert start is not None
    heads = ["reward", "solved, untold", "solved", "tells", "asks", "solves alone", "solved, untold: each run"]
    return table(heads, [start, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, with seeds 0, 1, …")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/guides/rewards.md")
    given = parser.parse_args()
    publish("pedagogical", compare(given.steps, given.repeats), given.docs, TARGET, DOCUMENT)


if __name__ == "__main__":
    main()
