"""What training did to a tutor, in one sentence, and how sure that is. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from socratic_distill.files.rows import number, whole
from socratic_distill.outputs.report.headline import Column
from socratic_distill.outputs.report.reading import RunFiles

TELLS, UNTOLD = "leaks", "solved/untold"
# Of the normal distribution: 95 % lie within.
_Z = 1.959964
# With fewer dialogues the intervals are too narrow: two of two against none of two would pass for a difference.
_FEW = 10


@dataclass(frozen=True)
class Share:
    """A share of dialogues.

    Attributes:
        value: from 0 to 1.
        low: lower end of its 95 % interval; None if all dialogues were on one problem.
        high: its upper end; None in the same case.
        count: number of dialogues.
    """

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Verdict:
    """The first lines of a report.

    Attributes:
        sentence: how often the tutor tells, and how often the student solves the problem untold, before and after.
        caution: which differences may be chance; empty if none may.
        basis: which dialogues were counted, and the intervals.
    """

    sentence: str
    caution: str = ""
    basis: str = ""


def verdict_of(run: RunFiles, columns: Sequence[Column], complete: bool) -> Verdict:
    """The verdict on a run.

    Args:
        run: its files.
        columns: before and after, or one of them, as `headline.columns_of` gives them.
        complete: whether the run is over.
    """
    shares = [[share_of(column.cells.get(name)) for column in columns] for name in (TELLS, UNTOLD)]
    if not any(share for row in shares for share in row):
        return Verdict("There is no dialogue yet that shows what this tutor does.")
    when = [_when(run, column) for column in columns]
    basis = _basis(run, columns, shares)
    if len(columns) == 1 or not any(all(row) for row in shares):
        return Verdict(_one_end(shares, when), basis=basis)
    tells, untold = [(row[0], row[-1]) for row in shares]
    return Verdict(_both_ends(tells, untold, when[0], "" if complete else "So far, "), _caution(tells, untold), basis)


def share_of(cell: object) -> Share | None:
    """A measure as a share of dialogues; None if it is none.

    Its interval is at least as wide as Wilson's for that many dialogues ("Probable Inference, the Law of Succession,
    and Statistical Inference", 1927): the bootstrap's is a single point if all dialogues are alike.

    Args:
        cell: `value`, `low`, `high` and `count` of a measure, as evaluations hold them.
    """
    part = cell if isinstance(cell, Mapping) else {}
    value, low, high = (number(part.get(name)) for name in ("value", "low", "high"))
    count = whole(part.get("count"))
    if value is None or not 0 <= value <= 1 or count is None or count < 1:
        return None
    if low is None or high is None:
        return Share(value, None, None, count)
    centre, half = _wilson(value, count)
    return Share(value, max(0.0, min(low, value, centre - half)), min(1.0, max(high, value, centre + half)), count)


def difference(before: Share, after: Share) -> tuple[float, float] | None:
    """The 95 % interval of `after` minus `before`; None where one of them has none.

    From both intervals, by squares (Newcombe, "Interval Estimation for the Difference between Independent Proportions",
    1998, method 10). It leaves out that both may be on the same problems, and so is rather too wide than too narrow.
    """
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return None
    middle = after.value - before.value
    return (
        middle - math.hypot(after.value - after.low, before.high - before.value),
        middle + math.hypot(after.high - after.value, before.value - before.low),
    )


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Centre and half the width of Wilson's interval."""
    weight = _Z**2 / count
    spread = math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return (share + weight / 2) / (1 + weight), _Z * spread / (1 + weight)


def _both_ends(
    tells: tuple[Share | None, Share | None], untold: tuple[Share | None, Share | None], earlier: str, opening: str
) -> str:
    parts = []
    if (before := tells[0]) and (after := tells[1]):
        parts.append(f"this tutor tells the answer in {_percent(after)} of dialogues ({_percent(before)} {earlier})")
    if (before := untold[0]) and (after := untold[1]):
        then = "before" if parts and earlier.startswith("before") else earlier
        of = "" if parts else " of dialogues"
        parts.append(f"the student solves {_percent(after)}{of} without being told ({_percent(before)} {then})")
    return _sentence(opening + "; ".join(parts))


def _one_end(shares: Sequence[Sequence[Share | None]], when: Sequence[str]) -> str:
    """Where there is nothing to compare with."""
    index = next(i for i in range(len(when)) if any(row[i] for row in shares))
    tells, untold = (row[index] for row in shares)
    parts = [f"this tutor tells the answer in {_percent(tells)} of dialogues"] if tells else []
    if untold:
        parts.append(f"the student solves {_percent(untold)}{'' if parts else ' of dialogues'} without being told")
    return _sentence(f"{when[index]}, {'; '.join(parts)}") + " There is nothing yet to compare this with."


def _caution(tells: tuple[Share | None, Share | None], untold: tuple[Share | None, Share | None]) -> str:
    """Says which differences may be chance."""
    known = [share for share in (*tells, *untold) if share]
    if any(share.count < _FEW for share in known):
        return f"Too few dialogues to judge: {min(share.count for share in known)} on one side. Take {_FEW} or more."
    unsure, unknown = [], []
    for name, (before, after) in (("telling", tells), ("solving untold", untold)):
        if before is None or after is None:
            continue
        interval = difference(before, after)
        if interval is None:
            unknown.append(name)
        elif interval[0] <= 0 <= interval[1]:
            low, high = (f"{100 * end:+.0f}".replace("-", "−") for end in interval)
            unsure.append(f"in {name} ({low} to {high} points)")
    parts = []
    if unsure:
        are = "difference is" if len(unsure) == 1 else "differences are"
        parts.append(f"Within noise: the {are} not clear {' and '.join(unsure)}.")
    if unknown:
        parts.append(f"All dialogues are on one problem: nothing is known of others for {' and '.join(unknown)}.")
    return " ".join(parts)


def _basis(run: RunFiles, columns: Sequence[Column], shares: Sequence[Sequence[Share | None]]) -> str:
    counts = [next((share.count for share in (row[i] for row in shares) if share), 0) for i in range(len(columns))]
    ends = [f"{count:,} at {column.label}" for count, column in zip(counts, columns, strict=True)]
    if run.evaluations:
        said = f"Counted in dialogues on held-out problems: {' and '.join(ends)}."
    else:
        said = f"There is no evaluation. Counted in dialogues of training, on different problems: {' and '.join(ends)}."
    intervals = [
        f"{name} {' → '.join(map(_interval, row))}"
        for name, row in zip(("tells", "solves untold"), shares, strict=True)
        if any(share is not None and share.low is not None for share in row)
    ]
    return said + (f" 95 % intervals: {'; '.join(intervals)}." if intervals else "")


def _when(run: RunFiles, column: Column) -> str:
    if not run.evaluations:
        return f"in {column.label}"
    if column.label != "batch 0":
        return f"at {column.label}"
    return "before this run" if run.origin and run.origin.get("given") else "before training"


def _interval(share: Share | None) -> str:
    if share is None or share.low is None or share.high is None:
        return "unknown"
    return f"{100 * share.low:.0f}–{100 * share.high:.0f} %"


def _percent(share: Share) -> str:
    """In whole percent, unless that would read as none or all of the dialogues."""
    percent = 100 * share.value
    if 0 < percent < 0.5 or 99.5 < percent < 100:
        return f"{min(max(percent, 0.1), 99.9):.1f} %"
    return f"{percent:.0f} %"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
