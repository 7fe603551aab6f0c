"""Learning rates at several LoRA ranks on the quickstart's run: the same start, seeds and steps.

    python tests/benchmarks/settings.py [--repeats 1] [--steps 8] [--docs]

Prints a table, with `--docs` also into docs/settings.md.
"""

import argparse
from pathlib import Path

# First: it sets the number of threads, before torch is imported.
from objectives import do_run
from tables import publish, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
TARGET = "bench-settings"
RANKS = (4, 32, 128)
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)


def compare_rates(steps: int, repeats: int) -> str:
    """The table: a row for each learning rate, two columns for each rank."""
    rows = []
    for rate in LEARNING_RATES:
        cells = [f"{rate:g}"]
        for rank in RANKS:
            runs = [do_run(steps, repeat, rate, {"lora_rank": rank}) for repeat in range(repeats)]
            for name, shape in (("teacher_kl", ".3f"), ("first_reply/tells", ".0%")):
                values = [value for run in runs if (value := run.after.value(name)) is not None]
                cells.append(format(sum(values) / len(values), shape) if values else "none")
        rows.append(cells)
        print(" | ".join(cells), flush=True)
    heads = [head for rank in RANKS for head in (f"rank {rank}: teacher_kl", "tells")]
    return table(["learning rate", *heads], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1, help="runs of each, with seeds 0, 1, …")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/settings.md")
    given = parser.parse_args()
    publish("learning rates", compare_rates(given.steps, given.repeats), given.docs, TARGET, DOCUMENT)


if __name__ == "__main__":
    main()
