"""The seconds of a run's steps by phase, as the page draws them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from socratic_distill.files.rows import number
from socratic_distill.outputs.report.curves import pools_of, rounded
from socratic_distill.outputs.report.reading import Row

# In the order of a step, with what people call them.
PHASES = {
    "opening": "student's first turn",
    "student": "student's other turns",
    "tutor": "tutor's turns",
    "teacher": "teacher's scores",
    "reward": "rewards by a model",
    "update": "training update",
    "weights": "saving weights",
    "waiting": "nothing under way",
}
# As many bars as a chart of half a page's width can show apart.
MOST_BARS = 60


def phases(metrics: Mapping[int, Row]) -> dict[str, Any]:
    """What the steps of a run waited for.

    Returns:
        `from` and `to`, first and last step of each bar, `[N]`; `waited`, by phase, the mean seconds that a step of the
        bar waited for it, `[N]`, which add up to the step's seconds; `rows`, the phases of the whole run: `name`,
        `waited` and `under_way`, both in seconds. Phases that took no time, and steps without times, are left out.
    """
    timed = {step: waited for step, row in metrics.items() if (waited := _waited(row))}
    bars = pools_of(sorted(timed), MOST_BARS)
    totals = {phase: sum(waited[phase] for waited in timed.values()) for phase in PHASES}
    under_way = {phase: sum(_seconds(metrics[step].get(f"time/{phase}")) for step in timed) for phase in PHASES}
    shown = [phase for phase in PHASES if totals[phase] > 0 or under_way[phase] > 0]
    return {
        "from": [bar[0] for bar in bars],
        "to": [bar[-1] for bar in bars],
        "waited": {phase: [rounded(_mean([timed[step][phase] for step in bar])) for bar in bars] for phase in shown},
        "rows": [
            {
                "name": phase,
                "label": PHASES[phase],
                "waited": rounded(totals[phase]),
                "under_way": rounded(under_way[phase]),
            }
            for phase in shown
        ],
    }


def _waited(row: Row) -> dict[str, float]:
    """A step's seconds by the phase that it waited for; empty if the row does not tell."""
    whole = _seconds(row.get("time/step"))
    shares = {phase: min(_seconds(row.get(f"time/critical/{phase}")), 1.0) for phase in PHASES}
    return {phase: whole * share for phase, share in shares.items()} if whole and any(shares.values()) else {}


def _seconds(value: object) -> float:
    # A year is more than any step takes: larger values are not ours, and their sums may not be finite.
    return min(max(number(value) or 0.0, 0.0), 3.2e7)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
