"""A table that shows the measures of several tutors side by side."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from socratic_distill.evaluation.definitions import MEASURES
from socratic_distill.evaluation.intervals import Measure


def comparison_table(
    tutors: Mapping[str, Mapping[str, Measure]], names: Sequence[str] | None = None, title: str | None = None
) -> Table:
    """Measures of several tutors, each with its 95 % interval; an arrow shows which way is better.

    Args:
        tutors: the measures of each tutor, by the tutor's name.
        names: measures to show; None: all that any tutor has.
        title: title of the table.
    """
    table = Table(title=title, caption="mean [95 % interval over the seeds]", caption_justify="left")
    table.add_column("")
    for name in tutors:
        table.add_column(name, justify="right")
    for name in names or MEASURES:
        measured = [measures.get(name) for measures in tutors.values()]
        if names or any(measure is not None for measure in measured):
            arrow = {"up": " \u2191", "down": " \u2193", "none": ""}[MEASURES[name].direction]
            table.add_row(name + arrow, *(measure_text(name, measure) for measure in measured))
    return table


def describe_measure(name: str, measure: Measure) -> str:
    """A measure's name and value, in one line."""
    return f"{name} {_number(measure.value, MEASURES[name].kind == 'share')}"


def measure_text(name: str, measure: Measure | None) -> str:
    """A measure's value and interval, such as `8% [2%, 16%]`; a dash if there was nothing to measure."""
    if measure is None or measure.value is None:
        return "\u2013"
    is_share = name in MEASURES and MEASURES[name].kind == "share"
    text = _number(measure.value, is_share)
    if measure.low is None or measure.high is None:
        return text
    return f"{text} [{_number(measure.low, is_share)}, {_number(measure.high, is_share)}]"


def _number(value: float | None, is_share: bool) -> str:
    if value is None:
        return "\u2013"
    return f"{value:.0%}" if is_share else f"{round(value, 3) + 0.0:.3f}"  # no -0.000
