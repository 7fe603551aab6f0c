"""Reads sequences to train on: what several begin with is read once, with its gradient, and the rest in one pass."""

from collections.abc import Sequence
from typing import Any

import torch

from socratic_distill.local.base_model import Weights
from socratic_distill.local.machine import Machine

Tokens = list[int]


def read_sequences(weights: Weights, sequences: Sequence[Tokens]) -> list[torch.Tensor]:
    """The last layer's outputs of every sequence, `[N, H]` each; gradients flow through all of them."""
    common = _shared(sequences, weights.base.machine)
    if not common:
        outputs = weights.outputs(_padded(sequences))
        return [outputs[i, : len(tokens)] for i, tokens in enumerate(sequences)]
    beginning = _Beginning()
    first = weights.outputs(torch.tensor([sequences[0][:common]]), cache=beginning)[0]
    rest = _padded([tokens[common:] for tokens in sequences])
    count, device = rest.shape[1], first.device
    positions = torch.arange(common, common + count, device=device)
    hidden = torch.arange(common + count, device=device) > positions[:, None]
    mask = torch.zeros(hidden.shape, dtype=first.dtype, device=device).masked_fill_(hidden, float("-inf"))
    outputs = weights.outputs(rest, mask[None, None], positions[None], _Continued(beginning))
    return [torch.cat([first, outputs[i, : len(tokens) - common]]) for i, tokens in enumerate(sequences)]


def parts(sequences: Sequence[Tokens], machine: Machine) -> list[list[int]]:
    """Divides sequences into passes: those that begin alike, and are of like lengths, together.

    Returns:
        Places in `sequences`, by content and not by their order.
    """
    found: list[list[int]] = []
    for place in sorted(range(len(sequences)), key=lambda i: tuple(sequences[i])):
        if found:
            last = [sequences[i] for i in found[-1]]
            joined = [*last, sequences[place]]
            apart = _cost(last, machine) + _cost([sequences[place]], machine)
            if _tokens(joined, machine) <= machine.pass_tokens and _cost(joined, machine) <= apart:
                found[-1].append(place)
                continue
        found.append([place])
    return found


def _tokens(sequences: Sequence[Tokens], machine: Machine) -> int:
    """Tokens that are read of some sequences together, padding included."""
    common = _shared(sequences, machine)
    return common + len(sequences) * (max(map(len, sequences)) - common)


def _cost(sequences: Sequence[Tokens], machine: Machine) -> int:
    """The same, and what the passes cost, of which a common beginning needs two."""
    return _tokens(sequences, machine) + machine.pass_cost * (2 if _shared(sequences, machine) else 1)


def _shared(sequences: Sequence[Tokens], machine: Machine) -> int:
    """Length of the common beginning that is worth a pass of its own; each sequence keeps a token of its own."""
    # Layers that are computed again take no cache, and so no beginning.
    if len(sequences) == 1 or machine.gradient_checkpointing:
        return 0
    low, high = min(sequences), max(sequences)  # what these two have in common, all between them have
    common = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    common = min(common, min(map(len, sequences)) - 1)
    return common if (len(sequences) - 1) * common > machine.pass_cost else 0


def _padded(sequences: Sequence[Tokens]) -> torch.Tensor:
    """`[B, longest]`, padded on the right, where causal attention never looks back from."""
    tokens = torch.zeros((len(sequences), max(map(len, sequences))), dtype=torch.long)
    for i, sequence in enumerate(sequences):
        tokens[i, : len(sequence)] = torch.tensor(sequence)
    return tokens


class _Beginning:
    """What transformers sees as its cache while a beginning is read: keeps keys and values with their gradients."""

    is_compileable = False

    def __init__(self) -> None:
        self.kept: list[tuple[torch.Tensor, torch.Tensor]] = []

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
    """The same while the rest is read: puts the beginning before every sequence."""

    is_compileable = False

    def __init__(self, beginning: _Beginning) -> None:
        self._beginning = beginning

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any) -> Any:
        before = self._beginning.kept[layer]
        joined = [
            torch.cat([b.expand(len(n), -1, -1, -1), n], dim=2) for b, n in zip(before, (keys, values), strict=True)
        ]
        return joined[0], joined[1]

    def get_seq_length(self, layer: int = 0) -> int:
        return self._beginning.kept[layer][0].shape[2]
