"""Checks the header of a safetensors file against the format, without the library and without reading a tensor.

A file begins with the length of its header, 8 bytes, little-endian. The header is JSON: for each tensor its dtype, its
shape and where its bytes begin and end after the header. The tensors fill the rest of the file without gaps.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socratic_distill.files.durable import open_regular

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000  # as the library
_MOST_DIMENSIONS = 64
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one number, by dtype."""


@dataclass(frozen=True)
class Tensor:
    """What a header says of a tensor.

    Attributes:
        dtype: as safetensors names it, such as "BF16".
        shape: its dimensions.
        begin: position of its first byte in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int

    @property
    def size(self) -> int:
        """Number of its bytes."""
        return SIZES[self.dtype] * math.prod(self.shape)


def read_header(path: Path, root: Path | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; the file is exactly as long as they need.

    Args:
        path: the file.
        root: as for `socratic_distill.files.durable.open_regular`.

    Raises:
        ValueError: the file is no safetensors file, or is cut; the message is the reason, without the path.
        OSError: it cannot be read.
    """
    with open_regular(path, root=root) as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or not 2 <= length <= min(size - _LENGTH_BYTES, _MOST_HEADER_BYTES):
            raise ValueError("it does not begin with the length of a safetensors header")
        header = _parse(file.read(length))
    tensors, spans = {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
                raise ValueError("its __metadata__ is no object of texts")
            continue
        tensors[name], span = _read_entry(name, entry, _LENGTH_BYTES + length)
        spans.append((*span, name))
    _check_spans(spans, size - _LENGTH_BYTES - length)
    return tensors


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"its header is not the JSON of safetensors: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name occurs twice")
    return names


def _read_entry(name: str, entry: Any, start: int) -> tuple[Tensor, tuple[int, int]]:
    """A tensor, and where its bytes begin and end after `start`, the first byte after the header."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its header has no dtype, shape and data_offsets for {name!r}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    item = SIZES.get(dtype) if isinstance(dtype, str) else None
    if item is None:
        raise ValueError(f"{name!r} has the dtype {dtype!r}; expected one of {', '.join(SIZES)}")
    if not _are_sizes(shape) or len(shape) > _MOST_DIMENSIONS or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r} has an invalid shape or invalid offsets")
    begin, end = offsets
    if end - begin != item * math.prod(shape):
        raise ValueError(f"{name!r} has {end - begin} bytes, which do not fit its dtype {dtype} and shape {shape}")
    return Tensor(dtype, tuple(shape), start + begin), (begin, end)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_spans(spans: list[tuple[int, int, str]], room: int) -> None:
    """Returns if tensors follow each other without gaps, and fill the file."""
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            raise ValueError(f"the bytes of {name!r} begin at {begin}; expected {reached}")
        reached = end
    if reached != room:
        raise ValueError(f"it has {room} bytes of tensors; its header names {reached}")
