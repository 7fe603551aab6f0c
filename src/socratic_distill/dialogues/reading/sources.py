"""A path or the name of a data set to rows.

| source | is read as |
|---|---|
| `.jsonl`, `.ndjson`, any other ending | JSONL |
| `.json` | a list of objects, an object that holds one for each name or one such list, or JSONL |
| `.csv`, `.tsv` | a table with a header |
| `.parquet` | Parquet; needs pyarrow |
| one of these with `.gz` or `.zst` | the same, unpacked; `.zst` needs zstandard |
| a directory that `datasets` saved | its rows; needs datasets |
| `hub:NAME`, `hub:NAME:CONFIG`, each with `@SPLIT` if it has several; `hf://datasets/NAME` | a data set on the hub |
"""

import os
from collections.abc import Iterator

from socratic_distill.config.paths import HUB
from socratic_distill.dialogues.reading.columnar import SAVED, hub_rows, parquet_rows, saved_rows
from socratic_distill.dialogues.reading.json_rows import Row, json_rows, jsonl_rows
from socratic_distill.dialogues.reading.packed import Source
from socratic_distill.dialogues.reading.tables import table_rows


def rows_of(source: Source) -> Iterator[Row]:
    """The rows of a source, in its order.

    Raises:
        ConfigError: of the source's class; it cannot be read.
        DataExtraMissing: it needs packages of the extra `data`.
    """
    if os.fspath(source.given).startswith((HUB, "hf://")):
        return hub_rows(source)
    if source.path.is_dir() and any((source.path / name).is_file() for name in SAVED):
        return saved_rows(source)
    if source.split is not None:
        raise source.error(
            f"{source.name}: split={source.split!r} is given, but only data sets on the hub and directories that "
            "datasets saved have splits; leave it out"
        )
    source.check_suffix()
    match source.suffixes[0]:
        case ".json":
            return json_rows(source)
        case ".csv" | ".tsv":
            return table_rows(source)
        case ".parquet":
            return parquet_rows(source)
        case _:
            return jsonl_rows(source.lines(), source.what)
