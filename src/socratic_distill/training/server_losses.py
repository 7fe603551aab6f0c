"""How a server adds up its losses: tried on a training client of its own, before a run needs it.

Nothing in the API tells whether a server has a loss, and whether that is a sum over tokens, as the hosted service's, or
divided by something. A step with Adam hides it: Adam divides by the gradient's size. With both of its decay rates at 0
and a large epsilon, a step is proportional to the gradient, and so is the change of the targets' log-probabilities. The
trial compares that change between requests whose gradients are equal but for what a server may divide by.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from socratic_distill.distillation.datums import make_datum
from socratic_distill.service.failures import is_answer, status_of
from socratic_distill.service.interface import TrainingClient
from socratic_distill.text import get_logger

if TYPE_CHECKING:
    from tinker import Datum
    from tinker.types import LossFnType

_log = get_logger(__name__)

# What a server divides the sum of a loss over tokens by: nothing; the positions of the request, or of the step; each
# datum by its positions, and the step by its data; the sum of the weights; something else. "unclear": no step was seen
# to change anything.
Division = Literal["nothing", "request", "step", "datum", "weights", "something else", "unclear"]
LACKING = "lacking"
# Ids that every vocabulary has: a short sequence whose gradient is followed, and a longer one that shares its pass.
_SHORT, _LONG = (1, 2, 3), (3, 4, 5, 6)
_WEIGHT, _TINY = 2.0, 1e-6
_EPSILON = 1e3
_FIRST_RATE, _MOST_RATE, _FASTER = 1e-3, 1e9, 10.0
# Nats: a change that is seen above rounding in bf16, and the one that is aimed at. A larger one is not proportional.
_SEEN, _AIM = 0.04, 0.1
# How servers refuse a request that they do not know, or a field of it.
_REFUSALS = (400, 422, 501)


def loss_fact(loss_fn: str) -> str:
    """The name under which a loss's division is remembered."""
    return f"{loss_fn} is divided by"


def problem_of(loss_fn: str, facts: Mapping[str, bool | str]) -> str | None:
    """Why a loss cannot be used on a server; None if it can, or nothing is known of it."""
    verdict = facts.get(loss_fact(loss_fn))
    if verdict == LACKING:
        return f"lacks the loss {loss_fn}"
    if loss_fn == "dro" and verdict == "datum":  # beta is one number for all data of a request
        return "divides each datum of the loss dro by its positions, which its option beta cannot be multiplied against"
    if verdict in ("weights", "something else"):
        by = "the sum of its weights" if verdict == "weights" else "something that could not be made out"
        return f"divides the loss {loss_fn} by {by}, so that a step would be another one than the objective's"
    return None


class LossTrial:
    """Tries losses on a training client that is used for nothing else."""

    def __init__(self, training: TrainingClient) -> None:
        """Takes a client that has had no request yet."""
        self._training = training
        self._rate = _FIRST_RATE
        self._base: float | None = None  # the newest change by the short sequence alone, nats

    async def division(self, loss_fn: "LossFnType") -> Division | Literal["lacking"]:
        """What the server divides a loss by, or that it lacks the loss. Do not use the client after the latter."""
        try:
            self._base = await self._find_base(loss_fn)
        except Exception as error:
            if not is_refused(error):
                raise
            _log.info("the server refuses the loss %s: %s", loss_fn, error)
            return LACKING
        if self._base is None:
            return "unclear"
        short, tiny = [(_SHORT, (_WEIGHT, _WEIGHT))], (_LONG, (_TINY,) * 3)
        together = await self._share(loss_fn, [[*short, tiny]])
        apart = await self._share(loss_fn, [short, [tiny]])
        doubled = await self._share(loss_fn, [[(_SHORT, (2 * _WEIGHT, 2 * _WEIGHT))]])
        shares = (together, apart, doubled)
        _log.info(
            "%s: changes of log-probabilities, relative: %s", loss_fn, ", ".join(f"{share:.2f}" for share in shares)
        )
        # The long sequence makes 5 positions of 2, and 2 data of 1: a division leaves 0.4, or 0.5, of the change.
        left = (1.0, 0.4, 0.5)
        division = _read(_nearest(together, left), _nearest(apart, left), _nearest(doubled, (2.0, 1.0)))
        if division in ("request", "step", "datum"):  # by all positions, or by those with a weight?
            again = await self._share(loss_fn, [[*short, (_LONG, (0.0,) * 3)]])
            return division if _nearest(again, left) == _nearest(together, left) else "something else"
        return division

    async def takes_columns(self) -> bool:
        """Whether targets may be `[N, K]`. Do not use the client after False."""
        try:
            targets = np.asarray([[2, 3], [3, 4]], np.int64)
            datum = make_datum(_SHORT[:-1], targets, weights=np.full((2, 2), _WEIGHT, np.float32))
            answer = await self._training.forward([datum], "cross_entropy")
            return np.asarray(answer.loss_fn_outputs[0]["logprobs"].to_numpy()).size == targets.size
        except Exception as error:
            if not is_refused(error):
                raise
            _log.info("the server refuses targets in two dimensions: %s", error)
            return False

    async def _share(self, loss_fn: "LossFnType", requests: Sequence[Sequence[tuple[Any, Any]]]) -> float:
        """The change by some requests, as a multiple of that by the short sequence alone before and after them."""
        assert self._base is not None
        before, change = self._base, await self._change(loss_fn, requests)
        # Steps are small, but each begins where the one before ended, and the gradient there is another one.
        self._base = await self._change(loss_fn, [[(_SHORT, (_WEIGHT, _WEIGHT))]])
        return change / float(np.sqrt(before * self._base)) if before > 0 and self._base > 0 else 0.0

    async def _find_base(self, loss_fn: "LossFnType") -> float | None:
        """The change by the short sequence alone, at a rate that makes it large enough; None if none does."""
        while self._rate < _MOST_RATE:
            change = await self._change(loss_fn, [[(_SHORT, (_WEIGHT, _WEIGHT))]])
            if change > _SEEN:
                return change
            self._rate *= _FASTER if change < _AIM / _FASTER else _AIM / change
        return None

    async def _change(self, loss_fn: "LossFnType", requests: Sequence[Sequence[tuple[Any, Any]]]) -> float:
        """The mean change of the short sequence's log-probabilities by one step on some requests, nats."""
        from tinker import AdamParams

        before = await self._now(loss_fn)
        for request in requests:
            logprobs = [before if tokens is _SHORT else np.zeros(len(tokens) - 1) for tokens, _ in request]
            data = [
                _datum(loss_fn, tokens, values, now) for (tokens, values), now in zip(request, logprobs, strict=True)
            ]
            await self._training.forward_backward(data, loss_fn)
        await self._training.optim_step(AdamParams(learning_rate=self._rate, beta1=0.0, beta2=0.0, eps=_EPSILON))
        return float((await self._now(loss_fn) - before).mean())

    async def _now(self, loss_fn: "LossFnType") -> Any:
        """The short sequence's log-probabilities, nats, `[2]`."""
        datum = _datum(loss_fn, _SHORT, (_WEIGHT, _WEIGHT), np.zeros(2))
        answer = await self._training.forward([datum], loss_fn)
        return np.asarray(answer.loss_fn_outputs[0]["logprobs"].to_numpy(), np.float64).reshape(-1)


def _datum(loss_fn: str, tokens: Sequence[int], values: Sequence[float], logprobs: Any) -> "Datum":
    targets, floats = np.asarray(tokens[1:], np.int64), np.asarray(values, np.float32)
    if loss_fn == "cross_entropy":
        return make_datum(tokens[:-1], targets, weights=floats)
    return make_datum(tokens[:-1], targets, advantages=floats, logprobs=np.asarray(logprobs, np.float32))


def _nearest(value: float, candidates: tuple[float, ...]) -> float | None:
    """The candidate that a ratio is near to, within a factor of 1.2; None: it is near to none."""
    if value <= 0:
        return None
    nearest = min(candidates, key=lambda candidate: abs(np.log(value / candidate)))
    return nearest if abs(np.log(value / nearest)) < np.log(1.2) else None


def _read(together: float | None, apart: float | None, doubled: float | None) -> Division:
    by: dict[tuple[float | None, float | None, float | None], Division] = {
        (1.0, 1.0, 2.0): "nothing",
        (0.4, 1.0, 2.0): "request",
        (0.4, 0.4, 2.0): "step",
        (0.5, 0.5, 2.0): "datum",
        (1.0, 1.0, 1.0): "weights",
    }
    return by.get((together, apart, doubled), "something else")


def is_refused(error: Exception) -> bool:
    """Whether the server will not do what was asked, rather than failed to do it."""
    return refuses_request(error) or status_of(error) == 404 or is_answer(error)


def refuses_request(error: Exception) -> bool:
    """Whether the server refuses a request by its status."""
    return status_of(error) in _REFUSALS
