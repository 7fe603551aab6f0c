"""Beginnings of prompts that were read before: a teacher's prompt, a group's opening, a dialogue's earlier turns.

They are remembered in blocks of 64 positions. A block is always computed in the same way, so that it does not
matter for a single bit of an answer whether it was remembered or read again; a run that resumes begins with none.
"""

import itertools
from collections import OrderedDict
from dataclasses import dataclass

from socratic_distill.local.slots import Stretch

BLOCK = 64
_LIMIT = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Block:
    """One remembered block.

    Attributes:
        number: its own; what follows it is found by it.
        stretch: its keys and values.
    """

    number: int
    stretch: Stretch


Key = tuple[str | None, int, tuple[int, ...]]
START = 0  # what the first block of a prompt follows


class PrefixMemory:
    """Blocks by the adapter they were read with, the block before, and their tokens; the least used go first."""

    def __init__(self, limit: int = _LIMIT) -> None:
        """Begins empty.

        Args:
            limit: bytes of keys and values kept.
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
