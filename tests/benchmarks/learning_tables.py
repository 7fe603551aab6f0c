"""The tables of `learning.py`. Pure."""

from collections.abc import Mapping, Sequence
from statistics import mean

from learning_costs import Run, Spread, at_end, cost_to_reach, curve, difference, share_to_reach, spread
from tables import table

SHARES = ("first_reply/tells", "first_reply/asks", "leaks", "solved/untold")
NEVER = "–"


def quality_table(runs: Mapping[str, Sequence[Run]], default: str) -> str:
    """What each setting's runs reached: means, of teacher_kl with an interval, and how far that is from the default."""
    before = [run[0].measures for run in runs[default]]
    start = mean(value for one in before if (value := one["teacher_kl"]) is not None)
    shares = [mean(value for one in before if (value := one[name]) is not None) for name in SHARES]
    rows = [["before training", f"{start:.3f}", "", *(f"{share:.0%}" for share in shares)]]
    for name, of_setting in runs.items():
        found = spread(at_end(of_setting, "teacher_kl"))
        less = "" if name == default else _with_sign(difference(of_setting, runs[default], "teacher_kl"))
        rows.append([name, _plain(found), less, *(_share(at_end(of_setting, share)) for share in SHARES)])
    return table(["setting", "teacher_kl", "less the default's", "tells", "asks", "leaks", "solved untold"], rows)


def cost_table(runs: Mapping[str, Sequence[Run]], default: str) -> str:
    """What each setting's runs used, and which share of the default's whole cost they took to its quality."""
    rows = []
    for name, of_setting in runs.items():
        ends = [run[-1] for run in of_setting]
        tokens = [[getattr(end, kind) for end in ends] for kind in ("sampled", "scored", "trained", "used")]
        shares = [share_to_reach(of_setting, runs[default], cost) for cost in ("step", "used", "usd")]
        each = [share_to_reach([run], [other], "usd") for run, other in zip(of_setting, runs[default], strict=True)]
        cells = [f"{mean(values) / 1000:.1f}" for values in tokens]
        rows.append([
            name, *cells, f"{100 * mean(end.usd for end in ends):.2f}", *map(_reached, shares),
            ", ".join(map(_reached, each)),
        ])  # fmt: skip
    heads = ["setting", "sampled", "scored", "trained", "all", "US cents", "steps", "tokens", "USD", "USD, each seed"]
    return table(heads, rows)


def toy_table(runs: Mapping[str, Sequence[Sequence[float]]], default: str) -> str:
    """The divergences along each setting's steps, and the share of the default's steps to where the default ended.

    Args:
        runs: for each setting the divergences of each of its runs, before every step and at the end.
        default: name of the default.
    """
    target = mean(run[-1] for run in runs[default])
    rows = []
    for name, of_setting in runs.items():
        means = [mean(at) for at in zip(*of_setting, strict=True)]
        steps = len(means) - 1
        places = [round(share * steps) for share in (0.25, 0.5, 1.0)]
        reached = cost_to_reach(list(enumerate(means)), target)
        ends = spread([run[-1] for run in of_setting])
        cells = [f"{means[place]:.3f}" for place in places[:-1]]
        rows.append([name, *cells, _plain(ends), _reached(None if reached is None else reached / steps)])
    return table(["setting", "after a quarter", "after half", "at the end", "steps to the default's end"], rows)


def cheapest(runs: Mapping[str, Sequence[Run]], default: str, leaving_out: Sequence[str]) -> str:
    """The setting that took the least money to the default's quality."""
    shares = {name: share_to_reach(one, runs[default], "usd") for name, one in runs.items() if name not in leaving_out}
    known = {name: share for name, share in shares.items() if share is not None}
    return min(known, key=known.__getitem__)


def usd_curve(runs: Sequence[Run], others: Sequence[Run]) -> list[tuple[float, float]]:
    """Mean teacher_kl along runs, by the share of others' whole money."""
    *_, (whole, _) = curve(others, "teacher_kl", "usd")
    return [(usd / whole, value) for usd, value in curve(runs, "teacher_kl", "usd")]


def _plain(found: Spread) -> str:
    return f"{found.value:.3f}" + ("" if found.half is None else f" ± {found.half:.3f}")


def _with_sign(found: Spread) -> str:
    """Emphasised where the interval leaves 0 out."""
    text = f"{found.value:+.3f}" + ("" if found.half is None else f" ± {found.half:.3f}")
    return f"**{text}**" if found.half is not None and abs(found.value) > found.half else text


def _share(values: Sequence[float]) -> str:
    return f"{mean(values):.0%}" if values else NEVER


def _reached(share: float | None) -> str:
    return NEVER if share is None else f"{share:.0%}"
