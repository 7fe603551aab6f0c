"""A tutor and a teacher as tables over a few tokens, whose replies can all be enumerated.

The tutor is a table of logits `[V + 1, V]` by the token before (row V opens a reply), the teacher another one.
"""

import itertools

import numpy as np
import torch

from socratic_distill import Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.distillation.datums import Span, TokenSequence
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.scorer import Named
from socratic_distill.distillation.scoring import ScoredDialogue

LENGTH = 3
HEARD = Turn("student", "", (), (), (), (), 0, "stop")


class World:
    """A tutor and a teacher over V tokens."""

    def __init__(self, size, k, seed=0):
        self.size, self.k = size, k
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(2, size + 1, size, generator=generator, dtype=torch.float64) * 1.5
        self.logits = logits[0].requires_grad_()
        self.tutor = torch.log_softmax(logits[0].detach(), -1).numpy()
        self.teacher = torch.log_softmax(logits[1], -1).numpy()

    def rows(self, reply):
        """The rows of the table that a reply's tokens are read from."""
        return [self.size, *reply[:-1]]

    def chance(self, reply):
        return np.exp(self.tutor[self.rows(reply), list(reply)].sum())

    def visits(self):
        """How often each row is read in a reply, in expectation, `[V + 1]`."""
        now, total = np.zeros(self.size + 1), np.zeros(self.size + 1)
        now[-1] = 1.0
        for _ in range(LENGTH):
            total += now
            now = np.append(now @ np.exp(self.tutor), 0.0)
        return total

    def scored(self, replies, draws=None):
        """Replies as the tutor turns of one dialogue, each behind an opening token of its own."""
        rows = np.array([self.rows(reply) for reply in replies])  # [R, 3]
        tokens = np.array(replies)
        whole = np.concatenate([np.full((len(replies), 1), self.size), tokens], axis=1).ravel()
        spans = tuple(Span(i, 4 * i + 1, 4 * i + 4) for i in range(len(replies)))
        own, theirs = self.tutor[rows, tokens], self.teacher[rows, tokens]
        turns = [
            Turn("tutor", "", (), tuple(r), tuple(r), tuple(p), 0, "stop") for r, p in zip(replies, own, strict=True)
        ]
        dialogue = Dialogue(Seed("s", "q", "1"), 0, 0, tuple(turn for one in turns for turn in (HEARD, one)))
        tops = [np.argsort(-table, axis=1, kind="stable")[:, : self.k] for table in (self.tutor, self.teacher)]
        named = [tuple(map(Named, top[rows], np.take_along_axis(self.teacher, top, axis=1)[rows])) for top in tops]
        scored = ScoredDialogue(
            dialogue,
            (TokenSequence(tuple(whole.tolist()), spans),),
            tuple(own),
            tuple(theirs),
            top_of_tutor=named[0],
            top_of_teacher=named[1],
        )
        if draws is None:
            return scored
        drawn = tuple(
            Named(ids, np.take_along_axis(self.tutor[row], ids, 1)) for row, ids in zip(rows, draws, strict=True)
        )
        of_teacher = tuple(np.take_along_axis(self.teacher[row], ids, 1) for row, ids in zip(rows, draws, strict=True))
        return ScoredDialogue(
            dialogue, scored.sequences, scored.tutor, scored.teacher, draws=drawn, of_draws=of_teacher
        )

    def gradient(self, examples, weights):
        """The weighted gradient of the service's loss on examples, by row of the table, `[V + 1, V]`.

        Args:
            examples: as made of `scored`.
            weights: of the replies, in their order.
        """
        total = np.zeros_like(self.tutor)
        for example in examples:
            rows = np.array(example.datum.model_input.to_ints())
            targets = example.datum.loss_fn_inputs["target_tokens"].to_numpy().reshape(len(rows), -1)
            now = np.take_along_axis(self.tutor[rows], np.minimum(targets, self.size - 1), axis=1)
            if example.needs_forward:
                example = example.reweighed(now if example.loss_fn == "cross_entropy" else now[:, 0])
            inputs = {name: value.to_numpy().astype(np.float64) for name, value in example.datum.loss_fn_inputs.items()}
            if example.loss_fn == "cross_entropy":
                slopes = -inputs["weights"].reshape(targets.shape)
            else:
                slopes = (-np.exp(now[:, 0] - inputs["logprobs"]) * inputs["advantages"])[:, None]
            slopes = (
                slopes * np.repeat(weights, LENGTH + 1)[: len(rows), None]
            )  # the row at 4 i foretells token 4 i + 1
            looked = example.mask
            np.add.at(total, (rows[looked][:, None], targets[looked]), slopes[looked])
            np.add.at(total, rows[looked], -slopes[looked].sum(1, keepdims=True) * np.exp(self.tutor[rows[looked]]))
        return total

    def expected(self, *configs):
        """The expectation over all replies, enumerated by their first token, of each config's objective."""
        totals = [np.zeros_like(self.tutor) for _ in configs]
        for first in range(self.size):
            replies = [(first, *rest) for rest in itertools.product(range(self.size), repeat=LENGTH - 1)]
            weights, scored = np.array([self.chance(reply) for reply in replies]), self.scored(replies)
            for total, config in zip(totals, configs, strict=True):
                total += self.gradient(make_examples([[scored]], config, step=0), weights)
        return totals

    def by_definition(self, kind, beta=0.5):
        """Autograd's gradient of the full-vocabulary divergence, in the states that the tutor visits, held fixed."""
        q, p = torch.log_softmax(self.logits, -1), torch.tensor(self.teacher)
        mixed = torch.log(beta * p.exp() + (1 - beta) * q.exp())
        of_row = {
            "forward_kl": (p.exp() * (p - q)).sum(-1),
            "reverse_kl": (q.exp() * (q - p)).sum(-1),
            "jensen_shannon": beta * (p.exp() * (p - mixed)).sum(-1) + (1 - beta) * (q.exp() * (q - mixed)).sum(-1),
        }[kind]
        (gradient,) = torch.autograd.grad((torch.tensor(self.visits()) * of_row).sum(), self.logits)
        return gradient.numpy()
