"""Reads sequences to train on: a common beginning is read once, with its gradient, and the rest in one pass."""

from collections.abc import Sequence
from typing import Any

import torch

from socratic_distill.local.base_model import Weights
from socratic_distill.local.machine import Machine

Tokens = list[int]


def read_sequences(weights: Weights, sequences: Sequence[Tokens]) -> list[torch.Tensor]:
    """The last layer's outputs of every sequence, `[N, H]` each, differentiable."""
    common = _shared(sequences, weights.base.machine)
    if not common:
        outputs = weights.outputs(_padded(sequences))  # [B, longest, H]
        return [outputs[i, : len(tokens)] for i, tokens in enumerate(sequences)]
    beginning = _Beginning()
    first = weights.outputs(torch.tensor([sequences[0][:common]]), cache=beginning)[0]  # [common, H]
    rest = _padded([tokens[common:] for tokens in sequences])  # [B, n]
    count, device = rest.shape[1], first.device
    positions = torch.arange(common, common + count, device=device)
    # A position of the rest sees the whole beginning, and the rest up to itself.
    hidden = torch.arange(common + count, device=device) > positions[:, None]  # [n, common + n]
    mask = torch.zeros(hidden.shape, dtype=first.dtype, device=device).masked_fill_(hidden, float("-inf"))
    outputs = weights.outputs(rest, mask[None, None], positions[None], _Continued(beginning))  # [B, n, H]
    return [torch.cat([first, outputs[i, : len(tokens) - common]]) for i, tokens in enumerate(sequences)]


def parts(sequences: Sequence[Tokens], machine: Machine, alone: bool) -> list[list[int]]:
    """Divides sequences into passes: sequences of similar length with a common beginning share one.

    Args:
        sequences: tokens of each.
        machine: device and precision.
        alone: whether each sequence has its own pass, as on the general path.

    Returns:
        Indices into `sequences`, one list for each pass. The division depends on the content, not on the order.
    """
    passes: list[list[int]] = []
    # Sorted by content, sequences with a common beginning are neighbours: a look at the last pass is enough.
    for index in sorted(range(len(sequences)), key=lambda i: tuple(sequences[i])):
        if passes and not alone:
            last = [sequences[i] for i in passes[-1]]
            joined = [*last, sequences[index]]
            apart = _cost(last, machine) + _cost([sequences[index]], machine)
            if _tokens(joined, machine) <= machine.pass_tokens and _cost(joined, machine) <= apart:
                passes[-1].append(index)
                continue
        passes.append([index])
    return passes


def _tokens(sequences: Sequence[Tokens], machine: Machine) -> int:
    """Tokens read when some sequences share a pass, padding included."""
    common = _shared(sequences, machine)
    return common + len(sequences) * (max(map(len, sequences)) - common)


def _cost(sequences: Sequence[Tokens], machine: Machine) -> int:
    """Tokens read plus the fixed cost of the passes, in tokens; a common beginning needs a second pass."""
    return _tokens(sequences, machine) + machine.pass_cost * (2 if _shared(sequences, machine) else 1)


def _shared(sequences: Sequence[Tokens], machine: Machine) -> int:
    """Length of a common beginning that is worth its own pass, else 0; each sequence keeps at least one other token."""
    # With gradient checkpointing, transformers gives the layers no cache, so a beginning cannot be passed on.
    if len(sequences) == 1 or machine.gradient_checkpointing:
        return 0
    low, high = min(sequences), max(sequences)  # what the extremes of the order share, all share
    common = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    common = min(common, min(map(len, sequences)) - 1)
    return common if (len(sequences) - 1) * common > machine.pass_cost else 0


def _padded(sequences: Sequence[Tokens]) -> torch.Tensor:
    """Tokens `[B, longest]`, padded on the right: under causal attention no real token sees the padding."""
    tokens = torch.zeros((len(sequences), max(map(len, sequences))), dtype=torch.long)
    for i, sequence in enumerate(sequences):
        tokens[i, : len(sequence)] = torch.tensor(sequence)
    return tokens


class _Beginning:
    """The cache that transformers sees while a beginning is read; keeps keys and values in the autograd graph."""

    is_compileable = False

    def __init__(self) -> None:
        self.kept: list[tuple[torch.Tensor, torch.Tensor]] = []  # a layer's keys and values, [1, heads, common, size]

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any) -> Any:
        assert layer == len(self.kept)
        self.kept.append((keys, values))
        return keys, values

    def get_seq_length(self, layer: int = 0) -> int:
        return 0

    def get_query_offset(self, layer: int = 0) -> int:
        return 0

    def get_mask_sizes(self, count: int, layer: int) -> tuple[int, int]:
        return count, 0


class _Continued:
    """The cache while the rest is read: puts the beginning's keys and values before those of every sequence."""

    is_compileable = False

    def __init__(self, beginning: _Beginning) -> None:
        self._beginning = beginning

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any) -> Any:
        before = self._beginning.kept[layer]
        # expand, not repeat: one copy serves all B sequences, and their gradients add up in it.
        joined = [
            torch.cat([b.expand(len(n), -1, -1, -1), n], dim=2) for b, n in zip(before, (keys, values), strict=True)
        ]
        return joined[0], joined[1]  # [B, heads, common + n, size]

    def get_seq_length(self, layer: int = 0) -> int:
        return self._beginning.kept[layer][0].shape[2]
