"""A run's figures as a table."""

import csv
import os
from pathlib import Path
from typing import Any

from socratic_distill.config.paths import resolved
from socratic_distill.errors import ConfigError
from socratic_distill.files.rows import step_of
from socratic_distill.outputs.exports.rows import check_file, read_file, replacing, run_directory
from socratic_distill.run.layout import METRICS
from socratic_distill.text import shown

# Spreadsheets run cells that begin so, some of them after blanks; the last four are the full-width ones.
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def export_csv(log_path: str | os.PathLike[str], out: str | os.PathLike[str]) -> int:
    """Writes metrics.jsonl as CSV in UTF-8, as `pandas.read_csv` reads it: one row a step, in order of steps.

    The columns are all keys of all rows, in the order in which they first come, `step` first; what a row lacks, and
    null, is empty.
    Text that a spreadsheet would take for a formula begins with an apostrophe, and control characters are escaped. Of a
    step that stands twice in the file the later row counts. The run may be under way.

    Args:
        log_path: directory of the run; it may be in a store.
        out: file to write; one that is there is replaced.

    Returns:
        The number of steps.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        ConfigError: the directory has no metrics, or `out` is not a file to write.
        StorageError: the file cannot be written, or the store fails.
    """
    directory, file = run_directory(log_path), Path(resolved(out))
    check_file(file, directory)
    rows = {row["step"]: row for row in read_file(directory / METRICS) if step_of(row) is not None}
    if not rows:
        raise ConfigError(f"{directory / METRICS} has no row yet; expected the directory of a run that did a step")
    columns = dict.fromkeys(["step", *(key for row in rows.values() for key in row)])
    with replacing(file) as lines:
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(map(_cell, columns))
        table.writerows([_cell(rows[step].get(column)) for column in columns] for step in sorted(rows))
    return len(rows)


def _cell(value: Any) -> Any:
    """A value as a cell. Text that a spreadsheet would take for a formula is quoted as spreadsheets quote: by a '."""
    if value is None or isinstance(value, int | float):
        return value
    text = shown(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
