"""The measures before and after, as the rows of a table, and what sets configs apart. Pure."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from socratic_distill.evaluation.definitions import HEADLINE, MEASURES, Definition, definition_of
from socratic_distill.files.rows import number
from socratic_distill.outputs.report.reading import RunFiles
from socratic_distill.text import shown

_NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        run: number of its run in the page.
        label: what was measured when.
        cells: by measure `value`, `low`, `high` and `count`, each if it is known.
    """

    run: int
    label: str
    cells: Mapping[str, Mapping[str, Any]]


def columns_of(run: RunFiles, index: int, curves: Mapping[str, Any]) -> list[Column]:
    """Before and after: the first and last evaluation, or without any the first and last points of the curves."""
    if run.evaluations:
        ends = [run.evaluations[0], *run.evaluations[1:][-1:]]
        return [Column(index, f"batch {end.batch}", end.measures) for end in ends]
    points = [0, len(curves["from"]) - 1] if len(curves["from"]) > 1 else [0] * len(curves["from"])
    return [Column(index, _span(curves, point), _cells(curves, point)) for point in points]


def table(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Rows in the order of `HEADLINE`, then of `MEASURES`, then others, of measures that any column has.

    A row has `name`, `description`, `direction` (None where unknown), `main` (whether it is shown at once), and `cells`
    with `value`, `interval` and `count` as texts.
    """
    present = dict.fromkeys(name for column in columns for name in column.cells)
    ordered = [name for name in dict.fromkeys([*HEADLINE, *MEASURES, *present]) if name in present]
    rows = []
    for name in ordered:
        known = definition_of(name)
        rows.append(
            {
                "name": name,
                "description": known.description if known else "",
                "direction": known.direction if known else None,
                "main": name in HEADLINE,
                "cells": [_shown(name, column.cells.get(name)) for column in columns],
            }
        )
    return rows


def differences(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The config fields in which runs differ, with the value of each run."""
    fields = dict.fromkeys(name for config in configs for name in config)
    rows = []
    for name in fields:
        values = [_text(config[name]) if name in config else _NOTHING for config in configs]
        if len(set(values)) > 1:
            rows.append((name, values))
    return rows


def _shown(name: str, cell: object) -> dict[str, str]:
    part = cell if isinstance(cell, dict) else {}
    value, low, high = (number(part.get(key)) for key in ("value", "low", "high"))
    count = part.get("count")
    if value is None:
        return {"value": _NOTHING, "interval": "", "count": ""}
    known = definition_of(name)
    factor, unit = (100, " %") if known is not None and known.unit.startswith("share") else (1, "")
    digits = 1 if unit else max(0, 3 - len(str(int(abs(value)))) + (abs(value) < 1))
    texts = [None if x is None else f"{x * factor:,.{digits}f}".replace("-", "−") for x in (value, low, high)]
    return {
        "value": f"{texts[0]}{unit}",
        "interval": "" if None in texts else f"[{texts[1]}, {texts[2]}{unit}]",
        "count": f"n = {count:,}" if isinstance(count, int) else "",
    }


def _span(curves: Mapping[str, Any], point: int) -> str:
    first, last = curves["from"][point], curves["to"][point]
    return f"step {first}" if first == last else f"steps {first}–{last}"


def _cells(curves: Mapping[str, Any], point: int) -> dict[str, dict[str, Any]]:
    cells = {}
    for name, series in curves["series"].items():
        if name in MEASURES:
            ends = {long: series[short][point] for short, long in (("l", "low"), ("h", "high")) if short in series}
            of_dialogues = MEASURES[name].unit == "share of dialogues" and curves["dialogues"][point]
            count = {"count": curves["dialogues"][point]} if of_dialogues else {}
            cells[name] = {"value": series["v"][point], **ends, **count}
    return cells


def definitions(names: Iterable[str]) -> list[Definition]:
    """What measures mean, each family of k once."""
    by_name = {}
    for known in (MEASURES[name] for name in names if name in MEASURES):
        family, _, k = known.name.rpartition("@")
        definition = (
            known if not family else replace(known, name=f"{family}@k", description=_with_k(known.description, k))
        )
        by_name[definition.name] = definition
    return list(by_name.values())


def _with_k(description: str, k: str) -> str:
    return re.sub(rf"\b{k}\b", "k", description)


def _text(value: object) -> str:
    return shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def pretty(values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """A config as names and texts."""
    return ((shown(name), _text(value)) for name, value in values.items())
