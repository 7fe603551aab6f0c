"""Curves of a run, and quality against cost of several, drawn with matplotlib from what the runs wrote."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from palette import Palette, both

from socratic_distill.outputs.report.collecting import read_dialogues
from socratic_distill.outputs.report.curves import curves, evaluation_points
from socratic_distill.outputs.report.reading import read_run

TELLS, UNTOLD = "leaks", "solved/untold"
# What a step is paid for: what all three models read and what two of them sample.
_PAID = (
    "prompt_tokens/tutor", "prompt_tokens/student", "prompt_tokens/teacher", "tokens/tutor", "tokens/student",
)  # fmt: skip
_MARKS = ("o", "s", "^", "D")


def write_curves(run: Path, directory: Path) -> list[Path]:
    """Tells, solved untold and teacher_kl over the steps of a run: training as lines, evaluations as diamonds."""
    files = read_run(run)
    trained = curves(files.metrics, read_dialogues(files).sums)
    evaluated = evaluation_points(files.evaluations)
    written = both(directory, "curves")
    for path, palette in written:
        with _style(palette):
            figure = Figure(figsize=(7.0, 3.2), layout=_layout())
            left, right = figure.subplots(1, 2)
            _line(left, trained, evaluated, TELLS, "tutor tells", palette.accents[1])
            _line(left, trained, evaluated, UNTOLD, "solved untold", palette.accents[0])
            _line(right, trained, evaluated, "teacher_kl", "teacher_kl", palette.accents[2])
            _shares(left, "share of dialogues")
            marks = Line2D(
                [], [], color=palette.soft, marker="D", linestyle="none", label="evaluation, held-out problems"
            )
            right.set_ylabel("teacher_kl, nats a token")
            right.axhline(0, color=palette.soft, linewidth=0.8)
            for axes in (left, right):
                axes.set_xlabel("step")
                axes.xaxis.get_major_locator().set_params(integer=True)
            handles, _ = left.get_legend_handles_labels()
            figure.legend(handles=[*handles, marks], loc="outside upper center", ncols=3, frameon=False)
            _save(figure, path)
    return [path for path, _ in written]


def write_costs(runs: Sequence[tuple[str, Path]], directory: Path) -> list[Path]:
    """Tells and solved untold of each evaluation, over the tokens that the run had used by then.

    Args:
        runs: label and directory of each.
        directory: where the figure goes.
    """
    lines = [(label, *_spent(path)) for label, path in runs]
    written = both(directory, "quality-cost")
    for path, palette in written:
        with _style(palette):
            figure = Figure(figsize=(7.0, 4.1), layout=_layout())
            for axes, key, name in zip(
                figure.subplots(1, 2), (TELLS, UNTOLD), ("tutor tells", "solved untold"), strict=True
            ):
                for place, (label, tokens, measured) in enumerate(lines):
                    axes.errorbar(
                        tokens, measured[key]["v"], yerr=_bars(measured[key]), label=label, marker=_MARKS[place],
                        color=palette.accents[place], elinewidth=0.8, linewidth=1.6, markersize=5,
                    )  # fmt: skip
                _shares(axes, f"{name}, share of dialogues")
                axes.set_xlabel("thousand tokens so far")
            handles, labels = figure.axes[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=1, frameon=False)
            _save(figure, path)
    return [path for path, _ in written]


def _spent(path: Path) -> tuple[list[float], dict[str, Any]]:
    """Thousands of tokens before each evaluation of a run, and its measures."""
    run = read_run(path)
    points = evaluation_points(run.evaluations)
    so_far = [0.0, *accumulate(sum(row[name] for name in _PAID) / 1000 for row in run.metrics.values())]
    return [so_far[batch] for batch in points["at"]], points["series"]


def _line(axes: Axes, trained: Any, evaluated: Any, key: str, label: str, colour: str) -> None:
    series, points = trained["series"][key], evaluated["series"][key]
    axes.plot(trained["from"], series["v"], color=colour, label=label, linewidth=1.8)
    axes.fill_between(trained["from"], series["l"], series["h"], color=colour, alpha=0.16, linewidth=0)
    axes.errorbar(evaluated["at"], points["v"], yerr=_bars(points), color=colour, fmt="D", markersize=5, elinewidth=1)


def _bars(points: Any) -> list[list[float]]:
    ends = zip(points["v"], points["l"], points["h"], strict=True)
    return [list(side) for side in zip(*((value - low, high - value) for value, low, high in ends), strict=True)]


def _shares(axes: Axes, label: str) -> None:
    axes.set(ylabel=label, ylim=(-0.03, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


@contextmanager
def _style(palette: Palette) -> Iterator[None]:
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), palette.ink)
    fixed = {
        # Without these two the bytes differ each time; text stays text, for search and for readers' fonts.
        "svg.hashsalt": "socratic-distill", "svg.fonttype": "none", "font.size": 11, "axes.grid": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": palette.soft,
        "grid.color": palette.rule,
        "xtick.color": palette.soft, "ytick.color": palette.soft, "axes.facecolor": "none", "figure.facecolor": "none",
        "axes.axisbelow": True,
    }  # fmt: skip
    with mpl.rc_context({**fixed, **colours}):
        yield


def _layout() -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(wspace=0.06)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
