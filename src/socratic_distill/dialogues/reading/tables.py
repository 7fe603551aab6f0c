"""CSV and TSV as rows: the first row names the columns, and an empty cell is no value."""

import csv
from collections.abc import Iterator
from typing import Any

from socratic_distill.dialogues.reading.json_rows import Row
from socratic_distill.dialogues.reading.packed import Source

_DELIMITERS = ",;\t|"
_LONGEST_FIELD = 2**27  # characters


def table_rows(source: Source) -> Iterator[Row]:
    """The rows of a CSV or TSV file.

    In CSV the delimiter is that of `,`, `;`, tab and `|` which the header holds most often. A column without a name,
    such as pandas writes for its index, is left out.

    Raises:
        ConfigError: of the source's class; the header is missing or names a column twice, or a quote is not closed.
    """
    # Python's default of 128 KiB is less than a long dialogue. The limit is the process's, so it is only raised.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    lines = _without_nul(source)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return
    delimiter = "\t" if source.suffixes[0] == ".tsv" else max(_DELIMITERS, key=_outside_quotes(first).count)
    reader = csv.reader(_chained(first, lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start, number = 1, 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as fault:
            raise source.error(
                f"{source.name}, line {start}: not a table ({fault}); a cell that holds a quote, the delimiter "
                f"{delimiter!r} or a line break is written in double quotes, with quotes in it doubled"
            ) from None
        if cells is None:
            return
        where, start = f"line {start}", reader.line_num + 1
        if not cells:
            continue
        if header is None:
            header = _checked(source, cells)
            continue
        number += 1
        if len(cells) == len(header):
            yield Row(number, where, _row(header, cells))
        else:
            problem = f"it has {len(cells)} cells, the header has {len(header)}; a cell that holds {delimiter!r} needs"
            yield Row(number, where, {}, ValueError(f"{problem} double quotes"))


def _row(header: list[str], cells: list[str]) -> dict[str, Any]:
    return {name: cell if cell.strip() else None for name, cell in zip(header, cells, strict=True) if name}


def _checked(source: Source, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise source.error(f"{source.name}, line 1: the header names the column {twice[0]!r} twice; rename one")
    return names


def _without_nul(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines(), start=1):
        if "\0" in line:
            raise source.error(f"{source.name}, line {number}: holds a NUL character; save the file as UTF-8 text")
        yield line


def _outside_quotes(line: str) -> str:
    """A line without what stands in double quotes."""
    return "".join(line.split('"')[::2])


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines
