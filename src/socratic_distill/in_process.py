"""Futures, errors and request checks that the services in this process share. They match those of the SDK."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

import httpx
import tinker
from tinker import APIFuture

T = TypeVar("T")
_HOUR, _TEN_YEARS = 3600, 10 * 365 * 24 * 3600


class ServiceFuture(APIFuture[T]):
    """An `APIFuture` over a `concurrent.futures.Future`."""

    def __init__(self, future: Future[T], drive: Callable[[], None] | None = None) -> None:
        """Wraps a future that the service completes.

        Args:
            future: completed by the service, now or later.
            drive: called by a blocking `result()` while the future is not done, for a service that works only when
                a caller waits for it. None: no such call is needed.
        """
        self._future = future
        self._drive = drive

    @classmethod
    def of(cls, value: T) -> "ServiceFuture[T]":
        """A future that is already done."""
        future: Future[T] = Future()
        future.set_result(value)
        return cls(future)

    @classmethod
    def failed(cls, error: BaseException) -> "ServiceFuture[T]":
        """A future that has already failed."""
        future: Future[T] = Future()
        future.set_exception(error)
        return cls(future)

    @classmethod
    def later(cls, value: T | Exception, seconds: float) -> "ServiceFuture[T]":
        """A future that completes, or fails, some seconds from now; timed by the running asyncio loop, if any."""
        future: Future[T] = Future()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            timer = threading.Timer(seconds, _answer, [future, value])
            timer.daemon = True
            timer.start()
        else:
            loop.call_later(seconds, _answer, future, value)
        return cls(future)

    async def result_async(self, timeout: float | None = None) -> T:
        """The result; `TimeoutError` after `timeout` seconds, None waits without limit."""
        waiting = asyncio.wrap_future(self._future)
        return await (waiting if timeout is None else asyncio.wait_for(waiting, timeout))

    def result(self, timeout: float | None = None) -> T:
        """The result, blocking; `TimeoutError` after `timeout` seconds, None waits without limit."""
        if self._drive is not None and not self._future.done():
            self._drive()
        return self._future.result(timeout)

    def future(self) -> Future[T]:
        """The underlying `concurrent.futures.Future`; cancelling it cancels the operation."""
        return self._future


def _answer(future: Future[T], value: T | Exception) -> None:
    if not future.set_running_or_notify_cancel():  # the caller cancelled it; setting a result would raise
        return
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)


Lane = Literal["training", "evaluation"]

# The lane of the asyncio task that sends a request; tasks that it starts inherit it.
LANE: ContextVar[Lane] = ContextVar("lane", default="training")


REQUEST = httpx.Request("POST", "http://in-process.invalid/api/v1")
_ERRORS: dict[int, type[tinker.APIStatusError]] = {
    400: tinker.BadRequestError,
    401: tinker.AuthenticationError,
    402: tinker.BillingError,
    403: tinker.PermissionDeniedError,
    404: tinker.NotFoundError,
    409: tinker.ConflictError,
    422: tinker.UnprocessableEntityError,
    429: tinker.RateLimitError,
}


def status_error(status: int, message: str) -> tinker.APIStatusError:
    """The SDK's error for an HTTP status, as if a server had sent it.

    Args:
        status: 400 to 599.
        message: text of the error.

    Raises:
        ValueError: the status is not an HTTP error.
    """
    if not 400 <= status <= 599:
        raise ValueError(f"status {status} is not an HTTP error; give 400 to 599")
    default = tinker.InternalServerError if status >= 500 else tinker.APIStatusError
    response = httpx.Response(status, request=REQUEST)
    return _ERRORS.get(status, default)(message, response=response, body={"detail": message})


def check_params(params: tinker.SamplingParams, count: int) -> None:
    """Refuses sampling parameters that are out of range.

    Raises:
        tinker.BadRequestError: no samples are requested, or a parameter is out of range.
    """
    if count < 1:
        raise status_error(400, f"num_samples is {count}; ask for at least 1")
    if params.max_tokens is not None and params.max_tokens < 1:
        raise status_error(400, f"max_tokens is {params.max_tokens}; allow at least 1")
    if params.temperature < 0 or not 0 < params.top_p <= 1 or (params.top_k < 1 and params.top_k != -1):
        raise status_error(
            400,
            f"temperature {params.temperature}, top_p {params.top_p} and top_k {params.top_k} were given; "
            "expected at least 0, above 0 and at most 1, -1 or at least 1",
        )


def check_question(size: int, vocabulary: int, logprobs: bool, last_n: int | None, targets: Any) -> None:
    """Refuses requests for log-probabilities that a prompt of `size` tokens cannot answer.

    Args:
        size: P, tokens of the prompt.
        vocabulary: number of token ids.
        logprobs: whether log-probabilities of the prompt's tokens are requested.
        last_n: number of last tokens to return them for; None for all.
        targets: ids to score, -1 for none, `[P - 1, K]`; None scores no other tokens.

    Raises:
        tinker.BadRequestError: the request is invalid; the message says what was given and what is expected.
    """
    if last_n is not None and not logprobs:
        raise status_error(400, "prompt_logprobs_last_n needs include_prompt_logprobs")
    if last_n is not None and not 1 <= last_n <= size - 1:
        raise status_error(
            400, f"prompt_logprobs_last_n is {last_n} of {size} prompt tokens; give 1 to {size - 1}: the first has none"
        )
    if targets is None:
        return
    if targets.ndim != 2 or len(targets) != size - 1:
        shape = list(targets.shape)
        expected = f"a prompt of {size} tokens takes [{size - 1}, K]"
        raise status_error(400, f"target_prompt_logprobs has the shape {shape}; {expected}")
    if not (targets >= 0).any():
        raise status_error(400, "target_prompt_logprobs names no token id; give at least one, and -1 elsewhere")
    if targets.min() < -1 or targets.max() >= vocabulary:
        raise status_error(400, f"target_prompt_logprobs holds ids outside [-1, {vocabulary})")


def expiry(now: float, ttl_seconds: int | None) -> float | None:
    """When weights that are saved now expire; None: never."""
    if ttl_seconds is None:
        return None
    if not _HOUR <= ttl_seconds <= _TEN_YEARS:
        raise status_error(400, f"ttl_seconds={ttl_seconds}; give {_HOUR} to {_TEN_YEARS}, or None to keep it")
    return now + ttl_seconds
