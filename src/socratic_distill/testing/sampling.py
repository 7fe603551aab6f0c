"""Sampling and scoring with a toy model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tinker
from numpy.typing import NDArray
from tinker.types import PromptAltTokens, SampledSequence, SampleResponse
from tinker.types.topk_logprobs import MASK_LOGPROB, TopkLogprobs

from socratic_distill.in_process import check_params, status_error
from socratic_distill.testing.questions import Question, cells
from socratic_distill.testing.tokenizer import ToyTokenizer
from socratic_distill.testing.toy_model import Floats, ToyModel, last_of, since

# Distinguishes the draws at a prompt's tokens from those of the first reply.
_BESIDE_PROMPT = 1


class Sampler:
    """One model's weights at one time, to sample and score with."""

    def __init__(self, model: ToyModel, table: Floats, tokenizer: ToyTokenizer, max_context_length: int) -> None:
        """Takes the weights as they are now.

        Args:
            model: the toy model.
            table: base table plus trained weights, `[R, D]`.
            tokenizer: the toy tokenizer.
            max_context_length: tokens of prompt and reply together.
        """
        self._model = model
        self._table = table
        self._tokenizer = tokenizer
        self._max_context_length = max_context_length

    def score(self, prompt: Sequence[int], last_n: int | None) -> Floats:
        """Log-probability of each prompt token after those before it, nats, `[P]`.

        NaN at entry 0, and before the last `last_n` tokens where that is given.
        """
        question = Question(logprobs=True, last_n=last_n)
        self._check(prompt, question)
        return self._answers(prompt, question, 1.0, 0)["prompt_logprobs_np"]

    def sample(
        self, prompt: Sequence[int], count: int, params: tinker.SamplingParams, question: Question, number: int
    ) -> SampleResponse:
        """`count` replies to the prompt, and the answer to what else is asked.

        Reply i, and the draws at the prompt's tokens, depend on prompt, params and seed alone.

        Args:
            prompt: token ids, `[P]`.
            count: replies.
            params: how to sample.
            question: what is asked in addition to the replies.
            number: of the request; makes the sequence ids distinct, and is the seed where `params.seed` is None.
        """
        self._check(prompt, question)
        check_params(params, count)
        seed = number if params.seed is None else params.seed
        room = self._max_context_length - len(prompt)
        limit = room if params.max_tokens is None else min(params.max_tokens, room)
        replies = self._replies(prompt, count, limit, params, seed)
        return SampleResponse(
            sequences=[self._sequence(prompt, *reply, f"sample-{number}:{i}", question.reply_top)
                       for i, reply in enumerate(replies)],
            **self._answers(prompt, question, params.temperature, seed),
        )  # fmt: skip

    def _sequence(
        self, prompt: Sequence[int], tokens: Any, logprobs: Any, ended: bool, name: str, top: int
    ) -> SampledSequence:
        likeliest = None
        if top:
            likeliest = _likeliest(self._every([*prompt, *map(int, tokens)], len(prompt)), top)
        return SampledSequence(
            stop_reason="stop" if ended else "length",
            sequence_id=name,
            tokens_np=np.asarray(tokens, np.int32),
            logprobs_np=np.asarray(logprobs, np.float32),
            topk_logprobs_np=likeliest,
        )

    def _answers(self, prompt: Sequence[int], question: Question, temperature: float, seed: int) -> dict[str, Any]:
        """What is asked about the prompt, by field of the response."""
        if not question.is_about_the_prompt:
            return {}
        answers: dict[str, Any] = {}
        size = len(prompt)
        begin = size - (question.reach(size) or size - 1)
        first = 1 if question.last_n is None else size - question.last_n  # with logprobs and top; not before begin
        own = np.asarray(prompt[begin:], np.int64)[:, None]
        targets = np.empty((size - 1, 0), np.int64) if question.ids is None else question.ids
        ids = np.concatenate([own, np.maximum(targets[begin - 1 :], 0)], axis=1)
        every = self._every(prompt, begin) if question.top or question.draws else None
        named = self._named(prompt, begin, ids) if every is None else np.take_along_axis(every, ids, axis=1)
        if question.logprobs:
            answers["prompt_logprobs_np"] = np.full(size, np.nan, np.float32)
            answers["prompt_logprobs_np"][first:] = named[first - begin :, 0]
        if question.targets is not None:
            scores = np.zeros(targets.shape, np.float32)
            scores[begin - 1 :] = np.where(targets[begin - 1 :] < 0, 0.0, named[:, 1:])
            answers["target_prompt_logprobs"] = _in_layout(question.targets, scores)
        if every is not None and question.top:
            answers["topk_prompt_logprobs_np"] = _likeliest(every[first - begin :], question.top, first)
        if every is not None and question.draws:
            answers["prompt_alt_tokens"] = _alternatives(every, question.draws, temperature, seed)
        return answers

    def _every(self, tokens: Sequence[int], begin: int) -> Floats:
        """Log-probabilities of all that could stand at token `begin` and each later one, nats, `[N - begin, V]`."""
        return self._model.log_probabilities(since(self._model.contexts(tokens[:-1]), begin - 1), self._table)

    def _named(self, tokens: Sequence[int], begin: int, ids: NDArray[np.int64]) -> Floats:
        """Those of some alone, `[N - begin, K]`."""
        return np.take_along_axis(self._every(tokens, begin), ids, axis=1)

    def _replies(
        self, prompt: Sequence[int], count: int, limit: int, params: tinker.SamplingParams, seed: int
    ) -> list[tuple[Any, Any, bool]]:
        """Tokens and their untempered log-probabilities, and whether an end was reached."""
        is_end = self._end_test(params.stop)
        return [self._reply(prompt, limit, params, is_end, _random(seed, number)) for number in range(count)]

    def _reply(
        self,
        prompt: Sequence[int],
        limit: int,
        params: tinker.SamplingParams,
        is_end: Callable[[list[int]], bool],
        random: np.random.Generator,
    ) -> tuple[list[int], list[float], bool]:
        tokens: list[int] = []
        logprobs: list[float] = []
        context = last_of(self._model.contexts(prompt))
        while len(tokens) < limit:
            every = self._model.next_log_probabilities(context, self._table)  # [V]
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

    def _check(self, prompt: Sequence[int], question: Question) -> None:
        check_tokens(prompt, self._model.size, self._max_context_length)
        question.check(len(prompt), self._model.size)


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


def _likeliest(every: Floats, count: int, blank: int = 0) -> TopkLogprobs:
    """The `count` likeliest tokens at each of N places, the likeliest first, `[blank + N, count]`.

    Masked in the `blank` rows before them, and where the vocabulary has fewer.
    """
    ids = np.zeros((blank + len(every), count), np.int32)
    logprobs = np.full(ids.shape, MASK_LOGPROB, np.float32)
    order = np.argsort(-every, axis=1, kind="stable")[:, :count]
    ids[blank:, : order.shape[1]] = order
    logprobs[blank:, : order.shape[1]] = np.take_along_axis(every, order, axis=1)
    return TopkLogprobs(ids, logprobs)


def _alternatives(every: Floats, count: int, temperature: float, seed: int) -> PromptAltTokens:
    """Tokens drawn at each of N places, with their untempered log-probabilities, `[N, count]`."""
    numbers = _random(seed, 0, _BESIDE_PROMPT).random((len(every), count))
    if temperature == 0:
        tokens = np.repeat(every.argmax(axis=1)[:, None], count, axis=1)
    else:
        scaled = every.astype(np.float64) / temperature
        reached = np.exp(scaled - scaled.max(axis=1, keepdims=True)).cumsum(axis=1)
        # One rising sequence of all rows, each in an interval of its own: one search finds every draw.
        row, size = np.arange(len(every))[:, None], every.shape[1]
        steps = (row + reached / reached[:, -1:]).ravel()
        tokens = np.minimum(np.searchsorted(steps, row + numbers, side="right") - row * size, size - 1)
    logprobs = np.take_along_axis(every, tokens, axis=1).astype(np.float32)
    return PromptAltTokens(tinker.TensorData.from_numpy(tokens), tinker.TensorData.from_numpy(logprobs))


def _random(seed: int, *which: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([abs(seed), int(seed < 0), *which]))


def _in_layout(asked: tinker.TensorData, values: Floats) -> tinker.TensorData:
    """Values `[P - 1, K]` in the layout of the tensor that asked for them."""
    if asked.sparse_crow_indices is None:
        return tinker.TensorData.from_numpy(values)
    return tinker.TensorData(
        values[cells(asked)], "float32", asked.shape, asked.sparse_crow_indices, asked.sparse_col_indices
    )
