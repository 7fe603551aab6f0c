"""The rows of a run's JSONL files, without what differs between two runs of one config."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]


# What differs between two runs of one config: timings, and on the local engine the memory of the process.
NOT_REPEATED = ("time/", "memory/")


def read_rows(path: Path, without: str | tuple[str, ...] = NOT_REPEATED) -> list[Row]:
    """Rows of a JSONL file, but for keys that begin with `without`: timings and memory, unless told otherwise."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [{key: value for key, value in row.items() if not key.startswith(without)} for row in rows]


def rows_of_run(log_path: Path | str, without: str | tuple[str, ...] = NOT_REPEATED) -> list[list[Row]]:
    """Metrics and dialogues of a run, timings and memory left out."""
    return [read_rows(Path(log_path) / f"{name}.jsonl", without) for name in ("metrics", "dialogues")]


def rows_but_recoveries(log_path: Path | str) -> list[list[Row]]:
    """Metrics and dialogues of a run, timings and recoveries left out."""
    return rows_of_run(log_path, without=(*NOT_REPEATED, "recovery/"))


def write_rows(path: Path, *rows: Mapping[str, Any] | str) -> Path:
    """Writes a JSONL file of these rows, or of raw lines; gives its path."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path
