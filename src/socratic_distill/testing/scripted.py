"""Replies and log-probabilities out of a hash: as cheap as can be, for workloads and not for learning."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tinker
from numpy.typing import NDArray

from socratic_distill.testing.sampling import Sampler
from socratic_distill.testing.tokenizer import FOLLOWERS, ToyTokenizer
from socratic_distill.testing.toy_model import Floats, ToyModel
from socratic_distill.testing.weights import Weights


class ScriptedSampler(Sampler):
    """Replies of words in log-normal lengths, from the request's seed alone; no numbers, so nothing gets solved."""

    def __init__(
        self, model: ToyModel, tokenizer: ToyTokenizer, max_context_length: int, mean: float, spread: float
    ) -> None:
        """Lays out the words and the distribution of the lengths.

        Args:
            model: names the model and its vocabulary.
            tokenizer: the toy tokenizer.
            max_context_length: tokens of prompt and reply together.
            mean: mean length of a reply, tokens.
            spread: standard deviation of the logarithm of the lengths.
        """
        super().__init__(model, model.base, tokenizer, max_context_length)
        self._words = np.asarray([tokenizer.encode(f" {word}")[0] for word in FOLLOWERS], np.int32)
        self._end = tokenizer.eos_token_id
        self._location, self._spread = math.log(mean) - spread**2 / 2, spread
        self._salt = sum(model.name.encode()) % 97

    def _every(self, tokens: Sequence[int], begin: int) -> Floats:
        """The scripted ones: no distribution, but one value for a token however it is asked for."""
        return self._named(tokens, begin, np.arange(self._model.size)[None])

    def _named(self, tokens: Sequence[int], begin: int, ids: NDArray[np.int64]) -> Floats:
        """As `_every`, in O(N K)."""
        before = np.asarray(tokens[begin - 1 : -1], np.int64)[:, None]
        return scripted_logprobs(before, ids, self._salt)

    def _replies(
        self, prompt: Sequence[int], count: int, limit: int, params: tinker.SamplingParams, seed: int
    ) -> list[tuple[Any, Any, bool]]:
        """As the toy's, whatever temperature and stop."""
        random = np.random.Generator(np.random.PCG64([abs(seed), len(prompt)]))
        wanted = np.maximum(np.exp(random.normal(self._location, self._spread, count)).astype(int), 2)
        replies = []
        for number, length in enumerate(np.minimum(wanted, limit)):
            tokens = self._words[random.integers(len(self._words), size=length)]
            if ended := bool(wanted[number] <= limit):
                tokens[-1] = self._end
            before = np.concatenate(([prompt[-1]], tokens[:-1]))
            replies.append((tokens, scripted_logprobs(before, tokens, self._salt), ended))
        return replies


class ScriptedWeights(Weights):
    """Weights that answer as the sampler does, and that training leaves as they are."""

    def forward(
        self,
        tokens: Sequence[int],
        targets: NDArray[np.int64],
        inputs: Mapping[str, Floats],
        loss_fn: str,
        config: Mapping[str, Any] | None,
        backward: bool,
        share: float = 1.0,
    ) -> tuple[float, Floats]:
        """Loss 0, and the log-probabilities that the sampler gave."""
        salt = sum(self.model.name.encode()) % 97
        return 0.0, scripted_logprobs(np.asarray(tokens, np.int64), targets, salt)

    def step(self, params: tinker.AdamParams) -> None:
        """Counts."""
        self.steps += 1


def scripted_logprobs(before: NDArray[Any], tokens: NDArray[Any], salt: int) -> NDArray[np.float32]:
    """A log-probability of each token from it and the one before it, nats, between -2 and 0."""
    mixed = (tokens.astype(np.int64) * 7919 + before.astype(np.int64) * 104729 + salt * 31) % 1009
    return (-mixed / 504.5).astype(np.float32)
