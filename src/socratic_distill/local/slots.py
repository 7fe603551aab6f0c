"""Keys and values of the sequences that are being read: one slot for each sequence, all of the same width."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class CacheShape:
    """Shape of a position in the cache: keys `[layers, heads, key]` and values `[layers, heads, value]`."""

    layers: int
    heads: int
    key: int
    value: int
    dtype: torch.dtype
    device: torch.device

    @property
    def position_bytes(self) -> int:
        """Bytes of keys and values of one position."""
        return self.layers * self.heads * (self.key + self.value) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Stretch:
    """Keys `[layers, heads, n, key]` and values `[layers, heads, n, value]` of n neighbouring positions."""

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def bytes(self) -> int:
        """Bytes of keys and values together."""
        return self.keys.nbytes + self.values.nbytes


class Slots:
    """Room for `rows` sequences of `width` positions each."""

    def __init__(self, shape: CacheShape, rows: int, width: int) -> None:
        """Allocates the memory."""
        # Zeros, not empty memory: a masked position still counts as 0 x value, and 0 x NaN is NaN.
        sizes = (shape.layers, rows, shape.heads, width)
        self.keys = torch.zeros((*sizes, shape.key), dtype=shape.dtype, device=shape.device)
        self.values = torch.zeros((*sizes, shape.value), dtype=shape.dtype, device=shape.device)

    def read(self, row: int, start: int, stop: int) -> Stretch:
        """A copy of the positions `start` to `stop` of a row."""
        return Stretch(self.keys[:, row, :, start:stop].clone(), self.values[:, row, :, start:stop].clone())

    def write(self, row: int, start: int, stretch: Stretch) -> None:
        """Writes a stretch into a row, from position `start` on."""
        stop = start + stretch.keys.shape[2]  # keys: [layers, heads, n, key]
        self.keys[:, row, :, start:stop] = stretch.keys
        self.values[:, row, :, start:stop] = stretch.values

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` positions of a row into another."""
        for cached in (self.keys, self.values):  # [layers, rows, heads, width, size]
            cached[:, target, :, :length] = cached[:, source, :, :length]


class Pass:
    """The cache that transformers sees during one pass: some slots, each with its own number of earlier positions."""

    is_compileable = False  # transformers asks caches for this

    def __init__(self, slots: Slots, rows: Sequence[int], starts: Sequence[int], count: int) -> None:
        """Computes where the new positions go.

        Args:
            slots: the slots.
            rows: numbers of the slots used, one for each sequence of the pass.
            starts: number of positions that each sequence has already.
            count: new positions of each, padding included. Padding is written too, and overwritten later.
        """
        device = slots.keys.device
        self._present = max(starts)
        self.width = self._present + count
        assert self.width <= slots.keys.shape[3], "positions beyond a slot would be written into the next one"
        if count == 1 and 4 * self.width >= 3 * slots.keys.shape[3]:
            self.width = slots.keys.shape[3]  # a slice of the slots is not contiguous, and products would copy it
        # Neighbouring rows are a slice, which is a view; an index tensor would copy keys and values at each layer.
        neighbours = list(rows) == list(range(rows[0], rows[0] + len(rows)))
        self._slots = slots
        self._rows: Any = slice(rows[0], rows[0] + len(rows)) if neighbours else torch.tensor(rows, device=device)
        self.positions = torch.tensor(starts, device=device)[:, None] + torch.arange(count, device=device)  # [B, n]
        # Where a layer's new positions go, counted in vectors: one list of numbers is faster than two index tensors.
        _, _, heads, width, _ = slots.keys.shape
        planes = torch.tensor(rows, device=device)[:, None] * heads + torch.arange(heads, device=device)  # [B, heads]
        self._places = (planes[:, :, None] * width + self.positions[:, None]).view(-1)  # [B·heads·n]

    def mask(self) -> torch.Tensor:
        """The additive mask: 0 where a new position may attend, minus infinity elsewhere, `[B, 1, n, width]`."""
        columns = torch.arange(self.width, device=self.positions.device)  # [width]
        hidden = columns > self.positions[:, None, :, None]  # [B, 1, n, width]
        mask = torch.zeros(hidden.shape, dtype=self._slots.keys.dtype, device=hidden.device)
        return mask.masked_fill_(hidden, float("-inf"))

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stores a layer's new positions, `[B, heads, n, size]`; returns all positions, `[B, heads, width, size]`."""
        complete = []
        for cached, new in ((self._slots.keys[layer], keys), (self._slots.values[layer], values)):
            size = cached.shape[-1]
            cached.view(-1, size).index_copy_(0, self._places, new.reshape(-1, size))
            complete.append(cached[self._rows, :, : self.width])
        return complete[0], complete[1]

    def get_seq_length(self, layer: int = 0) -> int:
        """Number of earlier positions of the longest sequence."""
        return self._present
