"""Reads and writes safetensors files one block of a tensor at a time, so that a file of any size needs little memory.

The safetensors library maps a whole file into memory, and its writer needs all tensors of a file at once.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from socratic_distill.errors import LocalEngineError
from socratic_distill.files.durable import open_regular
from socratic_distill.files.tensor_headers import SIZES, Tensor, read_header

_BLOCK_BYTES = 1 << 24
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Floating-point dtypes by the names that safetensors has for them."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Product:
    """A product of two matrices that is added to rows of a tensor.

    Attributes:
        left: `[rows, rank]`, fp32.
        right: `[rank, columns]`, fp32.
        first: the row of the tensor that the product's first row is added to.
    """

    left: torch.Tensor
    right: torch.Tensor
    first: int = 0


@dataclass(frozen=True)
class Written:
    """A tensor to write.

    Attributes:
        name: in the new file.
        source: name of the tensor that it is made from, in the old file.
        products: make what is added to it; called when the tensor is written.
        dtype: to write floating-point numbers in. None: as they are stored.
    """

    name: str
    source: str
    products: Sequence[Callable[[], Product]] = ()
    dtype: torch.dtype | None = None

    def dtype_of(self, tensor: Tensor) -> str:
        """What the source is written as, as safetensors names it."""
        return tensor.dtype if self.dtype is None or tensor.dtype not in DTYPES else _NAMES[self.dtype]

    def size_of(self, tensor: Tensor) -> int:
        """Number of bytes to write."""
        return SIZES[self.dtype_of(tensor)] * math.prod(tensor.shape)


class TensorFile:
    """A safetensors file to read from, without mapping it into memory."""

    def __init__(self, path: Path) -> None:
        """Reads the header.

        Args:
            path: the file; a link is followed, as in the caches of model hubs.

        Raises:
            LocalEngineError: it cannot be read, or is damaged.
        """
        self.path = path
        try:
            self.tensors: Mapping[str, Tensor] = read_header(path, Path(path.absolute().anchor))
        except (OSError, ValueError) as error:
            raise LocalEngineError(f"{path} cannot be read: {error}; give another copy of the model") from error

    def read(self, name: str, number: int | None = None) -> torch.Tensor:
        """A tensor of floating-point numbers, in fp32.

        Args:
            name: of the tensor.
            number: of the part to read along the first dimension. None: the whole tensor.

        Raises:
            LocalEngineError: it cannot be read, or holds other numbers.
        """
        tensor = self.tensors[name]
        if tensor.dtype not in DTYPES:
            raise LocalEngineError(f"{name!r} in {self.path} has the dtype {tensor.dtype}; expected one of {_floats()}")
        shape, size, begin = tensor.shape, tensor.size, tensor.begin
        if number is not None:
            shape, size = shape[1:], size // shape[0]
            begin += number * size
        stored = bytearray().join(self._read(begin, size, size))
        if not stored:
            return torch.empty(shape)
        return torch.frombuffer(stored, dtype=DTYPES[tensor.dtype]).reshape(shape).to(torch.float32)

    def blocks(self, name: str) -> Iterator[bytearray]:
        """The bytes of a tensor, in blocks of whole rows.

        Raises:
            LocalEngineError: they cannot be read.
        """
        tensor = self.tensors[name]
        row = tensor.size // tensor.shape[0] if tensor.shape and tensor.shape[0] else tensor.size
        yield from self._read(tensor.begin, tensor.size, max(1, _BLOCK_BYTES // max(1, row)) * row)

    def _read(self, begin: int, size: int, step: int) -> Iterator[bytearray]:
        try:
            with open_regular(self.path, root=Path(self.path.absolute().anchor)) as file:
                file.seek(begin)
                for done in range(0, size, step or 1):
                    block = bytearray(min(step, size - done))
                    if file.readinto(block) < len(block):  # pyright: ignore[reportAttributeAccessIssue]
                        raise LocalEngineError(f"{self.path} became shorter while it was read")
                    yield block
        except OSError as error:
            raise LocalEngineError(f"{self.path} cannot be read: {error.strerror or error}") from error


def write_tensors(source: TensorFile, target: Path, wanted: Sequence[Written]) -> None:
    """Writes a safetensors file from the tensors of another one; sums are computed in fp32, or fp64 for fp64 tensors.

    Args:
        source: the file to read.
        target: the file to write.
        wanted: its tensors, in order.

    Raises:
        LocalEngineError: the source cannot be read, or a sum is too large for the dtype.
        OSError: the target cannot be written.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in wanted:
        tensor = source.tensors[entry.source]
        begin, end = end, end + entry.size_of(tensor)
        header[entry.name] = {
            "dtype": entry.dtype_of(tensor),
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format asks for tensors that begin at a multiple of 8
    with open_regular(target, "xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in wanted:
            _write_tensor(source, file, entry)
        file.flush()
        os.fsync(file.fileno())


def _write_tensor(source: TensorFile, file: BinaryIO, entry: Written) -> None:
    tensor = source.tensors[entry.source]
    name = entry.dtype_of(tensor)
    if name == tensor.dtype and not entry.products:
        for block in source.blocks(entry.source):
            file.write(block)
        return
    if tensor.dtype not in DTYPES:
        raise LocalEngineError(
            f"{entry.source!r} in {source.path} has the dtype {tensor.dtype}, to which an adapter cannot be added; "
            f"expected one of {_floats()}"
        )
    products = [make() for make in entry.products]
    columns, row = math.prod(tensor.shape[1:]), 0
    for block in source.blocks(entry.source):
        stored = torch.frombuffer(block, dtype=DTYPES[tensor.dtype])
        wide = torch.float64 if tensor.dtype == "F64" else torch.float32
        values = stored.to(wide).reshape(-1, columns)  # [rows of this block, columns]
        for product in products:
            begin, end = max(row, product.first), min(row + len(values), product.first + len(product.left))
            if begin < end:
                left = product.left[begin - product.first : end - product.first]
                values[begin - row : end - row] += (left @ product.right).to(wide)
        row += len(values)
        final = values.to(DTYPES[name])
        if not torch.isfinite(final).all() and torch.isfinite(stored).all():
            raise LocalEngineError(
                f"{entry.name!r} has numbers that are too large for {DTYPES[name]}; give --dtype float32 (in Python "
                "dtype='float32')"
            )
        file.write(final.contiguous().view(torch.uint8).numpy().data)


def _floats() -> str:
    return ", ".join(DTYPES)
