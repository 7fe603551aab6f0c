"""Several runs as a leaderboard: one page with the measures of their evaluations and of published suites."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socratic_distill.config.paths import resolved
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.definitions import HEADLINE, MEASURES, definition_of
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.stored import read_measures
from socratic_distill.evaluation.suites.catalogue import SUITES
from socratic_distill.evaluation.suites.definitions import SUITE_MEASURES
from socratic_distill.evaluation.suites.results import Benchmark
from socratic_distill.evaluation.table import measure_text
from socratic_distill.files.durable import write_atomically
from socratic_distill.outputs.report.page import render
from socratic_distill.outputs.report.reading import RunFiles, read_run, run_names
from socratic_distill.outputs.report.suites import read_suites
from socratic_distill.run.cloud.reading import readable

# Of evaluations; the solve rates are what PedagogicalRL reports.
_OF_DIALOGUES = (*HEADLINE, "first_reply/tells", "first_reply/asks", "leaks/judge_unparsed",
                 "solve_rate/before", "solve_rate/after")  # fmt: skip
_DIFFERENT = "The rows have different numbers of items, or different limits, so they do not compare."


@dataclass(frozen=True)
class _Row:
    """A tutor or a judge, as one table has it.

    Attributes:
        run: name of its run.
        name: of the tutor or the judge.
        measures: by name.
        items: number of items or dialogues.
        asked: what else decides whether rows compare.
        notes: what to know of the figures.
    """

    run: str
    name: str
    measures: Mapping[str, Measure]
    items: int
    asked: tuple[object, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Table:
    """What was measured in one way.

    Attributes:
        title: what it is.
        what: what a row's number of items counts.
        prefix: start of the measures' names that the table leaves out.
        rows: who was measured.
        notes: what to know of the table.
    """

    title: str
    what: str
    prefix: str
    rows: list[_Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_leaderboard(
    log_paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    sort: str | None = None,
) -> Path:
    """Writes one self-contained page on what was measured of several runs' tutors and judges, and gives its path.

    There is a table for the first and the last evaluation of each run, with the student's solve rates if they were
    measured, and one for each published suite. Columns are measures with their 95 % intervals; a click on one sorts by
    it, the best first. The page asks the network for nothing.

    Args:
        log_paths: directories of the runs, which may be in a store; read, not changed.
        out: file to write.
        sort: measure that tables are sorted by at first, if they have it. None: each table's first one.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        ConfigError: there is no directory, one holds no run, `out` is a directory, or no run has the measure.
        StorageError: the page cannot be written, or the store fails.
    """
    given = [log_paths] if isinstance(log_paths, str | os.PathLike) else list(log_paths)
    names = list(dict.fromkeys(os.fspath(path) for path in given))
    if not names:
        raise ConfigError("log_paths is empty; expected the log_path of at least one run")
    target = Path(resolved(out))
    if target.is_dir():
        raise ConfigError(f"out={str(target)!r} is a directory; expected the file to write")
    runs = [read_run(readable(name)) for name in names]
    tables = [table for table in _tables(runs) if table.rows]
    present = {name for table in tables for row in table.rows for name in row.measures}
    if sort is not None and sort not in present:
        raise ConfigError(f"no run has the measure {sort!r}; expected one of {', '.join(sorted(present)) or 'none'}")
    write_atomically(
        target, render(_view(names, runs, tables, sort), {}, "leaderboard.html", ("page.js", "sorting.js"))
    )
    return target


def _tables(runs: Sequence[RunFiles]) -> Iterator[_Table]:
    names = run_names(runs)
    yield _of_evaluations(names, runs)
    suites = [read_suites(run) for run in runs]
    for suite in SUITES:
        found = [(name, of[suite]) for name, of in zip(names, suites, strict=True) if suite in of]
        if found:
            yield _of_suite(suite, found)


def _of_evaluations(names: Sequence[str], runs: Sequence[RunFiles]) -> _Table:
    table = _Table("Dialogues on held-out seeds", "dialogues", "")
    for name, run in zip(names, runs, strict=True):
        for evaluated in [*run.evaluations[:1], *run.evaluations[1:][-1:]]:
            measures = {key: of for key, of in read_measures(evaluated.measures).items() if key in _OF_DIALOGUES}
            count = measures["solved"].count if "solved" in measures else 0
            table.rows.append(_Row(name, f"before batch {evaluated.batch}", measures, count, (count,)))
    table.notes.append(
        "The first and the last evaluation of each run. Runs compare only if they hold out the same seeds and have the "
        "same student."
    )
    return table


def _of_suite(suite: str, found: Sequence[tuple[str, Benchmark]]) -> _Table:
    about = found[0][1].about
    table = _Table(about.title, "items", f"{suite}/")
    for _, of in found:
        said = [f"{of.about.version}; data {of.about.licence}.", of.about.counting]
        table.notes.extend(note for note in said if note not in table.notes)
    for name, of in found:
        for who, result in of.results.items():
            asked = (result.items, *(result.asked.get(key) for key in ("limit", "max_tokens")))
            table.rows.append(_Row(name, who, result.measures, result.items, asked, result.notes))
    return table


def _view(names: Sequence[str], runs: Sequence[RunFiles], tables: Sequence[_Table], sort: str | None) -> dict[str, Any]:
    shown = dict.fromkeys(name for table in tables for name in _columns(table))
    return {
        "title": f"{len(runs)} runs" if len(runs) > 1 else run_names(runs)[0],
        "runs": [
            {"name": name, "path": path, "notes": run.notes}
            for name, path, run in zip(run_names(runs), names, runs, strict=True)
        ],
        "tables": [_shown(table, sort) for table in tables],
        "definitions": [known for name in shown if (known := definition_of(name)) is not None],
    }


def _columns(table: _Table) -> list[str]:
    """The measures that any row has, in the order of their definitions."""
    present = {name for row in table.rows for name in row.measures}
    return [
        name for name in dict.fromkeys([*HEADLINE, *MEASURES, *SUITE_MEASURES, *sorted(present)]) if name in present
    ]


def _shown(table: _Table, sort: str | None) -> dict[str, Any]:
    columns = _columns(table)
    first = sort if sort in columns else columns[0] if columns else None
    rows = table.rows if first is None else sorted(table.rows, key=lambda row: _place(first, row.measures.get(first)))
    notes = [*table.notes, *([_DIFFERENT] if len({row.asked for row in table.rows}) > 1 else [])]
    return {
        "title": table.title,
        "what": table.what,
        "columns": [_head(name, table.prefix, name == first) for name in columns],
        "rows": [
            {
                "run": row.run,
                "name": row.name,
                "count": row.items,
                "cells": [_cell(name, row.measures.get(name)) for name in columns],
            }
            for row in rows
        ],
        "notes": [*notes, *_row_notes(table.rows)],
    }


def _head(name: str, prefix: str, is_sorted: bool) -> dict[str, Any]:
    known = definition_of(name)
    direction = None if known is None else known.direction
    return {
        "name": name.removeprefix(prefix),
        "description": "" if known is None else known.description,
        "direction": direction,
        # The order that puts the best first.
        "first": "ascending" if direction == "down" else "descending",
        "is_sorted": is_sorted,
    }


def _place(name: str, measure: Measure | None) -> tuple[bool, float]:
    """The key of a sort, the best first and rows without a value last."""
    known = definition_of(name)
    sign = 1.0 if known is not None and known.direction == "down" else -1.0
    value = None if measure is None else measure.value
    return value is None, 0.0 if value is None else sign * value


def _cell(name: str, measure: Measure | None) -> dict[str, Any]:
    value, _, interval = measure_text(name, measure).partition(" ")
    count = f"n = {measure.count:,}" if measure is not None and measure.value is not None else ""
    return {"value": value, "interval": interval, "count": count, "number": None if measure is None else measure.value}


def _row_notes(rows: Iterable[_Row]) -> list[str]:
    """The notes of rows, each once, with the rows that have it."""
    of: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            of.setdefault(note, []).append(f"{row.run} {row.name}")
    return [f"{', '.join(who)}: {note}" for note, who in of.items()]
