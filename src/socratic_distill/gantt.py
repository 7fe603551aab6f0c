"""One step of a run as a Gantt chart: who was asked when, and who waited for whom."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from socratic_distill.errors import ConfigError
from socratic_distill.run import DIALOGUES
from socratic_distill.start import METRICS

Row = Mapping[str, Any]

# Distinct for the colour-blind too (Okabe and Ito, 2008).
_COLOURS = {
    "opening": "#cc79a7", "student": "#e69f00", "tutor": "#0072b2", "teacher": "#009e73", "weights": "#999999",
    "update": "#d55e00",
}  # fmt: skip
_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #222 } .title { font-size: 14px; font-weight: 600 }
.grid { stroke: #ddd } .ground { fill: #fff } rect.bar { opacity: .4 } rect.critical { opacity: 1 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .grid { stroke: #444 } .ground { fill: #1b1b1b } }
"""
_MOST_LANES = 128
# What XML cannot hold, and marks that turn the text behind them around.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]")
_LABELS, _CHART, _HEAD, _LANE = 190, 980, 58, 14


@dataclass(frozen=True)
class Bar:
    """A request: its phase, when it was under way, seconds since the step began, and whether the step waited."""

    phase: str
    start: float
    end: float
    critical: bool


def read_step(log_path: Path, step: int | None) -> tuple[Row, list[Row]]:
    """The row and the dialogues of a step; None takes the last one.

    Raises:
        ConfigError: the directory has no such step, or the step no timings.
    """
    for name in (METRICS, DIALOGUES):
        if not (log_path / name).exists():
            raise ConfigError(f"{log_path} holds no {name}; expected the log_path of a run that did a step")
    rows = list(_rows_of(log_path / METRICS, step))
    if not rows:
        raise ConfigError(f"{log_path / METRICS} has no {'row' if step is None else f'step {step}'}")
    row = rows[-1]
    if "time/critical/update" not in row:
        raise ConfigError(f"step {row.get('step')} of {log_path} has no timings; another tool has written it")
    return row, list(_rows_of(log_path / DIALOGUES, row["step"]))


def gantt(row: Row, dialogues: Sequence[Row]) -> str:
    """The chart as SVG: a lane for the weights and the update, and one for each dialogue.

    What the step waited for stands out; the rest overlapped with it. Of many dialogues the last to end are shown.

    Args:
        row: the step's row of metrics.jsonl.
        dialogues: its rows of dialogues.jsonl.
    """
    lanes = [("weights, update", _service_bars(row)), *_dialogue_lanes(row, dialogues)]
    times = [at for _, bars in lanes for bar in bars for at in (bar.start, bar.end)]
    first, last = min(0.0, *times), max(row["time/step"], *times)
    scale = _CHART / max(last - first, 1e-9)
    height = _HEAD + _LANE * len(lanes) + 30
    svg = ElementTree.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_LABELS + _CHART + 20} {height}", role="img"
    )
    ElementTree.SubElement(svg, "title").text = f"Timeline of step {row['step']}"
    ElementTree.SubElement(svg, "style").text = _STYLE
    _draw(svg, "rect", width="100%", height="100%", **{"class": "ground"})
    shown = len(lanes) - 1
    of = "" if shown == len(dialogues) else f", the last {shown} to end of {len(dialogues)}"
    _text(svg, 10, 20, f"Step {row['step']}: {row['time/step']:.1f} s, {len(dialogues)} dialogues{of}", "title")
    _legend(svg, row)
    for at in _ticks(first, last):
        x = _LABELS + (at - first) * scale
        _draw(svg, "line", x1=x, x2=x, y1=_HEAD - 6, y2=height - 24, **{"class": "grid"})
        _text(svg, x - 8, height - 10, f"{at:g} s")
    for number, (label, bars) in enumerate(lanes):
        y = _HEAD + _LANE * number
        _text(svg, 10, y + _LANE - 4, label if len(label) < 30 else label[:28] + "…")
        for bar in bars:
            kind = "bar critical" if bar.critical else "bar"
            width, x = max((bar.end - bar.start) * scale, 0.5), _LABELS + (bar.start - first) * scale
            size = {"x": x, "y": y + 1, "width": width, "height": _LANE - 3, "fill": _COLOURS[bar.phase]}
            drawn = _draw(svg, "rect", **size, **{"class": kind})
            told = f"{label}: {bar.phase}, {bar.start:.2f} to {bar.end:.2f} s{', critical' if bar.critical else ''}"
            ElementTree.SubElement(drawn, "title").text = told
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _service_bars(row: Row) -> list[Bar]:
    taken, step = row["time/step"] - row["time/update"], row["time/step"]
    critical = row["time/critical/weights"] > 0
    return [Bar("weights", 0.0, row["time/weights"], critical), Bar("update", taken, step, True)]


def _dialogue_lanes(row: Row, dialogues: Sequence[Row]) -> list[tuple[str, list[Bar]]]:
    """Lanes in order of the dialogues. The dialogue that was scored last is what the update waited for."""
    weights = row["time/weights"] if row["time/critical/weights"] > 0 else 0.0
    spans = {number: one["time/spans"] for number, one in enumerate(dialogues) if one.get("time/spans")}
    scored = {number: each[-1][1] for number, each in spans.items() if len(each) > len(dialogues[number]["turns"])}
    last = max(scored, key=lambda number: scored[number], default=None)
    shown = sorted(sorted(spans, key=lambda number: spans[number][-1][1])[-_MOST_LANES:])
    lanes = []
    for number in shown:
        turns = [turn["role"] for turn in dialogues[number]["turns"]]
        bars = []
        for place, (start, end) in enumerate(spans[number]):
            phase = "teacher" if place == len(turns) else "opening" if place == 0 else turns[place]
            bars.append(Bar(phase, start, end, number == last and weights < end <= scored[number]))
        label = f"{dialogues[number]['seed']} · {dialogues[number]['number']}"
        lanes.append((_NO_XML.sub("\N{REPLACEMENT CHARACTER}", label), bars))
    return lanes


def _legend(svg: ElementTree.Element, row: Row) -> None:
    x = 10
    for phase, colour in _COLOURS.items():
        _draw(svg, "rect", x=x, y=30, width=10, height=10, fill=colour)
        _text(svg, x + 14, 39, f"{phase} {row[f'time/critical/{phase}']:.0%}")
        x += 110
    _text(svg, x, 39, f"waiting {row['time/critical/waiting']:.0%}   (shares of the step that were waited for)")


def _ticks(first: float, last: float) -> list[float]:
    """About ten round places."""
    step = 10.0 ** len(str(int(max(last - first, 1.0)))) / 100
    step = next(step * one for one in (1, 2, 5, 10, 20, 50, 100) if (last - first) / (step * one) <= 12)
    return [number * step for number in range(int(first // step) + 1, int(last // step) + 1)]


def _rows_of(path: Path, step: int | None) -> Iterator[Row]:
    """The rows of a step, or the last row; whole lines alone, since the run may be under way."""
    last = None
    # A row is read if it may be of the step: rows are long, and most of them of other steps.
    may_be = re.compile(rf'"step"\s*:\s*{step}\b')
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            if step is None:
                last = line
            elif may_be.search(line) and (row := json.loads(line)).get("step") == step:
                yield row
    if last is not None:
        yield json.loads(last)


def _draw(parent: ElementTree.Element, shape: str, **attributes: Any) -> ElementTree.Element:
    values = {name: f"{value:.2f}" if isinstance(value, float) else str(value) for name, value in attributes.items()}
    return ElementTree.SubElement(parent, shape, values)


def _text(parent: ElementTree.Element, x: float, y: float, text: str, kind: str | None = None) -> None:
    _draw(parent, "text", x=x, y=y, **({"class": kind} if kind else {})).text = text
