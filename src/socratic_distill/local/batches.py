"""Sampling and scoring requests: what one holds, and how a batch of them is carried out."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tinker
import torch
from tinker import types
from tinker.types.topk_logprobs import MASK_LOGPROB, TopkLogprobs

from socratic_distill.errors import LocalEngineError
from socratic_distill.local.lora import BaseModel
from socratic_distill.local.sampling import Row, sample_rows, score_prompts
from socratic_distill.local.scheduler import Job
from socratic_distill.service_errors import status_error


@dataclass
class Request:
    """One sampling or scoring request.

    Attributes:
        base: the model.
        adapter: the adapter to switch on; None for the base alone.
        prompt: tokens, `[P]`.
        count: replies wanted.
        params: how they are sampled; None asks for the prompt's log-probabilities alone.
        seed: seed of the replies.
        score: whether the prompt's log-probabilities are wanted.
        top: number of likeliest tokens wanted at each prompt position.
        last_n: prompt positions scored, from the end; None scores all.
        owner: the client that asked, kept alive until the answer.
    """

    base: BaseModel
    adapter: str | None
    prompt: tuple[int, ...]
    count: int = 0
    params: tinker.SamplingParams | None = None
    seed: int = 0
    score: bool = False
    top: int = 0
    last_n: int | None = None
    owner: Any = None

    def rows(self) -> list[Row]:
        """The replies to sample."""
        params = self.params
        if params is None:
            return []
        room = self.base.max_context - len(self.prompt)
        stop_tokens, stop_texts = _stops(params.stop, self.base.tokenizer)
        return [
            Row(
                prompt=self.prompt,
                max_tokens=room if params.max_tokens is None else params.max_tokens,
                temperature=params.temperature,
                top_p=params.top_p,
                top_k=params.top_k,
                stop_tokens=stop_tokens,
                stop_texts=stop_texts,
                seed=self.seed,
                index=index,
            )
            for index in range(self.count)
        ]


def check_request(request: Request) -> None:
    """Refuses what the model cannot answer.

    Raises:
        tinker.BadRequestError: an empty prompt, ids outside the vocabulary, or no room for prompt and reply.
    """
    size, limit = len(request.prompt), request.base.max_context
    wanted = (request.params.max_tokens if request.params else 0) or 0
    if not size:
        raise status_error(400, "the prompt is empty")
    if size + wanted > limit:
        raise status_error(
            400, f"a prompt of {size} tokens and a reply of {wanted} do not fit a context of {limit} tokens"
        )
    vocabulary = request.base.vocabulary
    if not 0 <= min(request.prompt) <= max(request.prompt) < vocabulary:
        raise status_error(400, f"the prompt holds token ids outside [0, {vocabulary})")
    if request.last_n is not None and not 1 <= request.last_n <= size:
        raise status_error(400, f"prompt_logprobs_last_n={request.last_n} of a prompt of {size} tokens")


def carry_out(jobs: Sequence[Job]) -> None:
    """Carries out a batch, one adapter after another in a fixed order, and completes its futures."""
    by_weights: dict[tuple[str, int], list[Job]] = defaultdict(list)
    for job in jobs:
        request: Request = job.work
        by_weights[request.base.name, _number(request.adapter)].append(job)
    for key in sorted(by_weights):
        try:
            _carry_out_on_one(by_weights[key])
        except Exception as error:  # of these weights alone; the others' requests go on
            failure = explain(error, _describe(by_weights[key]))
            if failure is not error:
                failure.__cause__ = error
            for job in by_weights[key]:
                if not job.future.done():
                    job.future.set_exception(failure)


def _carry_out_on_one(jobs: Sequence[Job]) -> None:
    first: Request = jobs[0].work
    replies = [(job, job.work.rows()) for job in jobs]
    sample_rows(first.base, first.adapter, [row for _, rows in replies for row in rows])
    scored = [job for job in jobs if job.work.score]
    top = max((job.work.top for job in scored), default=0)
    answers = score_prompts(first.base, first.adapter, [job.work.prompt for job in scored], top)
    scores = dict(zip(map(id, scored), answers, strict=True))
    for job, rows in replies:
        job.future.set_result(_answer(job.work, rows, scores.get(id(job))))


def _answer(request: Request, rows: Sequence[Row], scores: Any) -> Any:
    values = likeliest = None
    if scores is not None:
        values, ids, logprobs = scores[0], scores[1][:, : request.top], scores[2][:, : request.top]
        if request.last_n is not None:  # as the SDK has it: of the prompt's length, empty before the last n
            values[: -request.last_n], ids[: -request.last_n] = np.nan, 0
            logprobs[: -request.last_n] = MASK_LOGPROB
        likeliest = TopkLogprobs(ids, logprobs) if request.top else None
    if request.params is None:
        assert values is not None
        return [None if np.isnan(value) else float(value) for value in values]
    return tinker.SampleResponse(
        sequences=[
            types.SampledSequence(
                stop_reason="stop" if row.stopped else "length",
                sequence_id=f"{request.seed}-{row.index}",
                tokens_np=np.asarray(row.tokens, dtype=np.int32),
                logprobs_np=np.asarray(row.logprobs, dtype=np.float32),
            )
            for row in rows
        ],
        prompt_logprobs_np=values,
        topk_prompt_logprobs_np=likeliest,
    )


def _stops(stop: Any, tokenizer: Any) -> tuple[frozenset[int], tuple[str, ...]]:
    """Stop tokens and stop texts; None means the tokenizer's end of sequence."""
    if stop is None:
        return frozenset({tokenizer.eos_token_id}), ()
    entries = [stop] if isinstance(stop, str) else list(stop)
    tokens = frozenset(entry for entry in entries if isinstance(entry, int))
    return tokens, tuple(entry for entry in entries if isinstance(entry, str))


def _number(adapter: str | None) -> int:
    return 0 if adapter is None else int(adapter.removeprefix("adapter"))


def _describe(jobs: Sequence[Job]) -> str:
    longest = max(len(job.work.prompt) for job in jobs)
    return f"{len(jobs)} requests with prompts of up to {longest} tokens"


def explain(error: Exception, what: str) -> Exception:
    """The error that a user meets when torch fails: memory and batch named; others as they are."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or "not enough memory" in str(error):
        return LocalEngineError(f"out of memory on {what}; lower groups_per_batch, num_envs or max_tokens")
    return LocalEngineError(f"torch failed on {what}: {error}") if isinstance(error, RuntimeError) else error
