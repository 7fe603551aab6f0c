"""Quality against cost of many settings, as SVG written by hand in the colours of the other figures."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "scripts" / "figures"))

from palette import Palette, both  # pyright: ignore[reportMissingImports]

_WIDTH, _HEIGHT = 728, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 78, 52
_MARKS = 6
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Frame:
    """The ranges that are shown: both axes begin at 0."""

    right: float
    top: float

    def x(self, value: float) -> float:
        """The place of a cost."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / self.right

    def y(self, value: float) -> float:
        """The place of a quality."""
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / self.top


def write(
    directory: Path, name: str, curves: Mapping[str, Curve], chosen: Sequence[str], target: float, labels: Sequence[str]
) -> list[Path]:
    """Writes the figure for light and for dark pages.

    Args:
        directory: where it goes.
        name: of its files.
        curves: cost and quality along each setting's runs.
        chosen: the settings that have a colour and are named, at most four; the others are thin lines.
        target: the quality that is to be reached.
        labels: title, horizontal axis, vertical axis.
    """
    files = both(directory, name)
    for path, palette in files:
        path.write_text(draw(curves, chosen, target, labels, palette), encoding="utf-8")
    return [path for path, _ in files]


def draw(
    curves: Mapping[str, Curve], chosen: Sequence[str], target: float, labels: Sequence[str], palette: Palette
) -> str:
    """The figure in the colours of one palette."""
    title, across, upwards = labels
    points = [point for curve in curves.values() for point in curve]
    frame = Frame(1.04 * max(cost for cost, _ in points), 1.04 * max(value for _, value in points))
    parts = [*_axes(frame, across, upwards, palette), _dashes(frame, target, palette)]
    parts += [_line(frame, curve, palette.soft, 0.8, 0.55) for name, curve in curves.items() if name not in chosen]
    for place, name in enumerate(chosen):
        parts += _named(frame, curves[name], name, place, palette)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-labelledby="title" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\">\n"
        f'<title id="title">{escape(title)}</title>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _axes(frame: Frame, across: str, upwards: str, palette: Palette) -> list[str]:
    parts = []
    for value in _ticks(frame.top):
        y = frame.y(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{palette.rule}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{value:g}", palette.soft, "end"))
    for value in _ticks(frame.right):
        x = frame.x(value)
        parts.append(f'<path d="M{x:.1f} {_HEIGHT - _BOTTOM}v5" stroke="{palette.soft}"/>')
        parts.append(_text(x, _HEIGHT - _BOTTOM + 20, f"{value:g}", palette.soft, "middle"))
    parts.append(_text(_WIDTH / 2, _HEIGHT - 8, across, palette.ink, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = _text(0, 0, upwards, palette.ink, "middle")
    return [*parts, f'<g transform="translate(16 {middle:.0f}) rotate(-90)">{turned}</g>']


def _ticks(end: float) -> list[float]:
    """Round values from 0 to at most `end`."""
    step = next(s * 10.0**power for power in range(-6, 9) for s in (1, 2, 5) if end / (s * 10.0**power) <= _MARKS)
    return [round(step * i, 9) for i in range(int(end / step) + 1)]


def _dashes(frame: Frame, target: float, palette: Palette) -> str:
    return f'<path d="M{_LEFT} {frame.y(target):.1f}H{_WIDTH - _RIGHT}" stroke="{palette.ink}" stroke-dasharray="4 4"/>'


def _named(frame: Frame, curve: Curve, name: str, place: int, palette: Palette) -> list[str]:
    colour = palette.accents[place]
    dots = [f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in curve]
    x, y = _LEFT + 330 * (place % 2), 22 + 24 * (place // 2)
    key = f'<path d="M{x} {y - 5}h26" stroke="{colour}" stroke-width="2.4"/>'
    return [_line(frame, curve, colour, 2.2, 1.0), *dots, key, _text(x + 34, y, name, palette.ink, "start")]


def _line(frame: Frame, curve: Curve, colour: str, width: float, opacity: float) -> str:
    path = "L".join(f"{frame.x(cost):.1f} {frame.y(value):.1f}" for cost, value in curve)
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{width}" opacity="{opacity}"/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" font-size="13" text-anchor="{anchor}">{escape(text)}</text>'
