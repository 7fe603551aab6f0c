"""The toy language model: a log-linear model over hashed features of what came before.

The logits of the next token are a sum of table rows: one for the last token, one for the last two, one
for the prompt's beginning (so that the same talk under another system prompt has other probabilities) and
one for the beginning with the last token. Base rows are random numbers drawn from the model's name; what
is trained is added to them and starts at zero, so that a fresh tutor equals its base model. Two terms are
not trained: small noise that depends on every token so far, so that any wrong context shows, and an urge
to end the turn that grows with its length.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socratic_distill.testing.tokenizer import DIGITS, ENDS, FOLLOWERS, SPECIAL_TOKENS, STARTERS, ToyTokenizer

Floats = NDArray[np.floating[Any]]
Hashes = NDArray[np.uint64]

# Tokens at the head of the prompt that tell one system prompt from another; short enough to end before
# the problem's text, so that what is learned on one seed serves the others.
BEGINNING_TOKENS = 12
_PAIR_ROWS, _BEGINNING_ROWS, _BOTH_ROWS, _NOISE_ROWS = 256, 128, 1024, 256
_TOKEN_SCALE, _PAIR_SCALE, _BEGINNING_SCALE, _BOTH_SCALE, _NOISE_SCALE = 0.5, 0.4, 0.8, 0.5, 0.1
_UNLIKELY = -15.0
_END_NOISE = 0.3
_LENGTH_FREE, _LENGTH_ROWS, _LENGTH_URGE = 6, 16, 0.35


@dataclass(frozen=True)
class Contexts:
    """What the model knows at each of N positions.

    Attributes:
        last: the token at the position, `[N]`.
        before: the token before it, or the vocabulary's size where there is none, `[N]`.
        beginning: hash of the prompt's first tokens, `[N]`.
        whole: running hash of all tokens up to the position, `[N]`.
        position: tokens before it, `[N]`.
        spoken: tokens since the last special token, `[N]`.
    """

    last: Hashes
    before: Hashes
    beginning: Hashes
    whole: Hashes
    position: Hashes
    spoken: Hashes


class ToyModel:
    """The base model of one name: its random tables and how contexts pick rows from them.

    Args:
        name: any model name; another name is another model.
        tokenizer: the toy tokenizer.

    Attributes:
        base: the trainable tables before any training, `[R, V]`.
    """

    def __init__(self, name: str, tokenizer: ToyTokenizer) -> None:
        self.name = name
        self.size = len(tokenizer)
        self._special = np.zeros(self.size, bool)
        self._special[tokenizer.all_special_ids] = True
        self._offsets = np.cumsum([0, self.size, _PAIR_ROWS, _BEGINNING_ROWS])
        digest = hashlib.sha256(name.encode()).digest()
        random = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))
        scales = [
            (self.size, _TOKEN_SCALE),
            (_PAIR_ROWS, _PAIR_SCALE),
            (_BEGINNING_ROWS, _BEGINNING_SCALE),
            (_BOTH_ROWS, _BOTH_SCALE),
        ]
        # The end of a turn varies less than the words, so that no model talks for ever.
        column = np.ones(self.size)
        column[tokenizer.eos_token_id] = _END_NOISE
        tables = [scale * column * random.standard_normal((rows, self.size)) for rows, scale in scales]
        tables[0] += _grammar(tokenizer)
        self.base: Floats = np.concatenate(tables)  # [R, V]
        self._noise = _NOISE_SCALE * random.standard_normal((_NOISE_ROWS, self.size))
        closing = np.zeros(self.size)
        closing[[tokenizer.eos_token_id, *_ids(tokenizer, ENDS)]] = _LENGTH_URGE
        self._urge = np.outer(np.arange(_LENGTH_ROWS), closing)

    def contexts(self, tokens: Sequence[int]) -> Contexts:
        """The contexts after each of the tokens, `[N]` for N tokens."""
        last = np.asarray(tokens, np.uint64)
        position = np.arange(len(last), dtype=np.uint64)
        before = np.concatenate([np.asarray([self.size], np.uint64), last[:-1]])[: len(last)]
        whole = np.cumsum(_mix_at(last, position), dtype=np.uint64)
        beginning = whole[np.minimum(position, np.uint64(BEGINNING_TOKENS - 1)).astype(np.int64)]
        marked = np.where(self._special[last.astype(np.int64)], position, np.uint64(0))
        return Contexts(last, before, beginning, whole, position, position - np.maximum.accumulate(marked))

    def after(self, context: Contexts, token: int) -> Contexts:
        """The one context that follows one context when the token is said."""
        last = np.asarray([token], np.uint64)
        position = context.position + np.uint64(1)
        whole = context.whole + _mix_at(last, position)
        beginning = whole if position[0] < BEGINNING_TOKENS else context.beginning
        spoken = np.zeros(1, np.uint64) if self._special[token] else context.spoken + np.uint64(1)
        return Contexts(last, context.last, beginning, whole, position, spoken)

    def rows(self, contexts: Contexts) -> NDArray[np.int64]:
        """The trainable rows that each context adds up, `[N, 4]`."""
        pair = _mix(contexts.before * np.uint64(1_000_003) + contexts.last)
        both = _mix(contexts.beginning ^ _mix(contexts.last + np.uint64(7)))
        picked = (
            contexts.last,
            pair % np.uint64(_PAIR_ROWS),
            _mix(contexts.beginning) % np.uint64(_BEGINNING_ROWS),
            both % np.uint64(_BOTH_ROWS),
        )
        return np.stack(picked, axis=1).astype(np.int64) + self._offsets

    def log_probabilities(
        self, contexts: Contexts, table: Floats, rows: NDArray[np.int64] | None = None
    ) -> Floats:
        """Log-probabilities of every next token after each context, nats, `[N, V]`.

        Args:
            contexts: N contexts.
            table: base tables plus trained weights, `[R, V]`.
            rows: `self.rows(contexts)`, where already known.
        """
        rows = self.rows(contexts) if rows is None else rows
        logits = table[rows[:, 0]]
        for column in range(1, rows.shape[1]):
            logits += table[rows[:, column]]
        logits += self._noise[(_mix(contexts.whole) % np.uint64(_NOISE_ROWS)).astype(np.int64)]
        over = np.maximum(contexts.spoken.astype(np.int64) - _LENGTH_FREE, 0)
        logits += self._urge[np.minimum(over, _LENGTH_ROWS - 1)]
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits


def last_of(contexts: Contexts) -> Contexts:
    """The last context alone, as N = 1."""
    return Contexts(
        contexts.last[-1:],
        contexts.before[-1:],
        contexts.beginning[-1:],
        contexts.whole[-1:],
        contexts.position[-1:],
        contexts.spoken[-1:],
    )


def _mix(values: Hashes) -> Hashes:
    """A bijective scrambling of 64-bit numbers (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _mix_at(tokens: Hashes, position: Hashes) -> Hashes:
    return _mix((tokens + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + position * np.uint64(0xD1B54A32D192ED03))


def _ids(tokenizer: ToyTokenizer, names: Sequence[str]) -> list[int]:
    vocab = tokenizer.get_vocab()
    return [vocab[name] for name in names]


def _grammar(tokenizer: ToyTokenizer) -> Floats:
    """Which token may follow which, so that samples look like short sentences: logits `[V, V]`."""
    groups = {
        "starter": _ids(tokenizer, STARTERS),
        "next starter": _ids(tokenizer, [f" {word}" for word in STARTERS]),
        "follower": _ids(tokenizer, [f" {word}" for word in FOLLOWERS]),
        "number": _ids(tokenizer, [f" {digit}" for digit in DIGITS]),
        "digit": _ids(tokenizer, DIGITS),
        "end mark": _ids(tokenizer, ENDS),
        "end": [tokenizer.eos_token_id],
    }

    def line(**shares: float) -> Floats:
        """Logits of a next token, by the share of each group; the rest is unlikely."""
        logits = np.full(len(tokenizer), _UNLIKELY)
        for name, share in shares.items():
            members = groups[name.replace("_", " ")]
            logits[members] = np.log(share / len(members))
        return logits

    table = np.tile(line(follower=0.66, number=0.16, end_mark=0.16, end=0.02), (len(tokenizer), 1))
    table[_ids(tokenizer, SPECIAL_TOKENS)] = line(starter=0.9, digit=0.1)
    table[groups["number"]] = line(digit=0.3, follower=0.38, end_mark=0.3, end=0.02)
    table[groups["digit"]] = line(digit=0.08, follower=0.5, end_mark=0.4, end=0.02)
    table[groups["end mark"]] = line(end=0.8, next_starter=0.2)
    return table
