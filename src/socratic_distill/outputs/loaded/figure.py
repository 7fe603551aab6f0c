"""A run's curves as a matplotlib figure. Colours are between light and dark, so that they suit either theme."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import nan
from typing import TYPE_CHECKING, Any

from socratic_distill.errors import ConfigError, PlotExtraMissing
from socratic_distill.files.extras import how_to_install
from socratic_distill.outputs.report.charts import charts_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

try:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise PlotExtraMissing(
        f"plot() needs matplotlib, which cannot be imported: {error}. {how_to_install('plot')}"
    ) from error

_MAIN = ("teacher_kl", "first_reply/tells", "first_reply/asks", "solved/untold", "mathdial/success@5", "reply_tokens")
_COLUMNS = 3
_WIDTH, _HEIGHT = 4.0, 2.7  # of a panel, inches
_LINE, _TEXT, _RULE = "#2a8ed2", "#808080", "#80808055"


class RunFigure(Figure):
    """A figure that a notebook shows even where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        """The figure as a PNG, for notebooks."""
        image = BytesIO()
        self.savefig(image, format="png", dpi=110)
        return image.getvalue()


def run_figure(
    curves: Mapping[str, Any], evaluations: Mapping[str, Any], measures: Sequence[str] | str | None
) -> Figure:
    """The figure.

    Args:
        curves: as `curves.curves` gives them.
        evaluations: as `curves.evaluation_points` gives them.
        measures: names, one panel each; None: the main ones that the run has.

    Raises:
        ConfigError: there are no values of a measure.
    """
    known = dict.fromkeys([*curves["series"], *evaluations["series"]])
    names = [measures] if isinstance(measures, str) else list(measures or ())
    if missing := [name for name in names if name not in known]:
        raise ConfigError(f"measures names {missing[0]!r}, of which the run has no values; it has {', '.join(known)}")
    names = names or [name for name in _MAIN if name in known]
    columns = min(_COLUMNS, len(names)) or 1
    lines = -(-len(names) // columns) or 1
    figure = RunFigure(figsize=(_WIDTH * columns, _HEIGHT * lines), layout="constrained", facecolor="none")
    if not names:
        figure.text(0.5, 0.5, "no finished step yet", ha="center", color=_TEXT)
    labels = _labels(curves, evaluations)
    for index, name in enumerate(names):
        panel = figure.add_subplot(lines, columns, index + 1)
        _draw(panel, name, curves, evaluations)
        _dress(panel, *labels[name])
        marks = panel.get_legend_handles_labels()
        if marks[0] and not figure.legends:  # once: it is the same in all panels
            figure.legend(*marks, loc="outside lower left", frameon=False, labelcolor=_TEXT, fontsize=8)
    return figure


def _labels(curves: Mapping[str, Any], evaluations: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
    """By measure, the label of its axis, and whether it is a share."""
    shows = [show for chart in charts_for([{"curves": curves, "evaluations": evaluations}]) for show in chart["shows"]]
    labels = {show["key"]: (show["axis"], bool(show.get("share"))) for show in shows}
    return {name: labels.get(name, (name, False)) for name in [*curves["series"], *evaluations["series"]]}


def _draw(panel: "Axes", name: str, curves: Mapping[str, Any], evaluations: Mapping[str, Any]) -> None:
    if (series := curves["series"].get(name)) is not None:
        steps = [(first + last) / 2 for first, last in zip(curves["from"], curves["to"], strict=True)]
        panel.plot(steps, _numbers(series["v"]), color=_LINE, linewidth=1.8, marker="o" if len(steps) == 1 else None)
        if "l" in series:
            panel.fill_between(steps, _numbers(series["l"]), _numbers(series["h"]), color=_LINE, alpha=0.2, linewidth=0)
    if (points := evaluations["series"].get(name)) is not None:
        low, value, high = (_numbers(points[key]) for key in ("l", "v", "h"))
        errors = [
            [max(0.0, middle - end) for middle, end in zip(value, low, strict=True)],
            [max(0.0, end - middle) for middle, end in zip(value, high, strict=True)],
        ]
        panel.errorbar(
            evaluations["at"], value, errors, fmt="D", color=_LINE, markersize=5, capsize=3, label="held-out seeds"
        )


def _dress(panel: "Axes", label: str, is_share: bool) -> None:
    panel.set_title(label, fontsize=9, color=_TEXT, loc="left")
    panel.set_xlabel("step", fontsize=8, color=_TEXT)
    panel.tick_params(colors=_TEXT, labelsize=8)
    panel.set_facecolor("none")
    panel.grid(color=_RULE, linewidth=0.6)
    for name, spine in panel.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_RULE)
    panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if is_share:
        panel.set_ylim(-0.03, 1.03)
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [nan if value is None else float(value) for value in values]
