"""Clients that hold every call to the SDK's own signatures.

Wrap a service in `StrictServiceClient` and give it to `train()`: a call to a method that the SDK lacks or
has deprecated, or with arguments that its signature does not take, raises AssertionError.
"""

import inspect
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.support.partial import Partial
from tinker import APIFuture, RestClient, SamplingClient, ServiceClient, TrainingClient


class _Strict(Partial):
    sdk: type

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            check_call(self.sdk, name, args, kwargs)
            return wrap(value(*args, **kwargs))

        return call


class StrictServiceClient(_Strict):
    sdk = ServiceClient


class StrictTrainingClient(_Strict):
    sdk = TrainingClient


class StrictSamplingClient(_Strict):
    sdk = SamplingClient


class StrictRestClient(_Strict):
    sdk = RestClient


class _WrappingFuture(APIFuture[Any]):
    """The inner future, its result wrapped."""

    def __init__(self, inner: APIFuture[Any]) -> None:
        self._inner = inner

    async def result_async(self, timeout: float | None = None) -> Any:
        return wrap(await self._inner.result_async(timeout))

    def result(self, timeout: float | None = None) -> Any:
        return wrap(self._inner.result(timeout))

    def future(self) -> Future[Any]:
        inner, outer = self._inner.future(), Future[Any]()

        def hand_on(done: Future[Any]) -> None:
            error = done.exception()
            if error is None:
                outer.set_result(wrap(done.result()))
            else:
                outer.set_exception(error)

        inner.add_done_callback(hand_on)
        return outer


def check_call(sdk: type, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Asserts that the SDK's class has the method, not deprecated, and that it takes these arguments."""
    method: Callable[..., Any] | None = getattr(sdk, name, None)
    assert method is not None, f"the SDK's {sdk.__name__} has no {name}()"
    deprecation = getattr(method, "__deprecated__", None)
    assert deprecation is None, f"{sdk.__name__}.{name}() is deprecated: {deprecation}"
    try:
        inspect.signature(method).bind(None, *args, **kwargs)
    except TypeError as error:
        raise AssertionError(f"{sdk.__name__}.{name}(): {error}") from error


def wrap(value: Any) -> Any:
    """Strict clients in the place of clients, and of futures of clients; all else as it is."""
    if isinstance(value, APIFuture):
        return _WrappingFuture(value)
    if hasattr(value, "optim_step"):
        return StrictTrainingClient(value)
    if hasattr(value, "compute_logprobs"):
        return StrictSamplingClient(value)
    return value
