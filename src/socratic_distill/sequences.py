"""Where the tutor's replies stand in the token sequences that are scored and trained on. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Span:
    """One tutor turn inside a sequence: tokens `[start, stop)` are the turn's own, unchanged."""

    turn: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """Tokens `[N]` and where in them the tutor's turns stand; all else is context, of weight 0."""

    tokens: tuple[int, ...]
    spans: tuple[Span, ...]


def merge_turns(turns: Iterable[tuple[Sequence[int], Sequence[int]]]) -> list[TokenSequence]:
    """Joins the (prompt, reply) of a dialogue's tutor turns into as few sequences as they allow.

    A turn whose prompt begins with all of the sequence so far continues it; another one, as after a
    template that drops reasoning from earlier turns, begins a sequence of its own.

    >>> [s.tokens for s in merge_turns([([1, 2], [3]), ([1, 2, 3, 4], [5]), ([1, 4], [6])])]
    [(1, 2, 3, 4, 5), (1, 4, 6)]
    """
    sequences: list[TokenSequence] = []
    for turn, (prompt, reply) in enumerate(turns):
        prompt, reply = tuple(prompt), tuple(reply)
        span = Span(turn, len(prompt), len(prompt) + len(reply))
        so_far = sequences[-1] if sequences else None
        if so_far is not None and prompt[: len(so_far.tokens)] == so_far.tokens:
            sequences[-1] = TokenSequence(prompt + reply, (*so_far.spans, span))
        else:
            sequences.append(TokenSequence(prompt + reply, (span,)))
    return sequences
