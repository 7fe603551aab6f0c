"""Sampling and scoring on torch: batches of rows with a KV cache, and a draw of its own for every row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from tinker.types.topk_logprobs import MASK_LOGPROB

from socratic_distill.local.lora import BaseModel

T = TypeVar("T")
# Bounds the padded tokens of a pass: rows x positions, for prefill and scoring.
_TOKEN_BUDGET = 8192
# Bounds the logits that scoring holds: rows x positions x vocabulary, 256 MiB in fp32.
_LOGITS_BUDGET = 2**26
_MAX_ROWS = 128


@dataclass
class Row:
    """One reply in the making.

    Attributes:
        prompt: tokens `[P]`.
        max_tokens: longest reply, in tokens.
        temperature: 0 takes the likeliest token.
        top_p: nucleus; 1 keeps all.
        top_k: likeliest tokens kept; -1 keeps all.
        stop_tokens: tokens that end the reply, and belong to it.
        stop_texts: texts that end the reply when it holds one.
        seed: with `index`, decides every draw.
        index: which of a request's replies.
        tokens: the reply so far.
        logprobs: log-probabilities of its tokens at temperature 1, nats.
        stopped: whether it reached its end.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stop_tokens: frozenset[int]
    stop_texts: tuple[str, ...]
    seed: int
    index: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts rows by what they are, so that batches do not depend on who asked first."""
        sampling = (self.temperature, self.top_p, self.top_k, sorted(self.stop_tokens), self.stop_texts)
        return (len(self.prompt), self.prompt, self.max_tokens, self.seed, self.index, *sampling)

    @property
    def done(self) -> bool:
        """Whether nothing is left to sample."""
        return self.stopped or len(self.tokens) >= self.max_tokens


def sample_rows(base: BaseModel, adapter: str | None, rows: Sequence[Row]) -> None:
    """Samples all rows to their ends, in place."""
    ordered = sorted(rows, key=lambda row: row.order)
    with torch.inference_mode(), base.using(adapter) as model:
        for part in in_budget(ordered, [len(row.prompt) for row in ordered], _TOKEN_BUDGET):
            _sample_part(model, base.tokenizer, part)


def _sample_part(model: Any, tokenizer: Any, rows: list[Row]) -> None:
    rows = [row for row in rows if not row.done]
    if not rows:
        return
    width = max(len(row.prompt) for row in rows)
    tokens = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):  # padded on the left, so that every row's next token is at the right
        tokens[i, width - len(row.prompt) :] = torch.tensor(row.prompt)
        mask[i, width - len(row.prompt) :] = 1
    draws = [_draws(row) for row in rows]
    positions, cache = (mask.cumsum(1) - 1).clamp(min=0), None
    while True:
        out = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        live = [row for row in rows if not row.done]
        chosen = _draw(out.logits[:, -1].float(), rows, np.array([draw.random() for draw in draws]))
        for row in live:
            row.stopped = _ends(row, tokenizer)
        active = [i for i, row in enumerate(rows) if not row.done]
        if not active:
            return
        if len(active) <= len(rows) // 2:  # finished rows leave once they are half of the batch
            keep = torch.tensor(active, dtype=torch.long)
            rows, draws = [rows[i] for i in active], [draws[i] for i in active]
            cache.batch_select_indices(keep)
            chosen, mask, positions = chosen[keep], mask[keep], positions[keep]
        tokens = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)
        positions = positions[:, -1:] + 1


def _draws(row: Row) -> np.random.Generator:
    """The row's own stream of draws: what else is in the batch does not reach it."""
    return np.random.Generator(np.random.Philox(key=np.array([row.seed % 2**64, row.index], np.uint64)))


def _draw(logits: torch.Tensor, rows: Sequence[Row], draws: np.ndarray) -> torch.Tensor:
    """One token a row by inverse cumulative distribution, in float64; appended to rows that go on. `[B]`."""
    logprobs = torch.log_softmax(logits, dim=-1)  # [B, V]
    heat = torch.tensor([row.temperature or 1.0 for row in rows], dtype=torch.float64)
    probabilities = torch.softmax(logits.double() / heat[:, None], dim=-1)
    for i, row in enumerate(rows):
        if row.temperature == 0:
            probabilities[i] = torch.nn.functional.one_hot(logits[i].argmax(), logits.shape[1])
        elif row.top_k > 0 or row.top_p < 1:
            probabilities[i] *= _kept(probabilities[i], row.top_k, row.top_p)
    reached = probabilities.cumsum(-1)
    thresholds = torch.from_numpy(draws)[:, None] * reached[:, -1:]
    chosen = torch.searchsorted(reached, thresholds, right=True).squeeze(1)
    # Rounding may put a threshold on the total; the last token with any probability is meant then.
    last = probabilities.shape[1] - 1 - (probabilities.flip(-1) > 0).int().argmax(-1)
    chosen = torch.minimum(chosen, last)
    picked = logprobs.gather(1, chosen[:, None]).squeeze(1)
    for row, token, logprob in zip(rows, chosen.tolist(), picked.tolist(), strict=True):
        if not row.done:
            row.tokens.append(token)
            row.logprobs.append(logprob)
    return chosen


def _kept(probabilities: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Mask of the tokens that top-k and nucleus sampling (Holtzman et al., 2020) keep, `[V]`."""
    ordered, places = probabilities.sort(descending=True, stable=True)
    keep = ordered.cumsum(0) - ordered < top_p
    if top_k > 0:
        keep[top_k:] = False
    return torch.zeros_like(keep).scatter(0, places, keep)


def _ends(row: Row, tokenizer: Any) -> bool:
    if row.tokens[-1] in row.stop_tokens:
        return True
    return bool(row.stop_texts) and any(
        text in tokenizer.decode(row.tokens, skip_special_tokens=False) for text in row.stop_texts
    )


def score_prompts(
    base: BaseModel, adapter: str | None, prompts: Sequence[tuple[int, ...]], top: int = 0
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Log-probabilities of prompts.

    Args:
        base: the model.
        adapter: the adapter to switch on, None for the base alone.
        prompts: tokens, `[P]` each.
        top: number of likeliest tokens wanted at each position.

    Returns:
        For each prompt: the log-probability of every token after those before it, nats, NaN at the
        first, `[P]`; ids of the likeliest tokens, `[P, top]`; their log-probabilities, `[P, top]`.
    """
    places = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i]))
    results: list[Any] = [None] * len(prompts)
    with torch.inference_mode(), base.using(adapter) as model:
        budget = min(_TOKEN_BUDGET, _LOGITS_BUDGET // base.vocabulary)
        for part in in_budget(places, [len(prompts[i]) for i in places], budget):
            scores = _score_part(model, [prompts[i] for i in part], top)
            for i, score in zip(part, scores, strict=True):
                results[i] = score
    return results


def _score_part(model: Any, prompts: Sequence[tuple[int, ...]], top: int) -> list[Any]:
    tokens, mask = pad_right(prompts)
    logits = model(input_ids=tokens, attention_mask=mask).logits
    scores = []
    for i, prompt in enumerate(prompts):
        size = len(prompt)
        values = np.full(size, np.nan, np.float32)
        logprobs = torch.log_softmax(logits[i, : size - 1].float(), dim=-1)  # [P - 1, V], one row's at a time
        values[1:] = logprobs.gather(1, tokens[i, 1:size, None]).squeeze(1).numpy()
        ids, likeliest = np.zeros((size, top), np.int32), np.full((size, top), MASK_LOGPROB, np.float32)
        if top:
            best = logprobs.topk(top, dim=-1)
            ids[1:], likeliest[1:] = best.indices.numpy(), best.values.numpy()
        scores.append((values, ids, likeliest))
    return scores


def pad_right(prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and attention mask, padded on the right, `[B, P]` each."""
    width = max(len(prompt) for prompt in prompts)
    tokens = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        tokens[i, : len(prompt)] = torch.tensor(prompt)
        mask[i, : len(prompt)] = 1
    return tokens, mask


def in_budget(items: Sequence[T], lengths: Sequence[int], budget: int) -> Iterator[list[T]]:
    """Runs of items, in order, whose padded tokens stay in the budget; an item beyond it stands alone."""
    part: list[T] = []
    width = 0
    for item, length in zip(items, lengths, strict=True):
        width = max(width, length)
        if part and (len(part) >= _MAX_ROWS or width * (len(part) + 1) > budget):
            yield part
            part, width = [], length
        part.append(item)
    if part:
        yield part
