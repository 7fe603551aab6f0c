"""Continuous batching: prompts are read into slots, all replies go on together, and who ends makes room."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from socratic_distill.local.base_model import BaseModel, Weights
from socratic_distill.local.draws import Row, draw
from socratic_distill.local.prefill import Prompt, prefill
from socratic_distill.local.scoring import Question, Scores, answer
from socratic_distill.local.slots import Pass, Slots

_MAX_ROWS = 128
# Keys and values of what is read together.
_SLOT_BYTES = 2**30


@dataclass(eq=False)
class Work:
    """One prompt, and what is wanted of it.

    Attributes:
        tokens: the prompt, `[P]`.
        rows: replies to sample; they share the prompt's slot until they part.
        question: what is asked about the prompt's own tokens.
        scores: the answer to it, once there.
    """

    tokens: tuple[int, ...]
    rows: list[Row]
    question: Question
    scores: Scores | None = None

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts works by what they are."""
        return (len(self.tokens), self.tokens, self.question.first, [row.order for row in self.rows])

    @property
    def prompt(self) -> Prompt:
        """The tokens to read, from the first output wanted on."""
        return Prompt(self.tokens, self.question.first)

    @property
    def width(self) -> int:
        """Positions that the prompt and its longest reply take; the last token of a reply is never read."""
        longest = max((row.max_tokens for row in self.rows), default=1)
        return len(self.tokens) + max(longest - 1, 0)


def carry_out(base: BaseModel, adapter: str | None, works: Sequence[Work]) -> None:
    """Answers all questions and samples all replies to their ends, in place.

    Works are ordered by what they are, so that neither batches nor bits depend on who came first.
    """
    weights = base.using(adapter)
    with torch.inference_mode():
        ordered = sorted(works, key=lambda work: work.order)
        # A prompt that is only scored, or answered with one token, keeps no slot.
        brief = [work for work in ordered if all(row.max_tokens <= 1 for row in work.rows)]
        for part in _runs(brief, base):
            _begin(weights, Slots(base.shape, len(part), max(len(work.tokens) for work in part)), 0, part)
        lasting = deque(work for work in ordered if any(row.max_tokens > 1 for row in work.rows))
        if lasting:
            _Batch(weights, lasting).run()


def _runs(works: Sequence[Work], base: BaseModel) -> list[list[Work]]:
    """Runs of works whose prompts have room in slots of one width."""
    runs: list[list[Work]] = []
    for work in works:  # shorter before longer: the newest is the widest
        room = base.room(len(work.tokens), _SLOT_BYTES)
        if not runs or len(runs[-1]) >= min(room, _MAX_ROWS):
            runs.append([])
        runs[-1].append(work)
    return runs


def _begin(weights: Weights, slots: Slots, low: int, works: Sequence[Work]) -> None:
    """Reads prompts into the slots from `low` on, answers their questions, draws the first tokens."""
    lasts: dict[int, torch.Tensor] = {}
    for i, outputs in prefill(weights, slots, low, [work.prompt for work in works]):
        work = works[i]
        lasts[i] = outputs[-1]
        if work.question.is_asking:
            work.scores = answer(weights, work.tokens, work.question, outputs)
    rows = [row for work in works for row in work.rows]
    states = [lasts[i] for i, work in enumerate(works) for _ in work.rows]
    base = weights.base
    for start in range(0, len(rows), weights.chunk):
        stop = start + weights.chunk
        draw(weights.logits(torch.stack(states[start:stop])), rows[start:stop], base.tokenizer, base.known_tokens)


class _Batch:
    """Replies that go on together, row i in slot i; `works` come in as room is made."""

    def __init__(self, weights: Weights, works: deque[Work]) -> None:
        self._weights = weights
        self._waiting = works
        width = max(work.width for work in works)
        wanted = sum(len(work.rows) for work in works)
        widest = max(len(work.rows) for work in works)  # the replies of one prompt begin together
        self._room = max(widest, min(wanted, _MAX_ROWS, weights.base.room(width, _SLOT_BYTES)))
        self._slots = Slots(weights.base.shape, self._room, width)
        self._rows: list[Row] = []
        self._lengths: list[int] = []  # positions read of each row

    def run(self) -> None:
        """Samples until all are done."""
        while self._waiting or self._rows:
            free = self._room - len(self._rows)
            # Prompts are cheaper to read several at a time: they wait until a quarter of the room is free.
            if self._waiting and (not self._rows or 4 * free >= self._room):
                self._admit(free)
            if self._rows:
                self._step()

    def _admit(self, free: int) -> None:
        low, works = len(self._rows), []
        while self._waiting and len(self._waiting[0].rows) <= free:
            works.append(self._waiting.popleft())
            free -= len(works[-1].rows)
        if not works:
            return
        _begin(self._weights, self._slots, low, works)
        heads = {id(work): low + i for i, work in enumerate(works)}
        # Prompts lie side by side; each row gets its own copy, from the last on, so that none is written over.
        places = [(work, row) for work in works for row in work.rows]
        for at in reversed(range(len(places))):
            work, _ = places[at]
            if heads[id(work)] != low + at:
                self._slots.move(heads[id(work)], low + at, len(work.tokens))
        self._rows += [row for _, row in places]
        self._lengths += [len(work.tokens) for work, _ in places]
        self._sweep()

    def _step(self) -> None:
        tokens = torch.tensor([[row.tokens[-1]] for row in self._rows])
        here = Pass(self._slots, range(len(self._rows)), self._lengths, 1)
        outputs = self._weights.read(tokens, here)
        base = self._weights.base
        draw(self._weights.logits(outputs[:, 0]), self._rows, base.tokenizer, base.known_tokens)
        self._lengths = [length + 1 for length in self._lengths]
        self._sweep()

    def _sweep(self) -> None:
        """Rows that are done leave; the last row takes a free slot, so that slots stay side by side."""
        for at in reversed(range(len(self._rows))):
            if self._rows[at].done:
                row, length = self._rows.pop(), self._lengths.pop()
                if at < len(self._rows):
                    self._slots.move(len(self._rows), at, length)
                    self._rows[at], self._lengths[at] = row, length
