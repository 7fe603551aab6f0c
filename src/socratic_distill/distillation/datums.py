"""The data of a training step: positions of the tutor's replies in a sequence, and targets shifted by one. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from socratic_distill.config.objectives import Direction

if TYPE_CHECKING:
    import tinker


Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Span:
    """The position of one tutor turn in a sequence: tokens `[start, stop)` are exactly those that were sampled."""

    turn: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """Tokens `[N]` and the spans of the tutor's turns in them; all other tokens are context, with weight 0."""

    tokens: tuple[int, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class TokenWeights:
    """The weights of a dialogue's tokens, one array `[T]` a tutor turn; 0 for tokens that are not trained on.

    Attributes:
        trained: True for the tokens that are trained on.
        common: of every divergence that has no weights of its own.
        forward: of forward divergences, where they have weights of their own.
        reverse: of reverse divergences, likewise.
    """

    trained: tuple[Mask, ...]
    common: tuple[Floats, ...]
    forward: tuple[Floats, ...] | None = None
    reverse: tuple[Floats, ...] | None = None

    def of(self, direction: Direction | None) -> tuple[Floats, ...]:
        """The weights of a divergence of a direction."""
        own = {"forward": self.forward, "reverse": self.reverse, None: None}[direction]
        return self.common if own is None else own


def merge_turns(turns: Iterable[tuple[Sequence[int], Sequence[int]]]) -> list[TokenSequence]:
    """Joins the (prompt, reply) pairs of a dialogue's tutor turns into as few sequences as possible.

    A turn continues the current sequence if its prompt begins with all tokens of it. Otherwise it begins a new
    sequence, for example because the template drops reasoning from earlier turns.

    >>> [s.tokens for s in merge_turns([([1, 2], [3]), ([1, 2, 3, 4], [5]), ([1, 4], [6])])]
    [(1, 2, 3, 4, 5), (1, 4, 6)]
    """
    sequences: list[TokenSequence] = []
    for turn, (prompt, reply) in enumerate(turns):
        prompt, reply = tuple(prompt), tuple(reply)
        span = Span(turn, len(prompt), len(prompt) + len(reply))
        so_far = sequences[-1] if sequences else None
        # Compares ids, not text: the same text in other ids would train on tokens that were never sampled.
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
    # Token 0 is never a target, since nothing comes before it.
    return list(tokens[:-1]), list(tokens[1:]), at_token[:, 1:]


def spread(sequence: TokenSequence, by_turn: Sequence[npt.NDArray]) -> Floats:
    """Writes the values of the turns' tokens at the turns' positions in a sequence; 0 elsewhere, `[N]`."""
    whole = np.zeros(len(sequence.tokens))
    for span in sequence.spans:
        whole[span.start : span.stop] = by_turn[span.turn]  # by_turn[turn]: [T]
    return whole


def make_datum(inputs: Sequence[int], targets: Ids, **floats: npt.NDArray[np.float32]) -> "tinker.Datum":
    """A datum of N - 1 positions.

    Args:
        inputs: token ids, `[N - 1]`.
        targets: token ids, `[N - 1]` or `[N - 1, K]`.
        **floats: the other inputs of the loss, of the targets' shape.
    """
    from tinker import Datum, ModelInput, TensorData  # here, since importing the package must not import tinker

    arrays: dict[str, npt.NDArray] = {"target_tokens": np.ascontiguousarray(targets), **floats}
    return Datum(
        model_input=ModelInput.from_ints(list(inputs)),
        loss_fn_inputs={name: TensorData.from_numpy(array) for name, array in arrays.items()},
    )


def with_weights(datum: "tinker.Datum", weights: Floats) -> "tinker.Datum":
    """A copy of a cross_entropy datum with the given weights, which have its targets' shape."""
    targets = datum.loss_fn_inputs["target_tokens"].to_numpy()
    return make_datum(datum.model_input.to_ints(), targets, weights=weights.astype(np.float32))
