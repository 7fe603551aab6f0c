"""Reads prompts into slots: remembered blocks are copied, other blocks are read in a fixed way, the rest together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from socratic_distill.local.base_model import Weights
from socratic_distill.local.prefixes import BLOCK, START, Block, Key
from socratic_distill.local.slots import Pass, Slots


@dataclass(frozen=True)
class Prompt:
    """A prompt to read.

    Attributes:
        tokens: `[P]`.
        first: the first position whose output is needed.
    """

    tokens: tuple[int, ...]
    first: int

    @property
    def shared(self) -> int:
        """Positions in whole blocks before the first needed output; memory keeps keys and values, but no outputs."""
        return self.first // BLOCK * BLOCK

    @property
    def own(self) -> int:
        """Positions that are read for this prompt alone."""
        return len(self.tokens) - self.shared


def prefill(weights: Weights, slots: Slots, low: int, prompts: Sequence[Prompt]) -> Iterator[tuple[int, torch.Tensor]]:
    """Reads prompts into the slots from `low` on.

    Yields:
        For each prompt, in any order: its index among the prompts, and the outputs from `first` on, `[P - first, H]`.
    """
    _fill_blocks(weights, slots, low, prompts)
    machine = weights.base.machine
    # Passes of one start only: with different ones, the padding of a prompt could reach beyond the end of its slot.
    for start in sorted({prompt.shared for prompt in prompts}):
        indices = [i for i, prompt in enumerate(prompts) if prompt.shared == start]
        for part in alike([prompts[i].own for i in indices], machine.pass_tokens, machine.pass_cost):
            chosen = [indices[k] for k in part]
            outputs = _read_rest(weights, slots, start, [low + i for i in chosen], [prompts[i] for i in chosen])
            for i, own in zip(chosen, outputs, strict=True):
                yield i, own[prompts[i].first - start :]


def _read_rest(
    weights: Weights, slots: Slots, start: int, rows: Sequence[int], prompts: Sequence[Prompt]
) -> list[torch.Tensor]:
    """Reads what follows the blocks; gives its outputs, `[own, H]` each. A long rest is read piece by piece."""
    width, limit = max(prompt.own for prompt in prompts), weights.base.machine.pass_tokens
    tokens = torch.zeros((len(prompts), width), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        tokens[i, : prompt.own] = torch.tensor(prompt.tokens[start:])
    pieces = []
    for offset in range(0, width, limit):
        piece = tokens[:, offset : offset + limit]
        here = Pass(slots, rows, [start + offset] * len(rows), piece.shape[1])
        pieces.append(weights.read(piece, here))
    outputs = torch.cat(pieces, dim=1)  # [B, width, H]
    return [outputs[i, : prompt.own] for i, prompt in enumerate(prompts)]


def _fill_blocks(weights: Weights, slots: Slots, low: int, prompts: Sequence[Prompt]) -> None:
    """Fills the whole blocks, all prompts' first blocks first; a block that several prompts share is read once."""
    memory, before = weights.base.prefixes, [START] * len(prompts)
    for number in range(max(prompt.shared for prompt in prompts) // BLOCK):
        start = number * BLOCK
        wanted: dict[Key, list[int]] = {}
        for i, prompt in enumerate(prompts):
            if start < prompt.shared:
                key = (weights.adapter, before[i], prompt.tokens[start : start + BLOCK])
                wanted.setdefault(key, []).append(i)
        blocks = {key: memory.find(key) for key in wanted}
        # Read in the slot of the first prompt that wants it, then copied into those of the others.
        missing = [key for key, block in blocks.items() if block is None]
        for part in _in_powers(missing, weights.block_rows):
            _read_blocks(weights, slots, [low + wanted[key][0] for key in part], start, part)
            for key in part:
                blocks[key] = memory.add(key, slots.read(low + wanted[key][0], start, start + BLOCK))
        for key, block in blocks.items():
            assert isinstance(block, Block)
            for i in wanted[key]:
                slots.write(low + i, start, block.stretch)
                before[i] = block.number


def _read_blocks(weights: Weights, slots: Slots, rows: Sequence[int], start: int, keys: Sequence[Key]) -> None:
    tokens = torch.tensor([key[2] for key in keys])  # [B, BLOCK]
    weights.read(tokens, Pass(slots, rows, [start] * len(rows), BLOCK))


def _in_powers(keys: Sequence[Key], most: int) -> Iterator[Sequence[Key]]:
    """Groups of `most` keys, then of half, a quarter, …: only these sizes were tested by `alike_rows`."""
    start = 0
    while start < len(keys):
        while most > len(keys) - start:
            most //= 2
        yield keys[start : start + most]
        start += most


def alike(lengths: Sequence[int], budget: int, cost: int) -> Iterator[list[int]]:
    """Groups sequences for padded passes: equal lengths together, others if padding is cheaper than another pass.

    Args:
        lengths: of the sequences, tokens.
        budget: most tokens of a pass, padding included; a longer sequence gets its own pass.
        cost: fixed cost of a pass, in tokens.

    Yields:
        Indices into `lengths`.
    """
    part: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        # Sorted by length, so a new member makes all earlier ones longer by this difference.
        padding = len(part) * (lengths[index] - lengths[part[-1]]) if part else 0
        if part and (padding > cost or (len(part) + 1) * lengths[index] > budget):
            yield part
            part = []
        part.append(index)
    if part:
        yield part
