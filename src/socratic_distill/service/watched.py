"""Reports requests that the service does not answer, and gives them up after a limit.

The SDK waits for an answer without a limit and in silence, even if the service lost the request. This module wraps the
clients of a run, and so every request, whichever module makes it. It goes by the time of the asyncio loop, and neither
sleeps nor needs a thread.

A request that is given up is not cancelled: cancelling a training request leaves a gap in its client's request
sequence, and after such a gap the service answers nothing.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from math import inf
from typing import Any, Self, TypeVar, cast

from socratic_distill.errors import TrainingError
from socratic_distill.service.pauses import count_pauses, pauses_heard
from socratic_distill.service.waiting import silence
from socratic_distill.text import duration, get_logger, without_secrets

_log = get_logger(__name__)


REPORT_SECONDS = 120.0
_REPORT_AGAIN_SECONDS = 300.0
_STANDSTILL_SECONDS = 60.0
_ROUNDING = 1e-3  # a loop's timer may go off as much early, in seconds
C = TypeVar("C")  # a client
_Wrap = Callable[[Any], Any]


@dataclass(eq=False)
class _Queue:
    """Requests that one part of the service carries out. While it answers some of them, none counts as lost.

    Attributes:
        answered: when it last answered one, seconds on the loop's clock.
        reported: when its silence was last reported; None if it has answered since.
    """

    answered: float = -inf
    reported: float | None = None


@dataclass(eq=False)
class _Request:
    """One request.

    Attributes:
        what: the call, and what it is about.
        queue: who carries it out.
        submitted: when, seconds on the loop's clock.
        outcome: what the caller waits for.
        answer: what the service completes.
    """

    what: str
    queue: _Queue
    submitted: float
    outcome: "asyncio.Future[Any]"
    answer: "Future[Any] | asyncio.Future[Any]"


@dataclass(frozen=True)
class _Kind:
    """What all requests of a client share.

    Attributes:
        queue: who carries them out.
        label: what they are about, for messages.
        may_cancel: whether cancelling the caller cancels its request. Never on a training client.
    """

    queue: _Queue
    label: str = ""
    may_cancel: bool = True


@dataclass(eq=False)
class Watch:
    """Watches requests. An async context manager, for as long as the clients are used.

    Attributes:
        limit: seconds without an answer after which a request is given up; None: never.
        say: takes a line for the reader.
        pauses: number of messages so far in which the SDK says that it waits for a pause of the service to end. While
            it grows, no request counts as unanswered.
    """

    limit: float | None
    say: Callable[[str], None] = field(default=lambda line: _log.warning("%s", line))
    pauses: Callable[[], int] = pauses_heard

    def __post_init__(self) -> None:
        """Begins without requests."""
        count_pauses()
        self._heard = self.pauses()
        self._paused = -inf  # when the last pause was reported
        self._sampling = _Queue()
        self._open: dict[_Request, None] = {}  # in order of submission
        self._left: set[_Request] = set()  # what was given up
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf  # of the timer

    async def __aenter__(self) -> Self:
        """Watches until the end of the block."""
        return self

    async def __aexit__(self, *reason: Any) -> None:
        """Abandons unanswered requests; the clients are not used after this."""
        self._stop_timer()
        for request in (*self._left, *self._open):
            request.answer.cancel()
        self._open.clear()

    def watched(self, client: C) -> C:
        """A service client or REST client whose requests, and those of the clients that it makes, are watched.

        Args:
            client: as of the SDK. Its methods that give an awaitable make requests.
        """
        return cast(C, _Watched(client, self, _Kind(_Queue())))

    def submitted(self, request: Awaitable[Any], what: str, kind: _Kind, wrap: _Wrap) -> "asyncio.Future[Any]":
        """A future of the answer to a request, or of the error that ends the wait for it.

        Args:
            request: as the client gave it.
            what: the call, and what it is about.
            kind: of its client.
            wrap: wraps an answer that is a client, so that it is watched too.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the loop of an earlier `asyncio.run` is closed, and nothing waits there
            self._loop, self._timer = loop, None
            self._open.clear()
        outcome: asyncio.Future[Any] = loop.create_future()
        outcome.add_done_callback(silence)
        opened = _Request(what, kind.queue, loop.time(), outcome, _future_of(request))
        self._open[opened] = None
        if kind.may_cancel:
            outcome.add_done_callback(lambda done: opened.answer.cancel() if done.cancelled() else None)
        opened.answer.add_done_callback(lambda answer: _soon(loop, self._answered, opened, wrap))
        if self._timer is None:
            first = REPORT_SECONDS if self.limit is None else min(self.limit, REPORT_SECONDS)
            self._look_later(loop.time() + first)
        return outcome

    def _answered(self, request: _Request, wrap: _Wrap) -> None:
        self._left.discard(request)
        self._open.pop(request, None)
        if not self._open:
            self._stop_timer()
        outcome, queue, answer = request.outcome, request.queue, request.answer
        if answer.cancelled():
            outcome.cancel()
            return
        now = outcome.get_loop().time()
        if queue.reported is not None:
            self.say(f"answered after {duration(now - request.submitted)}: {request.what}")
        queue.answered, queue.reported = now, None
        if outcome.done():  # cancelled, or given up
            return
        if (error := answer.exception()) is None:
            outcome.set_result(wrap(answer.result()))
        else:
            outcome.set_exception(without_secrets(error) if isinstance(error, Exception) else error)

    def _look(self) -> None:
        """Reports unanswered requests, gives up those beyond the limit, and sets the timer for the next look."""
        assert self._loop is not None
        now = self._loop.time()
        heard = self.pauses()
        # A process that was suspended could not receive answers.
        if heard != self._heard or now - self._due > _STANDSTILL_SECONDS:
            self._heard, self._paused = heard, now
        waiting: dict[_Queue, list[_Request]] = {}
        for request in self._open:
            waiting.setdefault(request.queue, []).append(request)
        dues = [self._look_at(queue, requests, now) for queue, requests in waiting.items()]
        self._timer, due = None, min(dues, default=inf)
        if due < inf:
            self._look_later(due)

    def _look_later(self, due: float) -> None:
        assert self._loop is not None
        self._due, self._timer = due, self._loop.call_at(due, self._look)

    def _look_at(self, queue: _Queue, requests: list[_Request], now: float) -> float:
        """Looks at a queue's requests, the oldest first; gives when to look again, infinity for never."""
        limit = inf if self.limit is None else self.limit
        while requests and now >= self._silent_since(requests[0]) + limit - _ROUNDING:
            self._give_up(requests.pop(0), now)
        if not requests:
            return inf
        since = self._silent_since(requests[0])
        due = since + REPORT_SECONDS if queue.reported is None else max(queue.reported, since) + _REPORT_AGAIN_SECONDS
        if now >= due - _ROUNDING:
            more = f" (and {len(requests) - 1} more)" if len(requests) > 1 else ""
            self.say(f"no answer to {requests[0].what}{more} for {_ago(now - requests[0].submitted)}")
            queue.reported, due = now, now + _REPORT_AGAIN_SECONDS
        return min(due, since + limit)

    def _silent_since(self, request: _Request) -> float:
        return max(request.submitted, request.queue.answered, self._paused)

    def _give_up(self, request: _Request, now: float) -> None:
        del self._open[request]
        self._left.add(request)
        request.queue.reported = None
        if not request.outcome.done():
            request.outcome.set_exception(
                TrainingError(
                    f"no answer to {request.what} for {_ago(now - request.submitted)}: its client counts as lost "
                    f"(answer_timeout_seconds={self.limit:g})"
                )
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Watched:
    """A client whose requests are watched."""

    def __init__(self, client: object, watch: Watch, kind: _Kind) -> None:
        self._client, self._watch, self._kind = client, watch, kind

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute) or name.startswith("_"):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                given = attribute(*arguments, **options)
            except Exception as error:
                if (cleaned := without_secrets(error)) is error:
                    raise
                raise cleaned from None
            if not inspect.isawaitable(given):
                return given
            # The text argument of a pass is the name of its loss.
            about = "" if name.startswith("forward") else _about(arguments, options)
            parts = ", ".join(dict.fromkeys(part for part in (about, self._kind.label) if part))
            wrap = partial(self._wrapped, name, about)
            return self._watch.submitted(given, f"{name} ({parts})" if parts else name, self._kind, wrap)

        return call

    def _wrapped(self, call: str, about: str, answer: Any) -> Any:
        """An answer that is a client, watched; any other as it is."""
        if call.startswith("create_") and "training_client" in call:
            label = str(getattr(answer, "model_id", about))
            return _Watched(answer, self._watch, _Kind(_Queue(), label, may_cancel=False))
        if call.endswith("sampling_client"):
            return _Watched(answer, self._watch, _Kind(self._watch._sampling, about or self._kind.label))
        return answer


def unwatched(client: C) -> C:
    """The client itself, where its requests are watched."""
    return cast(C, client._client) if isinstance(client, _Watched) else client


def _future_of(request: Awaitable[Any]) -> "Future[Any] | asyncio.Future[Any]":
    """The future of an SDK request; for any other awaitable, a new one that awaits it."""
    from tinker import APIFuture

    return request.future() if isinstance(request, APIFuture) else asyncio.ensure_future(request)


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    """Calls something in the loop's thread, from any thread. Does nothing if the loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


def _about(arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """The name or path that a request is about; empty where it names none."""
    named = (options.get(name) for name in ("model_path", "base_model", "path"))
    return next((value for value in (*named, *arguments) if isinstance(value, str)), "")


def _ago(seconds: float) -> str:
    began = datetime.now() - timedelta(seconds=seconds)
    return f"{duration(seconds)}, since {began:%H:%M:%S}"
