"""Numbers for people, and the glyphs that a terminal can show."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console


@dataclass(frozen=True)
class Glyphs:
    """What bars and curves are drawn with.

    Attributes:
        done, left: of a bar.
        levels: of a curve, from the lowest.
        ellipsis: stands for what was cut off.
    """

    done: str
    left: str
    levels: str
    ellipsis: str


BLOCKS = Glyphs("━", "─", "▁▂▃▄▅▆▇█", "…")
ASCII = Glyphs("#", "-", "_.:-=+*#", "...")


def glyphs_of(console: Console) -> Glyphs:
    """Those that a console can show: its encoding must have them, and its font."""
    wanted = "".join((BLOCKS.done, BLOCKS.left, BLOCKS.levels, BLOCKS.ellipsis))
    try:
        wanted.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    # The kernel's own console reads UTF-8, but its fonts have few of the blocks.
    is_poor = console.legacy_windows or os.environ.get("TERM") == "linux"
    return ASCII if is_poor else BLOCKS


def cut(text: str, width: int, glyphs: Glyphs) -> str:
    """The text, cut to a width in terminal cells."""
    if cell_len(text) <= width:
        return text
    room = width - cell_len(glyphs.ellipsis)
    return set_cell_size(text, room) + glyphs.ellipsis if room > 0 else set_cell_size(text, max(0, width))


def bar(done: int, total: int, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """A bar's two parts, `width` cells together."""
    filled = min(width, width * done // total) if total else 0
    return glyphs.done * filled, glyphs.left * (width - filled)


def sparkline(values: Sequence[float | None], low: float, high: float, width: int, glyphs: Glyphs) -> str:
    """A curve in one line, the mean of an even share of the values in each cell; a space where there is none.

    Args:
        values: in order.
        low: value of the lowest level.
        high: value of the highest.
        width: most cells.
        glyphs: levels.
    """
    cells = min(width, len(values))
    bounds = [i * len(values) // cells for i in range(cells + 1)] if cells else []
    shares = [values[start:stop] for start, stop in pairwise(bounds)]
    return "".join(_level(share, low, high, glyphs.levels) for share in shares)


def _level(values: Sequence[float | None], low: float, high: float, levels: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return " "
    share = (sum(known) / len(known) - low) / (high - low) if high > low else 0.0
    return levels[min(len(levels) - 1, max(0, int(share * len(levels))))]


def amount(count: int) -> str:
    """A count in at most five characters, up to a billion: 950, 34.2k, 1.23M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size * 0.9995:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:.0f}{unit}"
    return str(count)


def dollars(usd: float) -> str:
    """An amount of USD: $1.23, or $0.0123 below ten cents."""
    return f"${usd:,.2f}" if usd >= 0.1 else f"${usd:.4f}"


def shaped(value: Any, shape: str) -> str | None:
    """A figure as text; None where there is none."""
    return None if value is None else shape.format(value)
