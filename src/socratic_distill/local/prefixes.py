"""Remembers beginnings of prompts: a teacher's prompt, a group's first turn, a dialogue's earlier turns.

They are remembered in blocks of 64 positions. A block is always computed in the same way, so an answer has the same
bits whether a block was remembered or read again. This matters for resuming, since a new process remembers none.
"""

import itertools
from collections import OrderedDict
from dataclasses import dataclass

from socratic_distill.local.slots import Stretch

BLOCK = 64  # above layers.FEW_ROWS, so that a block alone takes the same kernel as several together
LIMIT = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Block:
    """One remembered block.

    Attributes:
        number: identifies the block; the key of the next block contains it.
        stretch: its keys and values.
    """

    number: int
    stretch: Stretch


# Adapter, number of the block before, and the block's own tokens: equal keys mean equal prompts up to here.
Key = tuple[str | None, int, tuple[int, ...]]
START = 0  # in place of the block before a prompt's first


class PrefixMemory:
    """Blocks by adapter, the block before, and tokens; the least recently used are dropped first."""

    def __init__(self, limit: int = LIMIT) -> None:
        """Begins empty.

        Args:
            limit: bytes of keys and values to keep at most.
        """
        self._limit = limit
        self._blocks: OrderedDict[Key, Block] = OrderedDict()
        self._numbers = itertools.count(START + 1)
        self._bytes = 0

    def find(self, key: Key) -> Block | None:
        """A block, or None."""
        block = self._blocks.get(key)
        if block is not None:
            self._blocks.move_to_end(key)
        return block

    def add(self, key: Key, stretch: Stretch) -> Block:
        """Remembers a block."""
        block = Block(next(self._numbers), stretch)
        self._blocks[key] = block
        self._bytes += stretch.bytes
        while self._bytes > self._limit:
            self._bytes -= self._blocks.popitem(last=False)[1].stretch.bytes
        return block

    def forget(self, adapter: str) -> None:
        """Drops an adapter's blocks."""
        for key in [key for key in self._blocks if key[0] == adapter]:
            self._bytes -= self._blocks.pop(key).stretch.bytes
