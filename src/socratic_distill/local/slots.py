"""Keys and values of the sequences that are being read: one slot a sequence, all of one width."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class CacheShape:
    """What a model keeps of each position: keys `[layers, heads, key]` and values `[layers, heads, value]`."""

    layers: int
    heads: int
    key: int
    value: int
    dtype: torch.dtype
    device: torch.device

    @property
    def position_bytes(self) -> int:
        """Bytes of one position."""
        return self.layers * self.heads * (self.key + self.value) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Stretch:
    """Keys `[layers, heads, n, key]` and values `[layers, heads, n, value]` of n neighbouring positions."""

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def bytes(self) -> int:
        """Size."""
        return self.keys.nbytes + self.values.nbytes


class Slots:
    """Room for `rows` sequences of `width` positions each.

    Zeroed, since what attention masks out must still be a number.
    """

    def __init__(self, shape: CacheShape, rows: int, width: int) -> None:
        """Takes the memory."""
        sizes = (shape.layers, rows, shape.heads, width)
        self.keys = torch.zeros((*sizes, shape.key), dtype=shape.dtype, device=shape.device)
        self.values = torch.zeros((*sizes, shape.value), dtype=shape.dtype, device=shape.device)

    def read(self, row: int, start: int, stop: int) -> Stretch:
        """A copy of the positions `start` to `stop` of a row."""
        return Stretch(self.keys[:, row, :, start:stop].clone(), self.values[:, row, :, start:stop].clone())

    def write(self, row: int, start: int, stretch: Stretch) -> None:
        """Puts a stretch into a row."""
        stop = start + stretch.keys.shape[2]
        self.keys[:, row, :, start:stop] = stretch.keys
        self.values[:, row, :, start:stop] = stretch.values

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` positions of a row into another."""
        for kept in (self.keys, self.values):
            kept[:, target, :, :length] = kept[:, source, :, :length]


class Pass:
    """What transformers sees as its cache during one pass: some slots, each read on from a place of its own."""

    is_compileable = False  # transformers asks caches for this

    def __init__(self, slots: Slots, rows: Sequence[int], starts: Sequence[int], count: int) -> None:
        """Lays out where the new positions go.

        Args:
            slots: the slots.
            rows: which of them, one for each sequence of the pass.
            starts: how many positions of each are there already.
            count: new positions of each, padding included; padding is written too, and later written over.
        """
        device = slots.keys.device
        self._present = max(starts)
        self.width = self._present + count
        if count == 1 and 4 * self.width >= 3 * slots.keys.shape[3]:
            self.width = slots.keys.shape[3]  # whole slots need not be copied for the products
        neighbours = list(rows) == list(range(rows[0], rows[0] + len(rows)))
        self._slots = slots
        self._rows: Any = slice(rows[0], rows[0] + len(rows)) if neighbours else torch.tensor(rows, device=device)
        self._places = torch.tensor(rows, device=device)[:, None]  # [B, 1]
        self.positions = torch.tensor(starts, device=device)[:, None] + torch.arange(count, device=device)  # [B, n]

    def mask(self) -> torch.Tensor:
        """What each new position may look at: 0, and minus infinity elsewhere, `[B, 1, n, width]`."""
        columns = torch.arange(self.width, device=self.positions.device)
        hidden = columns > self.positions[:, None, :, None]
        mask = torch.zeros(hidden.shape, dtype=self._slots.keys.dtype, device=hidden.device)
        return mask.masked_fill_(hidden, float("-inf"))

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keeps the new positions of a layer, `[B, heads, n, size]`; gives all of them, `[B, heads, width, size]`."""
        found = []
        for kept, new in ((self._slots.keys[layer], keys), (self._slots.values[layer], values)):
            kept[self._places, :, self.positions] = new.transpose(1, 2)
            found.append(kept[self._rows, :, : self.width])
        return found[0], found[1]

    def get_seq_length(self, layer: int = 0) -> int:
        """Positions there are already, in the longest sequence."""
        return self._present
