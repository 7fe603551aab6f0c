"""Tables: the measures of several tutors side by side, and how two tutors differ."""

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from socratic_distill.evaluation.definitions import MEASURES, OF_STUDENT, ROUNDS, definition_of
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.paired import FEW, Difference
from socratic_distill.evaluation.suites.definitions import SUITE_MEASURES

Measures = Mapping[str, Measure]

# The measures that say most about a tutor.
_MAIN = (
    "first_reply/tells", "first_reply/asks", "asks", "leaks", "solved", "solved/untold", "turns_to_solve",
    "mathdial/success@5", "mathdial/telling@5", "teacher_kl",
)  # fmt: skip
# They are measured only if the config asks for them.
_ASKED_FOR = ("leaks/judge", "leaks/judge_unparsed", "solve_rate/before", "solve_rate/after", "solve_rate/delta")
# Shown for each of several students.
_BY_STUDENT = ("solved/untold", "leaks")
_FAMILIES = ("mathdial/success", "mathdial/telling")
_ARROWS = {"up": " \u2191", "down": " \u2193", "none": ""}
_GAP = 3  # between columns
_NARROWEST = 10
_NOTHING = "\u2013"


def comparison_table(
    tutors: Mapping[str, Measures],
    names: Sequence[str] | None = None,
    title: str | None = None,
    *,
    every: bool = False,
    width: int | None = None,
) -> Table:
    """Measures of several tutors, each with its 95 % interval; an arrow shows which way is better.

    Args:
        tutors: the measures of each tutor, by the tutor's name.
        names: measures to show, a row each. None: the ten that say most, and those of a judge and of solve rates.
        title: title of the table.
        every: without `names`, also all other measures; MathDial's, for all k in one row.
        width: characters of a line. Where a cell is too wide for its share, its interval goes to a second line. None:
            every cell is one line.
    """
    rows = measure_rows(tutors, names, every=every)
    table = Table(title=title, caption="mean [95 % interval over the seeds]", caption_justify="left", box=SIMPLE)
    table.pad_edge, table.header_style = False, "none"
    table.add_column("", no_wrap=True)
    for name in tutors:
        table.add_column(Text(name), justify="right", overflow="fold")
    longest = max((cell_len(name) for name, _ in rows), default=0)
    share = None if width is None else max(_NARROWEST, (width - longest - 2) // max(1, len(tutors)) - _GAP)
    for name, cells in rows:
        table.add_row(Text(name), *(Text(_fitted(cell, share)) for cell in cells))
    return table


def difference_table(differences: Mapping[str, Difference], *, every: bool = False, title: str | None = None) -> Table:
    """How a second tutor differs from a first: each difference with its interval, seeds won, and seeds needed.

    Args:
        differences: by measure, as `paired_differences` gives them.
        every: all measures, not only the ten that say most and those of a judge and of solve rates.
        title: title of the table.
    """
    rows = difference_rows(differences, every=every)
    rough = min((of.seeds for of in differences.values() if of.seeds), default=FEW) < FEW
    notes = ["second minus first [95 % interval, paired over the seeds]; needed: seeds for a clear difference, 4 in 5"]
    notes += [f"Rough: an interval over fewer than {FEW} seeds may be too narrow."] if rough else []
    table = Table(title=title, caption="\n".join(notes), caption_justify="left", box=SIMPLE)
    table.pad_edge, table.header_style = False, "none"
    for heading in ("", "difference", "won", "seeds", "needed"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for cells in rows:
        table.add_row(*map(Text, cells))
    return table


def difference_rows(
    differences: Mapping[str, Difference], *, names: Sequence[str] | None = None, every: bool = False
) -> list[list[str]]:
    """The rows of `difference_table`: measure, difference, share of seeds won, seeds, seeds needed."""
    shown = _shown([dict.fromkeys(differences)], every) if names is None else names
    names = [name for name in shown if differences[name].value is not None]
    rows = []
    for name in names:
        of = differences[name]
        value = measure_text(name, Measure(of.value, of.low, of.high, of.seeds), signed=True)
        cells = [f"{of.win_rate:.0%}", f"{of.seeds}", _NOTHING if of.needed is None else f"{of.needed:,}"]
        rows.append([name + _arrow(name), value + (" rough" if of.is_rough else ""), *cells])
    return rows


def measure_rows(
    tutors: Mapping[str, Measures], names: Sequence[str] | None = None, *, every: bool = False
) -> list[tuple[str, list[str]]]:
    """The rows of `comparison_table`: a measure's name with its arrow, and a text for each tutor."""
    shown = list(names or _shown(tutors.values(), every))
    rows = [(name, [measure_text(name, measures.get(name)) for measures in tutors.values()]) for name in shown]
    if every and names is None:
        rows += [
            (f"{family}@{ROUNDS[0]}-{ROUNDS[-1]}", [_family(family, measures) for measures in tutors.values()])
            for family in _FAMILIES
            if any(f"{family}@{ROUNDS[0]}" in measures for measures in tutors.values())
        ]
    return [(name + _arrow(name), cells) for name, cells in rows]


def describe_measure(name: str, measure: Measure) -> str:
    """A measure's name and value, in one line."""
    return f"{name} {_number(measure.value, _is_share(name))}"


def _shown(tutors: Iterable[Mapping[str, object]], every: bool) -> list[str]:
    present = {name for measures in tutors for name in measures}
    single = [name for name in (*MEASURES, *SUITE_MEASURES) if name.partition("@")[0] not in _FAMILIES]
    shown = [name for name in dict.fromkeys([*_MAIN, *_ASKED_FOR, *(single if every else ())]) if name in present]
    by_student = sorted(name for name in present if name.partition(OF_STUDENT)[0] in (shown if every else _BY_STUDENT))
    return [*shown, *(name for name in by_student if name not in shown)]


def _arrow(name: str) -> str:
    family, _, rounds = name.partition("@")
    known = MEASURES[f"{family}@{ROUNDS[0]}"] if "-" in rounds else definition_of(name)
    return _ARROWS["none" if known is None else known.direction]


def _family(family: str, measures: Measures) -> str:
    """A measure's values for all k, as `0 8 25%`."""
    values = [None if (measure := measures.get(f"{family}@{k}")) is None else measure.value for k in ROUNDS]
    if all(value is None for value in values):
        return _NOTHING
    return " ".join(_NOTHING if value is None else f"{100 * value:.0f}" for value in values) + "%"


def measure_text(name: str, measure: Measure | None, *, signed: bool = False) -> str:
    """A measure's value and interval, such as `8% [2%, 16%]`; a dash if there was nothing to measure.

    Args:
        name: of the measure.
        measure: what to show; None: a dash.
        signed: also show the sign of numbers above 0.
    """
    if measure is None or measure.value is None:
        return _NOTHING
    is_share = _is_share(name)
    if measure.low is None or measure.high is None:
        return _number(measure.value, is_share, signed=signed)
    ends = (measure.value, measure.low, measure.high)
    digits = min(_digits(number) for number in ends)
    value, low, high = (_number(number, is_share, digits, signed) for number in ends)
    return f"{value} [{low}, {high}]"


def _is_share(name: str) -> bool:
    known = definition_of(name)
    return known is not None and known.kind == "share"


def _fitted(cell: str, width: int | None) -> str:
    return cell if width is None or cell_len(cell) <= width else cell.replace(" [", "\n[", 1)


def _digits(value: float) -> int:
    return 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1


def _number(value: float | None, is_share: bool, digits: int | None = None, signed: bool = False) -> str:
    if value is None:
        return _NOTHING
    sign = "+" if signed else ""
    if is_share:
        return f"{value:{sign}.0%}"
    digits = _digits(value) if digits is None else digits
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # no -0.000
