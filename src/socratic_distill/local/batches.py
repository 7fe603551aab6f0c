"""Sampling and scoring requests: their checks, how a batch of them runs, and their answers."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tinker
from tinker import types
from tinker.types.topk_logprobs import TopkLogprobs

from socratic_distill.in_process import Lane, check_params, check_question, status_error
from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.draws import Row
from socratic_distill.local.failures import explain
from socratic_distill.local.sampling import carry_out
from socratic_distill.local.scheduler import Job
from socratic_distill.local.scoring import ScoreRequest, Scores
from socratic_distill.local.works import Work


@dataclass(eq=False)
class Request:
    """One sampling or scoring request.

    Attributes:
        base: the model.
        adapter: the adapter to switch on; None for the base model.
        prompt: tokens, `[P]`.
        question: what is asked about the prompt.
        count: number of replies.
        params: how to sample them; None asks only for the prompt's log-probabilities.
        seed: seed of the replies.
        top: number of likeliest tokens wanted at each position of a reply.
        targets: the targets as the caller gave them; the answer gets the same layout.
        listen: is called with a reply after each of its tokens, on the worker, and says whether to go on.
        owner: the client that asked; held so that its adapter lives until the answer.
    """

    base: BaseModel
    adapter: str | None
    prompt: tuple[int, ...]
    question: ScoreRequest
    count: int = 0
    params: tinker.SamplingParams | None = None
    seed: int = 0
    top: int = 0
    targets: tinker.TensorData | None = None
    listen: Callable[[Row], bool] | None = None
    owner: Any = None

    def work(self) -> Work:
        """The work of this request for a batch."""
        return Work(self.prompt, [self._row(index) for index in range(self.count)], self.question)

    def _row(self, index: int) -> Row:
        assert self.params is not None
        params = self.params
        room = self.base.max_context - len(self.prompt)
        stop_tokens, stop_texts = _stops(params.stop, self.base.tokenizer)
        return Row(
            max_tokens=room if params.max_tokens is None else params.max_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            stop_tokens=stop_tokens,
            stop_texts=stop_texts,
            seed=self.seed,
            index=index,
            top=self.top,
            listen=self.listen,
        )


def check_request(request: Request) -> None:
    """Refuses requests that the model cannot answer.

    Raises:
        tinker.BadRequestError: the prompt is empty or has ids outside the vocabulary, prompt and reply do not fit the
            context, a sampling parameter is invalid, or the question does not fit the prompt.
    """
    size, limit, vocabulary = len(request.prompt), request.base.max_context, request.base.vocabulary
    wanted = (request.params.max_tokens if request.params else 0) or 0
    if not size:
        raise status_error(400, "the prompt is empty; give at least one token")
    if size + wanted > limit:
        raise status_error(
            400, f"a prompt of {size} tokens and a reply of {wanted} do not fit a context of {limit} tokens"
        )
    if not 0 <= min(request.prompt) <= max(request.prompt) < vocabulary:
        raise status_error(400, f"the prompt holds token ids outside [0, {vocabulary})")
    if request.params is not None:
        check_params(request.params, request.count)
    question = request.question
    check_question(size, vocabulary, question.logprobs, question.last_n, question.targets)


def run_batch(jobs: Sequence[Job]) -> None:
    """Runs a batch, one lane and adapter after another in a fixed order, and completes its futures."""
    by_weights: dict[tuple[Lane, str, int], list[Job]] = defaultdict(list)
    for job in jobs:
        request: Request = job.work
        by_weights[job.lane, request.base.name, _number(request.adapter)].append(job)
    for key in sorted(by_weights):
        try:
            _run_on_one(by_weights[key])
        except Exception as error:  # fails only the requests on these weights
            failure = explain(error, _describe(by_weights[key]))
            if failure is not error:
                failure.__cause__ = error
            for job in by_weights[key]:
                if not job.future.done():
                    job.future.set_exception(failure)


def _run_on_one(jobs: Sequence[Job]) -> None:
    first: Request = jobs[0].work
    works = [job.work.work() for job in jobs]
    carry_out(first.base, first.adapter, works)
    for job, work in zip(jobs, works, strict=True):
        job.future.set_result(_answer(job.work, work))


def _answer(request: Request, work: Work) -> Any:
    question, scores = request.question, work.scores or Scores.blank(request.question)
    if request.params is None:
        return [None if np.isnan(value) else float(value) for value in scores.logprobs]
    return tinker.SampleResponse(
        sequences=[_sequence(request, row) for row in work.rows],
        prompt_logprobs_np=_single(scores.logprobs) if question.logprobs else None,
        topk_prompt_logprobs_np=TopkLogprobs(scores.top_ids, _single(scores.top_logprobs)) if question.top else None,
        target_prompt_logprobs=None if request.targets is None else _like(request.targets, _single(scores.targets)),
        prompt_alt_tokens=types.PromptAltTokens(
            tokens=tinker.TensorData.from_numpy(scores.drawn),
            logprobs=tinker.TensorData.from_numpy(_single(scores.drawn_logprobs)),
        )
        if question.alternatives
        else None,
    )


def _sequence(request: Request, row: Row) -> types.SampledSequence:
    likeliest = None
    if request.top:
        ids, logprobs = zip(*row.likeliest, strict=True)
        likeliest = TopkLogprobs(np.stack(ids), _single(np.stack(logprobs)))
    return types.SampledSequence(
        stop_reason="stop" if row.stopped else "length",
        sequence_id=f"{request.seed}-{row.index}",
        tokens_np=np.asarray(row.tokens, dtype=np.int32),
        logprobs_np=np.asarray(row.logprobs, dtype=np.float32),
        topk_logprobs_np=likeliest,
    )


def _single(values: np.ndarray) -> np.ndarray:
    """Values in single precision, as in the SDK's answers."""
    return values.astype(np.float32)


def _like(targets: tinker.TensorData, logprobs: np.ndarray) -> tinker.TensorData:
    """Log-probabilities `[P - 1, K]` in the layout of their targets, dense or sparse (CSR)."""
    if targets.sparse_crow_indices is None:
        return tinker.TensorData.from_numpy(logprobs)
    assert targets.sparse_col_indices is not None
    # The differences of a CSR row pointer are the numbers of entries in the rows.
    rows = np.repeat(np.arange(len(logprobs)), np.diff(targets.sparse_crow_indices))
    return tinker.TensorData(
        data=logprobs[rows, np.asarray(targets.sparse_col_indices)],
        dtype="float32",
        shape=list(logprobs.shape),
        sparse_crow_indices=targets.sparse_crow_indices,
        sparse_col_indices=targets.sparse_col_indices,
    )


def _stops(stop: Any, tokenizer: Any) -> tuple[frozenset[int], tuple[str, ...]]:
    """Stop tokens and stop texts; None means the model's end tokens."""
    if stop is None:
        return frozenset(tokenizer.end_token_ids), ()
    entries = [stop] if isinstance(stop, str) else list(stop)
    tokens = frozenset(entry for entry in entries if isinstance(entry, int))
    return tokens, tuple(entry for entry in entries if isinstance(entry, str))


def _number(adapter: str | None) -> int:
    # Sorted as numbers: the order of names would change between adapter9 and adapter10.
    return 0 if adapter is None else int(adapter.removeprefix("adapter"))


def _describe(jobs: Sequence[Job]) -> str:
    longest = max(len(job.work.prompt) for job in jobs)
    return f"{len(jobs)} requests with prompts of up to {longest} tokens"
