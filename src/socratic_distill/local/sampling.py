"""Continuous batching: prompts are read into slots, replies advance together, finished ones free their slots."""

from collections import deque
from collections.abc import Sequence

import torch

from socratic_distill.local.base_model import BaseModel, Weights
from socratic_distill.local.draws import Row, draw
from socratic_distill.local.general import carry_out_alone
from socratic_distill.local.prefill import prefill
from socratic_distill.local.scoring import answer
from socratic_distill.local.slots import Pass, Slots
from socratic_distill.local.works import Work

MAX_ROWS = 128
SLOT_BYTES = 2**30  # limit for the keys and values of one batch


def carry_out(base: BaseModel, adapter: str | None, works: Sequence[Work]) -> None:
    """Answers all questions and samples all replies to their ends, in place.

    Works are sorted by content, so that neither batches nor bits depend on the order of requests.
    """
    weights = base.using(adapter)
    with torch.inference_mode():
        ordered = sorted(works, key=lambda work: work.order)
        if base.is_general:
            carry_out_alone(weights, ordered)
            return
        # A prompt that is only scored, or answered with one token, needs its slot only while it is read.
        brief = [work for work in ordered if all(row.max_tokens <= 1 for row in work.rows)]
        for part in _runs(brief, base):
            _begin(weights, Slots(base.shape, len(part), max(len(work.tokens) for work in part)), 0, part)
        lasting = deque(work for work in ordered if any(row.max_tokens > 1 for row in work.rows))
        if lasting:
            _Batch(weights, lasting).run()


def _runs(works: Sequence[Work], base: BaseModel) -> list[list[Work]]:
    """Divides works into runs whose prompts fit slots of one width together."""
    runs: list[list[Work]] = []
    for work in works:  # sorted by length: the newest is the widest of its run
        room = base.room(len(work.tokens), SLOT_BYTES)
        if not runs or len(runs[-1]) >= min(room, MAX_ROWS):
            runs.append([])
        runs[-1].append(work)
    return runs


def _begin(weights: Weights, slots: Slots, low: int, works: Sequence[Work]) -> None:
    """Reads prompts into the slots from `low` on, answers their questions, draws the replies' first tokens."""
    lasts: dict[int, torch.Tensor] = {}  # [H] of each prompt's last position
    for i, outputs in prefill(weights, slots, low, [work.prompt for work in works]):
        work = works[i]
        lasts[i] = outputs[-1]
        if work.question.is_asking:
            work.scores = answer(weights, work.tokens, work.question, outputs)
    rows = [row for work in works for row in work.rows]
    states = [lasts[i] for i, work in enumerate(works) for _ in work.rows]  # [H] a reply
    base = weights.base
    for start in range(0, len(rows), weights.chunk):  # bounds the memory of the logits, [chunk, V]
        stop = start + weights.chunk
        draw(weights.logits(torch.stack(states[start:stop])), rows[start:stop], base.tokenizer, base.known_tokens)


class _Batch:
    """Replies that advance together, row i in slot i; waiting works enter as slots become free."""

    def __init__(self, weights: Weights, works: deque[Work]) -> None:
        self._weights = weights
        self._waiting = works
        width = max(work.width for work in works)
        wanted = sum(len(work.rows) for work in works)
        widest = max(len(work.rows) for work in works)  # the replies of one prompt begin together
        self._room = max(widest, min(wanted, MAX_ROWS, weights.base.room(width, SLOT_BYTES)))
        self._slots = Slots(weights.base.shape, self._room, width)
        self._rows: list[Row] = []
        self._lengths: list[int] = []  # positions read of each row

    def run(self) -> None:
        """Samples until all replies are done."""
        while self._waiting or self._rows:
            free = self._room - len(self._rows)
            # Several prompts are cheaper to read in one pass: they wait until a quarter of the slots is free.
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
        # Prompts were read into neighbouring slots, one each; now each reply gets its own copy. Copying starts at the
        # last reply: a target lies at or after its source, so no prompt is overwritten before it was copied.
        replies = [(work, row) for work in works for row in work.rows]
        for i in reversed(range(len(replies))):
            work, _ = replies[i]
            if heads[id(work)] != low + i:
                self._slots.move(heads[id(work)], low + i, len(work.tokens))
        self._rows += [row for _, row in replies]
        self._lengths += [len(work.tokens) for work, _ in replies]
        self._sweep()

    def _step(self) -> None:
        tokens = torch.tensor([[row.tokens[-1]] for row in self._rows])  # [B, 1]
        here = Pass(self._slots, range(len(self._rows)), self._lengths, 1)
        outputs = self._weights.read(tokens, here)  # [B, 1, H]
        base = self._weights.base
        draw(self._weights.logits(outputs[:, 0]), self._rows, base.tokenizer, base.known_tokens)
        self._lengths = [length + 1 for length in self._lengths]
        self._sweep()

    def _sweep(self) -> None:
        """Removes rows that are done; the last row moves into the free slot, so that slots stay contiguous."""
        for i in reversed(range(len(self._rows))):  # backwards: a row that is moved has been checked already
            if self._rows[i].done:
                row, length = self._rows.pop(), self._lengths.pop()
                if i < len(self._rows):
                    self._slots.move(len(self._rows), i, length)
                    self._rows[i], self._lengths[i] = row, length
