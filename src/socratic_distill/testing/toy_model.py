"""The toy language model: a log-linear model over hashed features of what came before.

A context's vector is a sum of table rows: one for the last token, one for the last two, one for the
prompt's beginning (so that the same talk under another system prompt has other probabilities) and one for
the beginning with the last token. Its product with the fixed token vectors, which all models share, gives
the logits of the next token. Base rows are random numbers drawn from the model's name; what is trained is
added to them and starts at zero, so that a fresh tutor equals its base model, and can become any other.

Three terms are not trained: a grammar that lets samples look like short sentences, an urge to end the turn
that grows with its length, and small noise that depends on every token so far, so that any wrong context
shows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socratic_distill.testing.tokenizer import DIGITS, ENDS, FOLLOWERS, SPECIAL_TOKENS, STARTERS, ToyTokenizer

Floats = NDArray[np.floating[Any]]
Hashes = NDArray[np.uint64]

# Tokens at the head of the prompt that tell one system prompt from another; short enough to end before
# the problem's text, so that what is learned on one seed serves the others.
BEGINNING_TOKENS = 12
# Rows of each hashed feature, as powers of two.
_PAIR_BITS, _BEGINNING_BITS, _BOTH_BITS, _NOISE_BITS = 8, 7, 10, 8
# Odd constants of multiplicative hashing, the first being 2^64 over the golden ratio.
_FIRST_FACTOR, _SECOND_FACTOR = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03
# Those of the scrambling of 64-bit numbers (the finaliser of SplitMix64, Steele et al. 2014).
_FIRST_MIX, _SECOND_MIX = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_64_BITS = (1 << 64) - 1
# How much the row of each feature counts, trained part included: what is shared most moves most.
_FEATURE_SCALES = np.asarray([0.25, 0.15, 0.5, 0.2])
_BASE_SCALE, _NOISE_SCALE = 2.0, 0.1
_UNLIKELY = -15.0
# Width of the vectors: few enough numbers that a batch of a hundred tokens gives each a clear gradient.
_WIDTH = 8
# The end of a turn varies less than the words, so that no model talks for ever; tokens outside the grammar
# vary so little that no training makes them likely by accident.
_END_VARIES, _UNLIKELY_VARIES = 0.3, 0.1
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


class Context(NamedTuple):
    """What the model knows at one position: the fields of `Contexts` as plain numbers, quicker one by one."""

    last: int
    before: int
    beginning: int
    whole: int
    position: int
    spoken: int


class ToyModel:
    """The base model of one name: its random tables and how contexts pick rows from them.

    Attributes:
        base: the trainable table before any training, `[R, D]`; read-only, shared by all models of the name.
        vectors: the token vectors, `[D, V]`.
    """

    def __init__(self, name: str, tokenizer: ToyTokenizer) -> None:
        """Draws the tables, by the model's name.

        Args:
            name: any model name; another name is another model.
            tokenizer: the toy tokenizer.
        """
        self.name = name
        self.size = len(tokenizer)
        self._special_ids = frozenset(tokenizer.all_special_ids)
        self._special = np.zeros(self.size, bool)
        self._special[tokenizer.all_special_ids] = True
        self._offsets = np.cumsum([0, self.size, 1 << _PAIR_BITS, 1 << _BEGINNING_BITS])
        count = int(self._offsets[-1]) + (1 << _BOTH_BITS)
        self.base, self._noise = _tables_of(name, count, self.size)
        self.vectors, self._grammar, self._urge = _tables_of_all()

    def contexts(self, tokens: Sequence[int]) -> Contexts:
        """The contexts after each of the tokens, `[N]` for N tokens."""
        last = np.asarray(tokens, np.uint64)
        position = np.arange(len(last), dtype=np.uint64)
        before = np.concatenate([np.asarray([self.size], np.uint64), last[:-1]])[: len(last)]
        whole = np.cumsum(_mix_at(last, position), dtype=np.uint64)
        beginning = whole[np.minimum(position, np.uint64(BEGINNING_TOKENS - 1)).astype(np.int64)]
        marked = np.where(self._special[last.astype(np.int64)], position, np.uint64(0))
        return Contexts(last, before, beginning, whole, position, position - np.maximum.accumulate(marked))

    def after(self, context: Context, token: int) -> Context:
        """The context that follows a context when the token is said."""
        position = context.position + 1
        whole = (context.whole + _mix_one(token, position)) & _64_BITS
        beginning = whole if position < BEGINNING_TOKENS else context.beginning
        spoken = 0 if token in self._special_ids else context.spoken + 1
        return Context(token, context.last, beginning, whole, position, spoken)

    def rows(self, contexts: Contexts) -> NDArray[np.int64]:
        """The trainable rows that each context adds up, `[N, 4]`."""
        picked = np.empty((len(contexts.last), len(_FEATURE_SCALES)), np.int64)
        picked[:, 0] = contexts.last
        picked[:, 1] = _row(contexts.before * np.uint64(_SECOND_FACTOR) + contexts.last, _PAIR_BITS)
        picked[:, 2] = _row(contexts.beginning, _BEGINNING_BITS)
        picked[:, 3] = _row(contexts.beginning + contexts.last * np.uint64(_SECOND_FACTOR), _BOTH_BITS)
        return picked + self._offsets

    def gradient(self, rows: NDArray[np.int64], by_logit: Floats) -> Floats:
        """The derivative by each trainable number, `[R, D]`, from that by the logits, `[N, V]`."""
        by_vector = by_logit @ self.vectors.T  # [N, D]
        total = np.zeros_like(self.base)
        np.add.at(total, rows, _FEATURE_SCALES[:, None] * by_vector[:, None])
        return total

    def log_probabilities(self, contexts: Contexts, table: Floats, rows: NDArray[np.int64] | None = None) -> Floats:
        """Log-probabilities of every next token after each context, nats, `[N, V]`.

        Args:
            contexts: N contexts.
            table: base table plus trained weights, `[R, D]`.
            rows: `self.rows(contexts)`, where already known.
        """
        rows = self.rows(contexts) if rows is None else rows
        logits = (_FEATURE_SCALES @ table[rows]) @ self.vectors
        logits += self._grammar[contexts.last.astype(np.int64)]
        logits += self._noise[_row(contexts.whole, _NOISE_BITS)]
        over = np.maximum(contexts.spoken.astype(np.int64) - _LENGTH_FREE, 0)
        logits += self._urge[np.minimum(over, _LENGTH_ROWS - 1)]
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits

    def next_log_probabilities(self, context: Context, table: Floats) -> Floats:
        """`log_probabilities` after one context, `[V]`; replies are sampled with it, token by token."""
        _, pair, beginning, both = self._offsets.tolist()
        rows = [
            context.last,
            pair + _row_of_one(context.before * _SECOND_FACTOR + context.last, _PAIR_BITS),
            beginning + _row_of_one(context.beginning, _BEGINNING_BITS),
            both + _row_of_one(context.beginning + context.last * _SECOND_FACTOR, _BOTH_BITS),
        ]
        logits = (_FEATURE_SCALES @ table[rows]) @ self.vectors
        logits += self._grammar[context.last]
        logits += self._noise[_row_of_one(context.whole, _NOISE_BITS)]
        logits += self._urge[min(max(context.spoken - _LENGTH_FREE, 0), _LENGTH_ROWS - 1)]
        logits -= logits.max()
        logits -= np.log(np.exp(logits).sum())
        return logits


def since(contexts: Contexts, first: int) -> Contexts:
    """The contexts from the one at `first` on, `[N - first]`."""
    return Contexts(
        contexts.last[first:],
        contexts.before[first:],
        contexts.beginning[first:],
        contexts.whole[first:],
        contexts.position[first:],
        contexts.spoken[first:],
    )


def last_of(contexts: Contexts) -> Context:
    """The last context alone."""
    return Context(
        int(contexts.last[-1]),
        int(contexts.before[-1]),
        int(contexts.beginning[-1]),
        int(contexts.whole[-1]),
        int(contexts.position[-1]),
        int(contexts.spoken[-1]),
    )


def _mix_at(tokens: Hashes, position: Hashes) -> Hashes:
    """A number for each token at its position, scrambled bijectively."""
    values = (tokens + np.uint64(1)) * np.uint64(_FIRST_FACTOR) + position * np.uint64(_SECOND_FACTOR)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST_MIX)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND_MIX)
    return values ^ (values >> np.uint64(31))


def _mix_one(token: int, position: int) -> int:
    """`_mix_at` of one token."""
    value = ((token + 1) * _FIRST_FACTOR + position * _SECOND_FACTOR) & _64_BITS
    value = ((value ^ (value >> 30)) * _FIRST_MIX) & _64_BITS
    value = ((value ^ (value >> 27)) * _SECOND_MIX) & _64_BITS
    return value ^ (value >> 31)


def _row(values: Hashes, bits: int) -> NDArray[np.int64]:
    """A row below 2**bits for each value, by multiplicative hashing (Knuth, TAOCP 6.4)."""
    return ((values * np.uint64(_FIRST_FACTOR)) >> np.uint64(64 - bits)).astype(np.int64)


def _row_of_one(value: int, bits: int) -> int:
    """`_row` of one value, of which the lowest 64 bits count."""
    return ((value * _FIRST_FACTOR) & _64_BITS) >> (64 - bits)


def _ids(tokenizer: ToyTokenizer, names: Sequence[str]) -> list[int]:
    vocab = tokenizer.get_vocab()
    return [vocab[name] for name in names]


def _random(purpose: str) -> np.random.Generator:
    digest = hashlib.sha256(purpose.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))


@lru_cache(maxsize=16)
def _tables_of(name: str, count: int, size: int) -> tuple[Floats, Floats]:
    """The random tables of a model's name, read-only: the trainable one `[count, D]` and the noise `[rows, V]`."""
    random = _random(f"model {name}")
    base = _BASE_SCALE * random.standard_normal((count, _WIDTH))
    noise = _NOISE_SCALE * random.standard_normal((1 << _NOISE_BITS, size))
    return _read_only(base), _read_only(noise)


@cache
def _tables_of_all() -> tuple[Floats, Floats, Floats]:
    """What all models share, read-only: token vectors `[D, V]`, grammar `[V, V]`, urge to end a turn `[spoken, V]`.

    Worked out once for all services of a process, since every toy tokenizer has the same vocabulary.
    """
    tokenizer = ToyTokenizer()
    closing = np.zeros(len(tokenizer))
    closing[[tokenizer.eos_token_id, *_ids(tokenizer, ENDS)]] = _LENGTH_URGE
    urge = np.outer(np.arange(_LENGTH_ROWS), closing)
    return _read_only(_token_vectors(tokenizer)), _read_only(_grammar(tokenizer)), _read_only(urge)


def _read_only(array: Floats) -> Floats:
    array.setflags(write=False)
    return array


def _token_vectors(tokenizer: ToyTokenizer) -> Floats:
    """A vector of length about 1 for each token of the grammar, shorter ones for the rest, `[D, V]`."""
    varies = np.full(len(tokenizer), _UNLIKELY_VARIES)
    said = [*STARTERS, *FOLLOWERS, *DIGITS]
    varies[_ids(tokenizer, [*said, *(f" {word}" for word in said), *ENDS])] = 1.0
    varies[tokenizer.eos_token_id] = _END_VARIES
    vectors = _random("token vectors").standard_normal((_WIDTH, len(tokenizer)))
    return vectors * varies / np.sqrt(_WIDTH)


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
    table[groups["starter"] + groups["next starter"]] = line(follower=0.85, number=0.13, end_mark=0.02)
    table[groups["number"]] = line(digit=0.3, follower=0.38, end_mark=0.3, end=0.02)
    table[groups["digit"]] = line(digit=0.08, follower=0.5, end_mark=0.4, end=0.02)
    table[groups["end mark"]] = line(end=0.8, next_starter=0.2)
    return table
