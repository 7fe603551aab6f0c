"""The fake service, some of whose answers are changed on their way."""

import copy
from collections.abc import Callable
from typing import Any

from tests.support.partial import Partial

from socratic_distill.testing import FakeServiceClient

Spoil = Callable[[Any], Any]


class SpoilingService(Partial):
    """A service client whose answers to one call go through a function, from the `nth` such answer on, `times` times.

    Calls: "sample" (of any model, without scores of a prompt), "score" (with them), "forward", "forward_backward",
    "optim_step".
    """

    def __init__(self, server: FakeServiceClient, call: str, spoil: Spoil, nth: int = 1, times: int = 1) -> None:
        self.server, self.call, self.spoil = server, call, spoil
        self.first, self.stop, self.seen, self.spoilt = nth, nth + times, 0, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.server, name)
        if name == "create_sampling_client":
            return lambda *args, **options: _Future(found(*args, **options), lambda one: _Client(one, self))
        if name.startswith("create_") and "training_client" in name:
            return lambda *args, **options: _Future(found(*args, **options), lambda one: _Client(one, self))
        return found

    def answered(self, call: str, answer: Any) -> Any:
        """The answer, changed if its turn has come."""
        if call != self.call:
            return answer
        self.seen += 1
        if not self.first <= self.seen < self.stop:
            return answer
        self.spoilt += 1
        return self.spoil(answer)


class _Client:
    def __init__(self, client: Any, service: SpoilingService) -> None:
        self._client, self._service = client, service

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in ("sample", "forward", "forward_backward", "optim_step"):
            return found

        def ask(*args: Any, **options: Any) -> Any:
            call = "score" if options.get("include_prompt_logprobs") else name
            return _Future(found(*args, **options), lambda answer: self._service.answered(call, answer))

        return ask


class _Future:
    def __init__(self, future: Any, change: Spoil) -> None:
        self._future, self._change = future, change

    def __await__(self) -> Any:
        return self._change((yield from self._future.__await__()))

    def result(self, *args: Any) -> Any:
        """As the SDK's."""
        return self._change(self._future.result(*args))


def changed(answer: Any, **fields: Any) -> Any:
    """An answer of the SDK's with other fields, whatever its type checks."""
    if hasattr(answer, "model_copy"):
        return answer.model_copy(update=fields)
    answer = copy.copy(answer)
    for name, value in fields.items():
        object.__setattr__(answer, name, value)  # some of the SDK's types are frozen
    return answer


def sampled(**fields: Any) -> Spoil:
    """Has each sampled sequence say something else; a function of the sequence gives a field's value."""
    return lambda answer: changed(
        answer,
        sequences=[changed(one, **{name: value(one) for name, value in fields.items()}) for one in answer.sequences],
    )


def first_logprob(value: float) -> Spoil:
    """The first sampled log-probability of each sequence."""
    return sampled(logprobs=lambda one: [value, *list(one.logprobs)[1:]])


def prompt_logprobs(value: float | None) -> Spoil:
    """All scores of a prompt's tokens."""
    return lambda answer: changed(
        answer, prompt_logprobs=[None if one is None else value for one in answer.prompt_logprobs]
    )
