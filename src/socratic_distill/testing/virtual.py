"""The fake service on a clock: the same calls, answered when a hosted service would."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from tinker.types import SampleResponse

from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing.latency import Latency, PrefixCache, TrainingQueue
from socratic_distill.testing.ledger import Reading
from socratic_distill.testing.sampling import Sampler
from socratic_distill.testing.scripted import ScriptedSampler, ScriptedWeights
from socratic_distill.testing.service import FakeServiceClient
from socratic_distill.testing.weights import Weights

T = TypeVar("T")
_TRAINING = frozenset(
    {"forward", "forward_backward", "optim_step", "save_state", "save_weights_for_sampler"}
    | {"save_weights_and_get_sampling_client"}  # a save without a name
)
_LONGEST_RETRY = 30.0


@dataclass
class Served:
    """One call in the ledger of a virtual service; times in seconds on the loop's clock.

    Attributes:
        call: name of the client method.
        server_run: the training client's; None for other calls.
        model: base model of a sampling or scoring call.
        submitted: when it was submitted.
        started: when the service began with it.
        ended: when the service was done with it.
        answered: when its caller has the answer.
        prompt_tokens: tokens of the prompt.
        cached_tokens: how many of them the service knew.
        output_tokens: tokens of all replies.
        longest: tokens of the longest reply.
        refused: how often it was answered with 429 before.
        path: what the call is about: saved weights, or those that a sampling client was made from.
        prompt: the prompt's tokens, `[P]`, where the service keeps them.
        replies: the replies' tokens, `[T]` each, where the service keeps them.
    """

    call: str
    server_run: str | None
    model: str | None
    submitted: float
    started: float = 0.0
    ended: float = 0.0
    answered: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    longest: int = 0
    refused: int = 0
    path: str | None = None
    prompt: NDArray[np.int32] | None = None
    replies: Sequence[NDArray[np.int32]] = ()


class VirtualServiceClient(FakeServiceClient):
    """A `FakeServiceClient` that answers after the time that a `Latency` says, on the asyncio loop's clock.

    Meant for `run_virtual`. Replies and log-probabilities are scripted (see `scripted.py`): nothing learns, and
    hours of training cost little more than the trainer's own work.

    Attributes:
        ledger: every call in order of submission, with its times.
    """

    def __init__(self, latency: Latency | None = None, *, keep_tokens: bool = False, **options: Any) -> None:
        """Opens a service with an empty ledger.

        Args:
            latency: how long calls take.
            keep_tokens: whether the ledger keeps prompts and replies.
            **options: as `FakeServiceClient`'s.
        """
        super().__init__(**options)
        self._keep_tokens = keep_tokens
        self.latency = latency or Latency()
        self.ledger: list[Served] = []
        self._queues: defaultdict[str, TrainingQueue] = defaultdict(lambda: TrainingQueue(self.latency))
        self._caches: WeakKeyDictionary[Sampler, PrefixCache] = WeakKeyDictionary()
        self._active = 0

    def make_weights(self, model_name: str) -> Weights:
        """Weights that do not learn."""
        return ScriptedWeights(self.model(model_name))

    def sampler(self, weights: Weights) -> Sampler:
        """A sampler that scripts its replies."""
        speed = self.latency.speed(weights.model.name)
        return ScriptedSampler(
            weights.model, self.tokenizer, self.max_context_length, speed.reply_tokens, self.latency.spread
        )

    def submit(
        self,
        call: str,
        action: Callable[[], T],
        *,
        server_run: str | None = None,
        read: Reading | None = None,
        **arguments: Any,
    ) -> ServiceFuture[T]:
        """Carries a call out at once, and answers it when its time has come."""
        outcome = super().submit(call, action, server_run=server_run, **arguments).future()
        loop = asyncio.get_running_loop()
        served = Served(call, server_run, arguments.get("base_model"), loop.time())
        self.ledger.append(served)
        answer: Future[T] = Future()
        if not outcome.done():  # never to be answered, or at a time that a fault says
            outcome.add_done_callback(lambda done: self._hand_over(done, answer))
            return ServiceFuture(answer)
        arrival = loop.time() + self.latency.round_trip / 2
        served.path = getattr(_value(outcome), "path", None) or arguments.get("model_path")
        if server_run is not None and call in _TRAINING:
            served.started, served.ended = self._queues[server_run].place(call, arrival)
        elif read is not None:
            seconds = self._measure(served, read, outcome)
            if isinstance(answered := _value(outcome), SampleResponse):
                cached = replace(answered, prompt_cache_hit_tokens=served.cached_tokens)
                outcome = ServiceFuture.of(cast(T, cached)).future()
            loop.call_at(arrival, self._serve, served, seconds, outcome, answer)
            return ServiceFuture(answer)
        else:
            served.started = served.ended = arrival
        self._answer(served, outcome, answer)
        return ServiceFuture(answer)

    def _measure(self, served: Served, read: Reading, outcome: Future[Any]) -> float:
        """Seconds of sampling or scoring, by the tokens that it takes."""
        speed, tokens = self.latency.speed(served.model or ""), _tokens(read)
        cache = self._caches.setdefault(read.sampler, PrefixCache())
        served.prompt_tokens, known = len(tokens), cache.read(tokens)
        # The scores of a prompt's tokens are computed anew, but for what stands before the last n.
        served.cached_tokens = min(known, len(tokens) - (read.last_n or len(tokens))) if read.scored else known
        replies = [reply.tokens for reply in getattr(_value(outcome), "sequences", ())]
        served.output_tokens, served.longest = sum(map(len, replies)), max(map(len, replies), default=0)
        for reply in replies:
            cache.read([*tokens, *reply])
        served.path = read.path
        if self._keep_tokens:
            served.prompt, served.replies = np.asarray(tokens, np.int32), [np.asarray(r, np.int32) for r in replies]
        return speed.prefill * (len(tokens) - served.cached_tokens) + speed.token * served.longest

    def _serve(self, served: Served, seconds: float, outcome: Future[T], answer: Future[T]) -> None:
        """Begins with a request that has arrived, or refuses it for now."""
        loop, limit = asyncio.get_running_loop(), self.latency.max_concurrent
        if limit is not None and self._active >= limit:
            wait = min(self.latency.retry * 2**served.refused, _LONGEST_RETRY)
            served.refused += 1
            loop.call_later(self.latency.round_trip + wait, self._serve, served, seconds, outcome, answer)
            return
        self._active += 1
        served.started, served.ended = loop.time(), loop.time() + seconds
        loop.call_at(served.ended, self._done)
        self._answer(served, outcome, answer)

    def _done(self) -> None:
        self._active -= 1

    def _answer(self, served: Served, outcome: Future[T], answer: Future[T]) -> None:
        served.answered = served.ended + self.latency.round_trip / 2
        asyncio.get_running_loop().call_at(served.answered, self._hand_over, outcome, answer)

    def _hand_over(self, outcome: Future[T], answer: Future[T]) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        if (error := outcome.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(outcome.result())


def _tokens(read: Reading) -> list[int]:
    """The prompt's tokens; none, where it is more than text and so refused."""
    try:
        return read.prompt.to_ints()
    except ValueError:
        return []


def _value(outcome: Future[Any]) -> Any:
    """What a call answered; None where it failed."""
    return None if outcome.exception() is not None else outcome.result()
