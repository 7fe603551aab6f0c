"""Figures as Markdown tables, on the terminal and in a document."""

from collections.abc import Sequence
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for first, *rest in (heads, rule, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def publish(name: str, text: str, write: bool, target: str = "bench", document: Path = DOCUMENT) -> None:
    """Prints a text; where asked to, puts it between the document's marks of that name and make target."""
    print(f"\n{text}", flush=True)
    if not write:
        return
    opening, closing = f"<!-- {name}: written by `make {target}` -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = document.read_text(encoding="utf-8").partition(opening)
    _, ended, after = rest.partition(closing)
    assert found and ended, f"{document} has no place for {name}"
    document.write_text(f"{before}{opening}{text}{closing}{after}", encoding="utf-8")
