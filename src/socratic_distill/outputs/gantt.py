"""One step of a run as a Gantt chart: who was asked when, and who waited for whom."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from socratic_distill.errors import ConfigError
from socratic_distill.files.rows import number, read_rows, step_of
from socratic_distill.run.layout import DIALOGUES, METRICS

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
_MOST_SECONDS = 1e9
_TIMES = ("time/step", "time/update", "time/weights", *(f"time/critical/{phase}" for phase in (*_COLOURS, "waiting")))
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
    row = None
    for one in read_rows(log_path / METRICS):
        if step_of(one) is not None and step in (None, step_of(one)):
            row = one
    if row is None:
        raise ConfigError(f"{log_path / METRICS} has no {'row' if step is None else f'step {step}'}")
    if not all(_is_time(row.get(key)) for key in _TIMES):
        raise ConfigError(f"step {row['step']} of {log_path} has no timings; another tool has written it")
    return row, [one for one in read_rows(log_path / DIALOGUES) if step_of(one) == row["step"] and _is_timed(one)]


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
    for lane, (label, bars) in enumerate(lanes):
        y = _HEAD + _LANE * lane
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
    spans = {index: one["time/spans"] for index, one in enumerate(dialogues) if one.get("time/spans")}
    scored = {index: each[-1][1] for index, each in spans.items() if len(each) > len(dialogues[index]["turns"])}
    last = max(scored, key=lambda index: scored[index], default=None)
    shown = sorted(sorted(spans, key=lambda index: spans[index][-1][1])[-_MOST_LANES:])
    lanes = []
    for index in shown:
        turns = [turn["role"] for turn in dialogues[index]["turns"]]
        bars = []
        for place, (start, end) in enumerate(spans[index]):
            phase = "teacher" if place == len(turns) else "opening" if place == 0 else turns[place]
            bars.append(Bar(phase, start, end, index == last and weights < end <= scored[index]))
        label = f"{dialogues[index].get('seed')} · {dialogues[index].get('number')}"
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


def _is_time(value: object) -> bool:
    """Whether a value is a time that can be drawn."""
    seconds = number(value)
    return seconds is not None and abs(seconds) < _MOST_SECONDS


def _is_timed(row: Row) -> bool:
    """Whether a row is a dialogue whose times, if it has any, can be drawn."""
    spans, turns = row.get("time/spans") or [], row.get("turns")
    if not isinstance(spans, list) or not isinstance(turns, list):
        return False
    pairs = all(isinstance(span, list) and len(span) == 2 for span in spans)
    roles = all(isinstance(turn, dict) and turn.get("role") in ("student", "tutor") for turn in turns)
    return pairs and roles and len(spans) <= len(turns) + 1 and all(map(_is_time, chain(*spans)))


def _draw(parent: ElementTree.Element, shape: str, **attributes: Any) -> ElementTree.Element:
    values = {name: f"{value:.2f}" if isinstance(value, float) else str(value) for name, value in attributes.items()}
    return ElementTree.SubElement(parent, shape, values)


def _text(parent: ElementTree.Element, x: float, y: float, text: str, kind: str | None = None) -> None:
    _draw(parent, "text", x=x, y=y, **({"class": kind} if kind else {})).text = text
