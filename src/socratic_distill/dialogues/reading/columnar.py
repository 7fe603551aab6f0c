"""Parquet files, directories that `datasets` saved, and data sets on the hub as rows."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from socratic_distill.config.paths import HUB
from socratic_distill.dialogues.reading.json_rows import Row
from socratic_distill.dialogues.reading.packed import Source, missing

_ROWS = 1000  # read at a time
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[^@:]+))?(?:@(?P<split>.+))?")
_HUB_URL = re.compile(r"hf://datasets/(?P<name>[\w.-]+/[\w.-]+)/?(?:@(?P<split>[\w.-]+))?")
SAVED = ("state.json", "dataset_dict.json")
"""Files by which a directory that `datasets` saved is known."""


def parquet_rows(source: Source) -> Iterator[Row]:
    """The rows of a Parquet file.

    Raises:
        DataExtraMissing: pyarrow is not installed.
        ConfigError: of the source's class; it cannot be read.
    """
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise missing(source.name, "pyarrow") from None
    with source.reading(), source.open() as file:
        try:
            # Seeking in a packed file unpacks it from its start again, so it is read whole.
            table = pyarrow.parquet.ParquetFile(io.BytesIO(file.read()) if source.suffixes[1] else file)
            yield from _numbered(row for batch in table.iter_batches(_ROWS) for row in batch.to_pylist())
        except (pyarrow.ArrowException, UnicodeDecodeError) as fault:
            raise source.error(f"{source.name}: cannot be read ({fault}); expected a Parquet file") from None


def saved_rows(source: Source) -> Iterator[Row]:
    """The rows of a directory that `datasets` saved.

    Raises:
        DataExtraMissing: datasets is not installed.
        ConfigError: of the source's class; it cannot be read, or has several splits and none is named.
    """
    datasets = _datasets(source)
    with _faults(source, "a directory that datasets saved with save_to_disk"):
        data = datasets.load_from_disk(os.fspath(source.path))
    if isinstance(data, datasets.DatasetDict):
        data = data[_split(source, list(data), source.split)]
    return _batched(data)


def hub_rows(source: Source) -> Iterator[Row]:
    """The rows of a data set on the hub; `datasets` keeps what it downloads.

    Raises:
        DataExtraMissing: datasets is not installed.
        ConfigError: of the source's class; there is no such data set, configuration or split, or the hub cannot be
            reached.
    """
    text = os.fspath(source.given)
    match = _HUB_NAME.fullmatch(text.removeprefix(HUB)) if text.startswith(HUB) else _HUB_URL.fullmatch(text)
    if match is None:
        raise source.error(
            f"{source.name}: is no name of a data set; expected 'hub:NAME', 'hub:NAME:CONFIG' or 'hub:NAME@SPLIT', "
            "such as 'hub:openai/gsm8k:main@train'"
        )
    parts = match.groupdict()
    name, config = parts["name"], parts.get("config")
    if source.split is not None and parts["split"] not in (None, source.split):
        raise source.error(f"{source.name}: split={source.split!r} is given as well; keep one split")
    datasets = _datasets(source)
    with _faults(source, "a data set on the hub, such as 'hub:openai/gsm8k:main@train'"):
        splits = datasets.get_dataset_split_names(name, config)
    split = _split(source, splits, source.split or parts["split"])
    with _faults(source, "a data set on the hub"):
        data = datasets.load_dataset(name, config, split=split)
    return _batched(data)


def _datasets(source: Source) -> Any:
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise missing(source.name, "datasets") from None
    return datasets


@contextmanager
def _faults(source: Source, expected: str) -> Iterator[None]:
    """Raises any error of `datasets`, which has many kinds, as one of the source's class."""
    try:
        yield
    except Exception as fault:
        reason = " ".join(f"{type(fault).__name__}: {fault}".split())
        raise source.error(f"{source.name}: cannot be read ({reason[:500]}); expected {expected}") from None


def _split(source: Source, splits: list[str], wanted: str | None) -> str:
    if wanted in splits:
        return str(wanted)
    if wanted is None and len(splits) == 1:
        return splits[0]
    reason = f"has no split {wanted!r}" if wanted is not None else "has several splits"
    how = f"write '{source.name}@{splits[0]}', or" if source.name.startswith(HUB) and wanted is None else "name one:"
    raise source.error(f"{source.name}: {reason}, of {', '.join(map(repr, splits))}; {how} split={splits[0]!r}")


def _batched(data: Any) -> Iterator[Row]:
    plain = data.with_format(None)
    names = list(plain.column_names)
    batches = (plain[start : start + _ROWS] for start in range(0, len(plain), _ROWS))
    return _numbered(
        dict(zip(names, values, strict=True))
        for batch in batches
        for values in zip(*(batch[name] for name in names), strict=True)
    )


def _numbered(rows: Iterator[dict[str, Any]]) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        yield Row(number, f"row {number}", row)
