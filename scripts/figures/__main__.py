"""Makes the figures of the documentation from real runs of the packaged tiny model.

    python scripts/figures [--runs runs/figures] [--out docs/figures]

It trains four short runs, or uses those that are complete in `--runs`, and writes curves, quality against cost, the
data flow, and pictures of the quickstart's report. Needs matplotlib, playwright and Chromium, and some five minutes on
two idle cores.
"""

import argparse
import os
from pathlib import Path

# For a model this small, starting threads costs more than computing. Must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import flow
import pictures
import plots
import runs

from socratic_distill import write_report

ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "figures", help="directory of the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures", help="where the figures go")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    trained = [(run.label, runs.make(run, arguments.runs)) for run in runs.COMPARED]
    _, quickstart = trained[0]
    # Written anew: the page may have changed since the run ended.
    report = write_report(quickstart)
    written = [
        *flow.write(arguments.out),
        *plots.write_curves(quickstart, arguments.out),
        *plots.write_costs(trained, arguments.out),
        *pictures.write(report, arguments.out),
    ]
    for path in written:
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
