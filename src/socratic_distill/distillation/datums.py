"""The data of a training step: where the tutor's replies stand in a sequence, and targets shifted by one. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tinker


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


def shift_targets(tokens: Sequence[int], at_token: npt.NDArray) -> tuple[list[int], list[int], npt.NDArray]:
    """Aligns a sequence for next-token training: position i of the inputs predicts target i.

    Args:
        tokens: the sequence, `[N]`.
        at_token: values that belong to the tokens, `[K, N]`.

    Returns:
        Inputs `[N - 1]`, targets `[N - 1]`, and the values moved with their targets, `[K, N - 1]`.

    A prompt 7 8 and a reply 9 4 with advantages 0.5 and -1:

        tokens   7    8    9    4        inputs   7    8    9
        values   0    0    0.5 -1   ->   targets  8    9    4
                                         values   0    0.5 -1

    >>> inputs, targets, values = shift_targets([7, 8, 9, 4], np.array([[0, 0, 0.5, -1]]))
    >>> inputs, targets, values.tolist()
    ([7, 8, 9], [8, 9, 4], [[0.0, 0.5, -1.0]])
    """
    return list(tokens[:-1]), list(tokens[1:]), at_token[:, 1:]


def spread(sequence: TokenSequence, by_turn: Sequence[npt.NDArray]) -> Floats:
    """Values of the turns' tokens where they stand in a sequence, 0 elsewhere, `[N]`."""
    whole = np.zeros(len(sequence.tokens))
    for span in sequence.spans:
        whole[span.start : span.stop] = by_turn[span.turn]
    return whole


def make_datum(inputs: Sequence[int], targets: Ids, **floats: npt.NDArray[np.float32]) -> "tinker.Datum":
    """A datum of N - 1 positions.

    Args:
        inputs: tokens, `[N - 1]`.
        targets: token ids, `[N - 1]` or `[N - 1, K]`.
        **floats: the loss's other inputs, of the targets' shape.
    """
    from tinker import Datum, ModelInput, TensorData

    arrays: dict[str, npt.NDArray] = {"target_tokens": np.ascontiguousarray(targets), **floats}
    return Datum(
        model_input=ModelInput.from_ints(list(inputs)),
        loss_fn_inputs={name: TensorData.from_numpy(array) for name, array in arrays.items()},
    )


def with_weights(datum: "tinker.Datum", weights: Floats) -> "tinker.Datum":
    """A datum of cross_entropy with other weights, of its targets' shape."""
    targets = datum.loss_fn_inputs["target_tokens"].to_numpy()
    return make_datum(datum.model_input.to_ints(), targets, weights=weights.astype(np.float32))
