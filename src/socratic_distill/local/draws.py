"""Replies in the making, and the draws that they are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

# Streams of one seed that must not touch: a reply's tokens, and alternatives to a prompt's.
Purpose = Literal["reply", "alternatives"]


@dataclass
class Row:
    """One reply in the making.

    Attributes:
        max_tokens: longest reply, in tokens.
        temperature: 0 takes the likeliest token.
        top_p: nucleus; 1 keeps all.
        top_k: likeliest tokens kept; -1 keeps all.
        stop_tokens: tokens that end the reply, and belong to it.
        stop_texts: texts that end the reply when it holds one.
        seed: with `index`, decides every draw.
        index: which of a request's replies.
        top: number of likeliest tokens kept for each position.
        tokens: the reply so far.
        logprobs: log-probabilities of its tokens at temperature 1, nats.
        likeliest: for each token, ids and log-probabilities of the `top` likeliest there.
        stopped: whether it reached its end.
    """

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    stop_tokens: frozenset[int]
    stop_texts: tuple[str, ...]
    seed: int
    index: int
    top: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    likeliest: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        """Seeds the row's own stream of random numbers."""
        self._stream = stream(self.seed, self.index, "reply")

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts rows by what they are, so that batches do not depend on who asked first."""
        sampling = (self.temperature, self.top_p, self.top_k, sorted(self.stop_tokens), self.stop_texts, self.top)
        return (self.max_tokens, self.seed, self.index, *sampling)

    @property
    def done(self) -> bool:
        """Whether nothing is left to sample."""
        return self.stopped or len(self.tokens) >= self.max_tokens

    def take(self, token: int, logprob: float, tokenizer: Any) -> None:
        """Appends a token, and notices the end."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.stopped = token in self.stop_tokens or self._holds_stop_text(tokenizer)

    def next_draw(self) -> float:
        """The next number of its own stream, in [0, 1): what else is in the batch does not reach it."""
        return self._stream.random()

    def _holds_stop_text(self, tokenizer: Any) -> bool:
        if not self.stop_texts:
            return False
        # A token holds at least a byte of text, so a text just completed lies within as many tokens as it has bytes;
        # three more, since a character's bytes may be tokens of their own.
        reach = max(len(text.encode()) for text in self.stop_texts) + 3
        said = tokenizer.decode(self.tokens[-reach:], skip_special_tokens=False)
        return any(text in said for text in self.stop_texts)


def stream(seed: int, index: int, purpose: Purpose) -> np.random.Generator:
    """A stream of random numbers that depends on nothing else."""
    key = [seed % 2**64, index + (2**63 if purpose == "alternatives" else 0)]
    return np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))


def draw(logits: torch.Tensor, rows: Sequence[Row], tokenizer: Any, known: int) -> list[int]:
    """The next token of every row; each row takes its own.

    Args:
        logits: of all rows of the embeddings, `[B, V]`; log-probabilities are normalised over all.
        rows: the replies.
        tokenizer: the model's.
        known: ids below this are drawn and named; the others are padding.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    logits, logprobs = logits[:, :known], logprobs[:, :known]
    numbers = torch.tensor([row.next_draw() for row in rows], dtype=torch.float64, device=logits.device)
    chosen = choose(distribution(logits, logprobs, rows), numbers[:, None])[:, 0]
    picked = logprobs.gather(1, chosen[:, None])[:, 0].tolist()
    for i, row in enumerate(rows):
        if row.top:
            ids, values = likeliest(logprobs[i : i + 1], row.top)
            row.likeliest.append((ids[0], values[0]))
    tokens = chosen.tolist()
    for row, token, logprob in zip(rows, tokens, picked, strict=True):
        row.take(token, logprob, tokenizer)
    return tokens


def distribution(logits: torch.Tensor, logprobs: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """What the rows draw from, up to a factor for each, `[B, V]`."""
    heats = [row.temperature or 1.0 for row in rows]
    if all(heat == 1.0 for heat in heats):
        weights = logprobs.exp()
    else:
        heat = torch.tensor(heats, dtype=logits.dtype, device=logits.device)
        weights = torch.softmax(logits / heat[:, None], dim=-1)
    for i, row in enumerate(rows):
        if row.temperature == 0:
            weights[i] = torch.nn.functional.one_hot(logits[i].argmax(), logits.shape[1])
        elif row.top_k > 0 or row.top_p < 1:
            weights[i] *= _kept(weights[i], row.top_k, row.top_p)
    return weights


def choose(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Tokens by the inverse of the cumulative distribution, added up in float64.

    Args:
        weights: of the tokens, at least 0, `[B, V]`.
        numbers: draws in [0, 1), `[B, K]`.

    Returns:
        Token ids, `[B, K]`.
    """
    reached = weights.cumsum(-1, dtype=torch.float64)
    total = reached[:, -1:].contiguous()
    chosen = torch.searchsorted(reached, numbers * total, right=True)
    # Rounding may put a threshold on the total; the last token with any weight is meant then.
    last = torch.searchsorted(reached, total)
    return torch.minimum(chosen, last)


def likeliest(logprobs: torch.Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and log-probabilities of the `count` likeliest tokens, the likeliest first, `[N, count]` each."""
    best = logprobs.topk(min(count, logprobs.shape[-1]), dim=-1)
    return best.indices.cpu().numpy().astype(np.int32), best.values.cpu().numpy()


def _kept(weights: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Mask of the tokens that top-k and nucleus sampling (Holtzman et al., 2020) keep, `[V]`."""
    ordered, places = weights.sort(descending=True, stable=True)
    keep = ordered.cumsum(0, dtype=torch.float64) - ordered < top_p
    if top_k > 0:
        keep[top_k:] = False
    return torch.zeros_like(keep).scatter(0, places, keep)
