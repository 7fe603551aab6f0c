"""Scores to training data: the advantage of every tutor token, and the one place where targets shift.

Sampled-token reverse KL (Thinking Machines, "On-Policy Distillation", 2025; Agarwal et al., "On-Policy
Distillation of Language Models", 2024): the advantage of a token that the tutor sampled is

    A_t = -coef * (log p_tutor(t) - log p_teacher(t)),  then  A_t <- sum_{s >= t} discount^(s - t) * A_s

so that a step up along A is a step down along KL(tutor || teacher), on the tutor's own dialogues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from socratic_distill.sequences import TokenSequence
from socratic_distill.teacher import Floats, ScoredDialogue

if TYPE_CHECKING:
    import tinker


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One datum and what belongs to it.

    Attributes:
        datum: for the service, N - 1 positions.
        mask: True where the target is a tutor's token, `[N - 1]`.
        sampled: the sampler's log-probability of each target, nats, 0 outside the mask, `[N - 1]`.
    """

    datum: "tinker.Datum"
    mask: npt.NDArray[np.bool_]
    sampled: npt.NDArray[np.float32]


def advantages(scored: ScoredDialogue, coef: float, discount: float) -> list[Floats]:
    """The advantage of every tutor token, nats times `coef`, one array `[T]` a tutor turn.

    With a discount the sum runs over the tutor's later tokens of the whole dialogue, whichever datum
    they end up in.
    """
    turns = [-coef * (tutor - teacher) for tutor, teacher in zip(scored.tutor, scored.teacher, strict=True)]
    if discount == 0.0 or not turns:
        return turns
    flat = np.concatenate(turns)
    for i in range(len(flat) - 2, -1, -1):
        flat[i] += discount * flat[i + 1]
    return np.split(flat, np.cumsum([len(turn) for turn in turns])[:-1])


def make_examples(scored: ScoredDialogue, coef: float, discount: float) -> list[TrainingExample]:
    """A dialogue's training examples: one for each of its sequences."""
    by_turn = advantages(scored, coef, discount)
    return [_make_example(sequence, scored.tutor, by_turn) for sequence in scored.sequences]


def _make_example(sequence: TokenSequence, logprobs: Sequence[Floats], advantage: Sequence[Floats]) -> TrainingExample:
    from tinker import Datum, ModelInput, TensorData

    at_token = np.zeros((3, len(sequence.tokens)))  # [mask, log-probability, advantage] x N
    for span in sequence.spans:
        at_token[0, span.start : span.stop] = 1.0
        at_token[1, span.start : span.stop] = logprobs[span.turn]
        at_token[2, span.start : span.stop] = advantage[span.turn]
    inputs, targets, (mask, sampled, weights) = shift_targets(sequence.tokens, at_token)
    datum = Datum(
        model_input=ModelInput.from_ints(inputs),
        loss_fn_inputs={
            "target_tokens": TensorData.from_numpy(np.asarray(targets, dtype=np.int64)),
            "logprobs": TensorData.from_numpy(sampled.astype(np.float32)),
            "advantages": TensorData.from_numpy(weights.astype(np.float32)),
        },
    )
    return TrainingExample(datum, mask.astype(bool), sampled.astype(np.float32))


def shift_targets(tokens: Sequence[int], at_token: Floats) -> tuple[list[int], list[int], Floats]:
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
