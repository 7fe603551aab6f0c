"""Replies while they are sampled, and the random draws of their tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

# Purposes have separate random streams under one seed: tokens of a reply, and alternatives to a prompt's tokens.
Purpose = Literal["reply", "alternatives"]


@dataclass
class Row:
    """One reply while it is sampled.

    Attributes:
        max_tokens: most tokens of the reply.
        temperature: 0 takes the likeliest token.
        top_p: nucleus; 1 keeps all.
        top_k: number of likeliest tokens to draw from; -1 is all.
        stop_tokens: tokens that end the reply, and are part of it.
        stop_texts: texts that end the reply when it contains one.
        seed: decides every draw, together with `index`.
        index: number of the reply within its request.
        top: number of likeliest tokens recorded for each position.
        listen: is called after each token with the row, and says whether to go on; None: nobody listens.
        tokens: the reply so far.
        logprobs: log-probabilities of its tokens at temperature 1, nats.
        likeliest: for each position, ids and log-probabilities of the `top` likeliest tokens.
        stopped: whether a stop token or text has ended it.
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
    listen: "Callable[[Row], bool] | None" = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    likeliest: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        """Seeds the row's own stream of random numbers."""
        self._stream = stream(self.seed, self.index, "reply")

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key of the content alone, so that batches do not depend on the order of requests."""
        sampling = (self.temperature, self.top_p, self.top_k, sorted(self.stop_tokens), self.stop_texts, self.top)
        return (self.max_tokens, self.seed, self.index, *sampling)

    @property
    def done(self) -> bool:
        """Whether nothing is left to sample."""
        return self.stopped or len(self.tokens) >= self.max_tokens

    def take(self, token: int, logprob: float, tokenizer: Any) -> None:
        """Appends a token, and checks whether it ends the reply."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.stopped = token in self.stop_tokens or self._holds_stop_text(tokenizer)
        if self.listen is not None and not self.listen(self):
            self.stopped = True

    def next_draw(self) -> float:
        """The next number of the row's own stream, in [0, 1), independent of the other rows of the batch."""
        return self._stream.random()

    def _holds_stop_text(self, tokenizer: Any) -> bool:
        if not self.stop_texts:
            return False
        # A token holds at least one byte, so a stop text just completed lies in as many tokens as it has bytes. Three
        # more, so that the window does not begin within a character: each of its bytes may be a token.
        reach = max(len(text.encode()) for text in self.stop_texts) + 3
        ending = tokenizer.decode(self.tokens[-reach:], skip_special_tokens=False)
        return any(text in ending for text in self.stop_texts)


def stream(seed: int, index: int, purpose: Purpose) -> np.random.Generator:
    """A stream of random numbers that depends on the arguments alone."""
    # Philox takes the pair as its key, so that different pairs give different streams by construction.
    key = [seed % 2**64, index + (2**63 if purpose == "alternatives" else 0)]
    return np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))


def draw(logits: torch.Tensor, rows: Sequence[Row], tokenizer: Any, known: int) -> list[int]:
    """Draws the next token of every row, and appends it to the row.

    Args:
        logits: over all V rows of the embeddings, `[B, V]`.
        rows: the B replies.
        tokenizer: the model's.
        known: only ids below this are drawn; the others are padding of the embeddings.
    """
    # Normalised over all V ids, as training does, and cut only then: else the two would differ by the padding's mass.
    logprobs = torch.log_softmax(logits, dim=-1)  # [B, V]
    logits, logprobs = logits[:, :known], logprobs[:, :known]
    numbers = torch.tensor([row.next_draw() for row in rows], dtype=torch.float64, device=logits.device)
    chosen = choose(distribution(logits, logprobs, rows), numbers[:, None])[:, 0]  # [B]
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
    """The unnormalised distributions that the rows draw from, `[B, V]`."""
    heats = [row.temperature or 1.0 for row in rows]
    if all(heat == 1.0 for heat in heats):
        weights = logprobs.exp()
    else:
        heat = torch.tensor(heats, dtype=logits.dtype, device=logits.device)
        weights = torch.softmax(logits / heat[:, None], dim=-1)
    for i, row in enumerate(rows):
        if row.temperature == 0:
            weights[i] = torch.nn.functional.one_hot(logits[i].argmax(), logits.shape[1])  # greedy
        elif row.top_k > 0 or row.top_p < 1:
            weights[i] *= _kept(weights[i], row.top_k, row.top_p)
    return weights


def choose(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Draws tokens by inverting the cumulative distribution, which is summed in float64.

    Args:
        weights: of the tokens, at least 0, unnormalised, `[B, V]`.
        numbers: uniform random numbers in [0, 1), `[B, K]`.

    Returns:
        Token ids, `[B, K]`.
    """
    reached = weights.cumsum(-1, dtype=torch.float64)  # [B, V]
    total = reached[:, -1:].contiguous()  # [B, 1]
    chosen = torch.searchsorted(reached, numbers * total, right=True)
    # Rounding may raise a threshold to the total, beyond every token; then the last token with any weight is taken.
    last = torch.searchsorted(reached, total)
    return torch.minimum(chosen, last)


def likeliest(logprobs: torch.Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and log-probabilities of the `count` likeliest tokens, the likeliest first, `[N, count]` each."""
    best = logprobs.topk(min(count, logprobs.shape[-1]), dim=-1)
    return best.indices.cpu().numpy().astype(np.int32), best.values.cpu().numpy()


def _kept(weights: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Mask of the tokens that top-k and nucleus sampling (Holtzman et al., 2020) keep, `[V]`."""
    ordered, ids = weights.sort(descending=True, stable=True)  # stable: ties go to the lower id on every machine
    # The sum before a token decides, so that the token that crosses top_p is kept, and always at least one.
    keep = ordered.cumsum(0, dtype=torch.float64) - ordered < top_p
    if top_k > 0:
        keep[top_k:] = False
    return torch.zeros_like(keep).scatter(0, ids, keep)
