"""Which technique of learning pays: the same run with each of them, by its quality and its cost along the way.

    python tests/benchmarks/learning.py [--repeats 3] [--steps 8] [--only NAME] [--docs]
    python tests/benchmarks/learning.py --model smollm2 [--repeats 1] [--steps 12] [--docs]

The first form prints three tables, with `--docs` also into docs/learning.md, and draws the figure there; the second one
prints those of few settings on SmolLM2-135M-Instruct. What a run reached is kept in `--runs`, and the run is not
trained again.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As in the quickstart; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The toy is one of the tests.
sys.path.append(str(Path(__file__).parents[2]))

import learning_plot
from learning_costs import Point, Run, add_up
from learning_kept import kept_run, looks, slug
from learning_settings import (
    CONSTANT,
    DEFAULT,
    EXAMPLES,
    SHUFFLED,
    Settings,
    of_smollm2,
    of_tiny,
    of_toy,
    smollm2,
    tiny,
)
from learning_tables import cheapest, cost_table, quality_table, toy_table, usd_curve
from learning_toy import STEPS as TOY_STEPS, learn
from tables import publish

from socratic_distill import Seed, SocraticConfig, compare, load_seeds, open_service, train
from socratic_distill.local.tiny import HELDOUT_SEEDS

ROOT = Path(__file__).parents[2]
DOCUMENT, FIGURES = ROOT / "docs" / "learning.md", ROOT / "docs" / "figures"
TARGET, FIGURE = "bench-learning", "learning-cost"


@dataclass(frozen=True)
class Model:
    """What is trained, and on what it is measured.

    Attributes:
        config: of the default, by the number of steps and the directory.
        settings: what is compared, by the number of steps.
        steps: of a run.
        repeats: runs of each setting.
        heldout: problems that are in no run's seeds.
        heldout_limit: how many of them.
    """

    config: Callable[[int, str], SocraticConfig]
    settings: Callable[[int], Settings]
    steps: int
    repeats: int
    heldout: str | Path
    heldout_limit: int


MODELS = {
    "tiny": Model(tiny, of_tiny, 8, 3, HELDOUT_SEEDS, 64),
    "smollm2": Model(smollm2, of_smollm2, 12, 1, EXAMPLES / "data" / "tutoring_heldout.jsonl", 32),
}


def do_run(
    default: SocraticConfig, changes: Mapping[str, Any], seed: int, heldout: Sequence[Seed], untrained: bool
) -> list[Point]:
    """A run of the default's config with some fields changed; what it had reached and used at each look.

    The default's own config measures every run: with the default's teacher, in dialogues of the default's length.
    """
    steps = default.max_steps
    assert steps is not None
    with tempfile.TemporaryDirectory() as directory:
        measured = SocraticConfig(**(default.model_dump() | {"log_path": directory, "seed": seed}))
        config = SocraticConfig(**{**measured.model_dump(), **changes})
        service = open_service(config)
        clients = {"service_client": service.client, "rest_client": service.rest}
        train(config, **clients)
        rows = [json.loads(line) for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()]
        names = {"base": 0} if untrained else {}
        names |= {str(step) if step < steps else "final": step for step in looks(steps)}
        found = compare(measured, list(names), seeds=heldout, **clients)
    return [
        Point(step, add_up(rows[:step]), {key: measure.value for key, measure in found[name].measures.items()})
        for name, step in names.items()
    ]


def measure(model: str, steps: int, repeats: int, directory: Path, only: Sequence[str]) -> dict[str, list[Run]]:
    """The runs of each setting, one for each seed: first all with seed 0, so that a part of them can be compared."""
    spec = MODELS[model]
    heldout = load_seeds(spec.heldout, seeds_limit=spec.heldout_limit)
    default, settings = spec.config(steps, "never-written"), spec.settings(steps)
    chosen = {name: settings[name] for name in dict.fromkeys((DEFAULT, *only))} if only else settings
    runs: dict[str, list[Run]] = {name: [] for name in chosen}
    for seed in range(repeats):
        start: list[Point] = []
        for name, changes in chosen.items():
            began = time.process_time()
            about = {"steps": steps, "seed": seed, "changes": changes, "heldout": len(heldout)}
            first = name == DEFAULT
            points = kept_run(
                directory / f"{model}-{seed}-{slug(name)}.json",
                about,
                lambda changes=changes, seed=seed, first=first: do_run(default, changes, seed, heldout, first),
            )
            start = points[:1] if first else start  # all begin as the default does
            runs[name].append(points if first else [*start, *points])
            kls = " ".join(f"{point.measures['teacher_kl'] or 0.0:.3f}" for point in runs[name][-1])
            print(f"seed {seed}, {name}: {kls}, {time.process_time() - began:.0f} CPU s", file=sys.stderr, flush=True)
    return runs


def toy(repeats: int, docs: bool) -> None:
    """The toy's table."""
    found = {name: [learn(changes, seed) for seed in range(repeats)] for name, changes in of_toy(TOY_STEPS).items()}
    publish("toy", toy_table(found, DEFAULT), docs, TARGET, DOCUMENT)


def draw(runs: Mapping[str, Sequence[Run]]) -> None:
    """The figure: the default, what was cheapest, and the controls have a colour."""
    curves = {name: usd_curve(one, runs[DEFAULT]) for name, one in runs.items()}
    best = cheapest(runs, DEFAULT, (DEFAULT, CONSTANT, SHUFFLED))
    chosen = (DEFAULT, best, CONSTANT, SHUFFLED)
    labels = ("Quality against cost of each setting", "share of what the default's run costs", "teacher_kl, held out")
    for path in learning_plot.write(FIGURES, FIGURE, curves, chosen, curves[DEFAULT][-1][1], labels):
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--steps", type=int, help="steps of a run (default: 8, of smollm2 12)")
    parser.add_argument("--repeats", type=int, help="runs of each, with seeds 0, 1, … (default: 3, of smollm2 1)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this setting, and the default")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "learning", help="where runs are kept")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/learning.md")
    given = parser.parse_args()
    spec = MODELS[given.model]
    repeats = given.repeats or spec.repeats
    runs = measure(given.model, given.steps or spec.steps, repeats, given.runs, given.only)
    target = TARGET if given.model == "tiny" else f"{TARGET}-{given.model}"
    publish("quality", quality_table(runs, DEFAULT), given.docs, target, DOCUMENT)
    publish("cost", cost_table(runs, DEFAULT), given.docs, target, DOCUMENT)
    if given.model == "tiny" and not given.only:
        toy(repeats, given.docs)
        if given.docs:
            draw(runs)


if __name__ == "__main__":
    main()
