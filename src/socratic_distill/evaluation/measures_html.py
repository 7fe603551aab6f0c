"""Measures of one tutor or several as a table for notebooks."""

from collections.abc import Mapping, Sequence

from socratic_distill.evaluation.definitions import HEADLINE, MEASURES, definition_of
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.table import measure_text
from socratic_distill.text.html import escaped, folded, soft, table, titled

_BRIEF = ("teacher_kl", "first_reply/tells", "first_reply/asks", "solved/untold")
_BETTER = {"up": "\N{UPWARDS ARROW}", "down": "\N{DOWNWARDS ARROW}", "none": ""}


def measures_html(title: str, tutors: Mapping[str, Mapping[str, Measure]], *notes: str) -> str:
    """A table of measures, each with its 95 % interval and an arrow for the better direction; the main ones first.

    Args:
        title: what was measured, as plain text.
        tutors: the measures of each tutor by name, by the tutor's name.
        *notes: sentences above the table, as plain text.
    """
    present = {name for measures in tutors.values() for name in measures}
    main = [name for name in HEADLINE if name in present]
    rest = [name for name in dict.fromkeys([*MEASURES, *sorted(present)]) if name in present and name not in main]
    lines = "".join(f"<div>{soft(escaped(note))}</div>" for note in notes)
    more = folded(f"{len(rest)} more measures", _table(rest, tutors)) if rest else ""
    return titled(escaped(title), lines, _table(main, tutors), more, soft("mean [95 % interval over the seeds]"))


def brief(measures: Mapping[str, Measure]) -> str:
    """The main measures in a few words, such as `, solved=78%, asks=100%`, to end a repr with."""
    present = [name for name in _BRIEF if name in measures]
    return "".join(f", {name}={measure_text(name, measures[name]).partition(' ')[0]}" for name in present)


def _table(names: Sequence[str], tutors: Mapping[str, Mapping[str, Measure]]) -> str:
    rows = [[_name(name), *(_cell(name, measures.get(name)) for measures in tutors.values())] for name in names]
    return table(rows, ["", *(escaped(name) for name in tutors)], numbers=True)


def _name(name: str) -> str:
    known = definition_of(name)
    if known is None:
        return escaped(name)
    return f'<span title="{escaped(known.description)}">{escaped(name)} {_BETTER[known.direction]}</span>'


def _cell(name: str, measure: Measure | None) -> str:
    value, _, interval = measure_text(name, measure).partition(" ")
    return f"{escaped(value)} {soft(escaped(interval))}" if interval else escaped(value)
