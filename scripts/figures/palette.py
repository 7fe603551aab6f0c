"""The colours of the figures, on a light and on a dark page, and how the two files of a figure are called."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Palette:
    """The colours of a figure; its ground is transparent.

    Attributes:
        ink: text and lines.
        soft: what is less important.
        rule: grids.
        panel: ground of a box.
        accents: one for each line or role, told apart by people who see colours otherwise (Okabe and Ito, 2008).
    """

    ink: str
    soft: str
    rule: str
    panel: str
    accents: tuple[str, ...]


LIGHT = Palette("#1c1d1f", "#5b5f66", "#dedcd4", "#f5f4f0", ("#0072b2", "#c04f00", "#007f5f", "#a8447f"))
DARK = Palette("#e7e5e0", "#a5a9b0", "#464b52", "#262a2f", ("#56b4e9", "#f0943a", "#2fc39a", "#e29bc4"))


def both(directory: Path, name: str) -> tuple[tuple[Path, Palette], tuple[Path, Palette]]:
    """The SVG files of a figure for light and for dark pages, each with its palette."""
    return (directory / f"{name}.svg", LIGHT), (directory / f"{name}-dark.svg", DARK)
