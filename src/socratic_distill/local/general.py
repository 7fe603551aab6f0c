"""The general path: one sequence at a time, without padding, with the cache and the masks that the model makes itself.

Windows, states of linear attention and positions are transformers' own business here. Nothing that runs at the same
time can change the bits of an answer, since no pass holds more than one sequence.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from socratic_distill.local.base_model import Weights
from socratic_distill.local.draws import Row, draw
from socratic_distill.local.scoring import answer
from socratic_distill.local.works import Work


def carry_out_alone(weights: Weights, works: Sequence[Work]) -> None:
    """Answers all questions and samples all replies to their ends, in place, one after the other.

    Args:
        weights: the model.
        works: what to do; its order changes no bits.
    """
    for work in works:
        _carry_out(weights, work)


def _carry_out(weights: Weights, work: Work) -> None:
    waiting = [row for row in work.rows if not row.done]
    outputs, cache = weights.begin(work.tokens, keep=any(row.max_tokens > 1 for row in waiting))
    if work.question.is_asking:
        work.scores = answer(weights, work.tokens, work.question, outputs[work.question.first :])
    last = outputs[-1:].clone()  # [1, H]; the other positions' outputs are not needed while the replies are sampled
    del outputs
    while waiting:
        row = waiting.pop(0)
        # The last reply may write into the prompt's own cache: nobody reads it afterwards.
        _reply(weights, work.tokens, row, last, copy.deepcopy(cache) if waiting else cache)


def _reply(weights: Weights, prompt: tuple[int, ...], row: Row, output: torch.Tensor, cache: Any) -> None:
    """Samples one reply to its end.

    Args:
        weights: the model.
        prompt: tokens, `[P]`.
        row: the reply.
        output: the last layer's output at the prompt's last position, `[1, H]`.
        cache: the model's, after the prompt; it is changed. None: the model keeps none.
    """
    base = weights.base
    draw(weights.logits(output), [row], base.tokenizer, base.known_tokens)
    while not row.done:
        output, cache = weights.go_on((*prompt, *row.tokens), cache)
        draw(weights.logits(output), [row], base.tokenizer, base.known_tokens)
