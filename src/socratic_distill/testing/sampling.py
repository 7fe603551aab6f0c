"""Sampling and scoring with a toy model."""

from collections.abc import Callable, Sequence

import numpy as np
import tinker
from tinker.types import SampledSequence, SampleResponse
from tinker.types.topk_logprobs import MASK_LOGPROB, TopkLogprobs

from socratic_distill.service_errors import check_params, status_error
from socratic_distill.testing.tokenizer import ToyTokenizer
from socratic_distill.testing.toy_model import Floats, ToyModel, last_of


class Sampler:
    """One model's weights at one time, to sample and score with.

    Args:
        model: the toy model.
        table: base table plus trained weights, `[R, D]`.
        tokenizer: the toy tokenizer.
        max_context_length: tokens of prompt and reply together.
    """

    def __init__(self, model: ToyModel, table: Floats, tokenizer: ToyTokenizer, max_context_length: int) -> None:
        self._model = model
        self._table = table
        self._tokenizer = tokenizer
        self._max_context_length = max_context_length

    def score(self, prompt: Sequence[int], last_n: int | None) -> Floats:
        """Log-probability of each prompt token after those before it, nats, `[P]`.

        NaN at entry 0, and before the last `last_n` tokens where that is given.
        """
        self._check_prompt(prompt)
        if last_n is not None and last_n >= len(prompt):
            raise status_error(
                400,
                f"prompt_logprobs_last_n is {last_n} of {len(prompt)} prompt tokens; the first has no score",
            )
        scores = np.full(len(prompt), np.nan, np.float32)
        if len(prompt) > 1:
            every = self._model.log_probabilities(self._model.contexts(prompt[:-1]), self._table)
            scores[1:] = every[np.arange(len(prompt) - 1), np.asarray(prompt[1:])]
        if last_n is not None:
            scores[:-last_n] = np.nan
        return scores

    def top(self, prompt: Sequence[int], count: int, last_n: int | None) -> TopkLogprobs:
        """The `count` likeliest tokens at each prompt position, the likeliest first, `[P, count]`."""
        ids = np.zeros((len(prompt), count), np.int32)
        logprobs = np.full((len(prompt), count), MASK_LOGPROB, np.float32)
        if len(prompt) > 1:
            every = self._model.log_probabilities(self._model.contexts(prompt[:-1]), self._table)
            order = np.argsort(-every, axis=1, kind="stable")[:, :count]
            ids[1:, : order.shape[1]] = order
            logprobs[1:, : order.shape[1]] = np.take_along_axis(every, order, axis=1)
        if last_n is not None:
            ids[:-last_n], logprobs[:-last_n] = 0, MASK_LOGPROB
        return TopkLogprobs(ids, logprobs)

    def sample(
        self, prompt: Sequence[int], count: int, params: tinker.SamplingParams, seed: int, request: str
    ) -> SampleResponse:
        """`count` replies to the prompt; reply i depends on the prompt, the params, the seed and i alone.

        Args:
            prompt: token ids.
            count: replies.
            params: how to sample.
            seed: used where `params.seed` is None.
            request: makes the sequence ids distinct.
        """
        self._check_prompt(prompt)
        check_params(params, count)
        seed = seed if params.seed is None else params.seed
        room = self._max_context_length - len(prompt)
        limit = room if params.max_tokens is None else min(params.max_tokens, room)
        is_end = self._end_test(params.stop)
        sequences = []
        for number in range(count):
            random = np.random.Generator(np.random.PCG64([abs(seed), int(seed < 0), number]))
            tokens, logprobs, ended = self._reply(prompt, limit, params, is_end, random)
            sequences.append(
                SampledSequence(
                    stop_reason="stop" if ended else "length",
                    sequence_id=f"{request}:{number}",
                    tokens_np=np.asarray(tokens, np.int32),
                    logprobs_np=np.asarray(logprobs, np.float32),
                )
            )
        return SampleResponse(sequences=sequences)

    def _reply(
        self,
        prompt: Sequence[int],
        limit: int,
        params: tinker.SamplingParams,
        is_end: Callable[[list[int]], bool],
        random: np.random.Generator,
    ) -> tuple[list[int], list[float], bool]:
        """Tokens, their untempered log-probabilities, and whether an end was reached."""
        tokens: list[int] = []
        logprobs: list[float] = []
        context = last_of(self._model.contexts(prompt))
        while len(tokens) < limit:
            every = self._model.log_probabilities(context, self._table)[0]  # [V]
            token = _draw(every, params, random.random())
            tokens.append(token)
            logprobs.append(float(every[token]))
            if is_end(tokens):
                return tokens, logprobs, True
            context = self._model.after(context, token)
        return tokens, logprobs, False

    def _end_test(self, stop: str | Sequence[str] | Sequence[int] | None) -> Callable[[list[int]], bool]:
        """Tells whether the tokens sampled so far end the reply; [] never does."""
        if stop is None:
            stop = [self._tokenizer.eos_token_id]
        stops = [stop] if isinstance(stop, str) else list(stop)
        ids = {item for item in stops if not isinstance(item, str)}
        texts = [item for item in stops if isinstance(item, str)]

        def is_end(tokens: list[int]) -> bool:
            if tokens[-1] in ids:
                return True
            if not texts:
                return False
            said = self._tokenizer.decode(tokens)
            return any(text in said for text in texts)

        return is_end

    def _check_prompt(self, prompt: Sequence[int]) -> None:
        check_tokens(prompt, self._model.size, self._max_context_length)


def check_tokens(tokens: Sequence[int], vocabulary: int, max_context_length: int) -> None:
    """Refuses what the model cannot read.

    Raises:
        tinker.BadRequestError: no tokens, more than the context holds, or ids outside the vocabulary.
    """
    if not tokens:
        raise status_error(400, "the model input is empty")
    if len(tokens) > max_context_length:
        raise status_error(400, f"the model input has {len(tokens)} tokens, the context length is {max_context_length}")
    wrong = next((token for token in tokens if not 0 <= token < vocabulary), None)
    if wrong is not None:
        raise status_error(400, f"token id {wrong} is outside the vocabulary of {vocabulary}")


def _draw(logprobs: Floats, params: tinker.SamplingParams, uniform: float) -> int:
    """One token from tempered log-probabilities `[V]`, cut to top_k and top_p."""
    if params.temperature == 0:
        return int(logprobs.argmax())
    scaled = logprobs / params.temperature
    chances = np.exp(scaled - scaled.max())
    if params.top_k != -1 or params.top_p < 1:
        chances = _cut(chances, params.top_k, params.top_p)
    heaped = chances.cumsum()
    return int(np.searchsorted(heaped, uniform * heaped[-1], side="right"))


def _cut(chances: Floats, top_k: int, top_p: float) -> Floats:
    """Zero outside the `top_k` likeliest, and outside the fewest of those that hold `top_p` of them."""
    order = np.argsort(-chances, kind="stable")
    order = order if top_k == -1 else order[:top_k]
    heaped = chances[order].cumsum()
    order = order[: int(np.searchsorted(heaped, top_p * heaped[-1])) + 1]
    kept = np.zeros_like(chances)
    kept[order] = chances[order]
    return kept
