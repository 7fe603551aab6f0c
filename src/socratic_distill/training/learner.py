"""Submits the passes and optimizer steps of a batch, without waiting in between.

The one exception are examples that depend on the tutor's present log-probabilities. They need a forward pass first. It
is submitted with the rest of the batch, so that it costs the step one cycle of the service.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from socratic_distill.distillation.datums import TokenWeights
from socratic_distill.distillation.objective import TrainingExample
from socratic_distill.errors import InvalidAnswer
from socratic_distill.service.failures import failure
from socratic_distill.service.interface import PassCall, TrainingClient
from socratic_distill.service.numbers import explain_bad, first_bad, not_finite
from socratic_distill.service.waiting import silence
from socratic_distill.training.dialect import Dialect, multiplied
from socratic_distill.training.saver import PendingSave, Saver

if TYPE_CHECKING:
    from tinker import ForwardBackwardOutput, OptimStepResponse


@dataclass(frozen=True)
class Pass:
    """Some examples, and the service's answer to them, once it is there.

    Attributes:
        examples: what was sent, before it was put as the server takes it.
        answer: to what was sent.
        dialect: how the server takes it.
        divisor: of the service's losses, where a factor on the data makes them larger than they are.
    """

    examples: list[TrainingExample]
    answer: "asyncio.Future[ForwardBackwardOutput]"
    dialect: Dialect
    divisor: float = 1.0


@dataclass
class Update:
    """The training on one batch.

    Attributes:
        batch: the batch that it trains on.
        version: optimizer steps before it.
        reached: optimizer steps before it, and its own.
        sampler: the save of the new weights after the last step; None if there was no step, or no dialogue needs them.
        forward_tokens: tokens of the examples that were read forward before they were trained on.
        weights: of the tokens of its dialogues, in order; None for a dialogue without weights.
    """

    batch: int
    version: int
    reached: int
    sampler: PendingSave | None = None
    forward_tokens: int = 0
    weights: "list[TokenWeights | None]" = field(default_factory=list)
    _forward: list[Pass] = field(default_factory=list)
    _passes: list[Pass] = field(default_factory=list)
    _held: list[list[TrainingExample]] = field(default_factory=list)  # until all of their step is known
    _steps: "list[Awaitable[OptimStepResponse]]" = field(default_factory=list)
    _stepped: int = 0  # passes that an optimizer step has used

    @property
    def examples(self) -> list[TrainingExample]:
        """What it trains on, in order."""
        return [example for training_pass in self._passes for example in training_pass.examples]

    async def answer(self) -> tuple[list[np.ndarray], dict[str, float]]:
        """Waits for the service.

        Returns:
            The trainer's log-probability of each target, nats, one array `[N - 1]` or `[N - 1, 1 + K]` an example; and
            the service's own metrics, such as `loss:sum`, sums over the passes; empty where it gives none.

        Raises:
            InvalidAnswer: an answer is not finite, or not of the examples' shape.
            ServiceError: the service failed a call; do not use the client again.
        """
        logprobs, metrics = list[np.ndarray](), dict[str, float]()
        try:
            for training_pass in self._passes:
                output = await training_pass.answer
                logprobs += _logprobs(output, training_pass, self._what)
                # A batch may take several passes, one a loss or a minibatch: the service's sums add up.
                for name, value in output.metrics.items():
                    part = value / training_pass.divisor if name.startswith("loss") else value
                    metrics[name] = metrics.get(name, 0.0) + part
            losses = {name: value for name, value in metrics.items() if name.startswith("loss")}
            _check_finite(losses, f"{self._what}: the loss")
            for step in self._steps:
                _check_step(await step, self._what)
        except Exception as error:
            raise self._failure(error) from error
        return logprobs, metrics

    def check(self) -> None:
        """Raises the error of a pass that already failed. Nothing may be submitted after it.

        Raises:
            ServiceError: the service failed a call; do not use the client again.
        """
        for submitted in (*self._forward, *self._passes):
            if submitted.answer.done() and (error := submitted.answer.exception()) is not None:
                assert isinstance(error, Exception)
                raise self._failure(error) from error

    def _failure(self, error: Exception) -> Exception:
        return failure(self._what, error)

    @property
    def _what(self) -> str:
        return f"the training step of batch {self.batch}"


class Learner:
    """Trains the tutor through one training client."""

    def __init__(
        self,
        client: TrainingClient,
        saver: Saver,
        adam: Callable[[int], Mapping[str, float]],
        version: int,
        dialect: Dialect | None = None,
    ) -> None:
        """Takes a client that has had no request yet.

        Args:
            client: a Tinker training client.
            saver: submits the save of the sampler weights after each batch.
            adam: gives the keywords of tinker.AdamParams for a batch.
            version: optimizer steps that led to the client's weights.
            dialect: how the server takes data; None: as the hosted service.
        """
        self._client = client
        self._saver = saver
        self._adam = adam
        self.version = version
        self._dialect = dialect or Dialect()
        self._unanswered: set[asyncio.Future[ForwardBackwardOutput]] = set()

    def begin(self, batch: int) -> Update:
        """Starts an update without examples."""
        return Update(batch, self.version, self.version)

    def add(self, update: Update, examples: Sequence[TrainingExample]) -> None:
        """Submits passes over more examples, one for each loss; their gradients add to earlier ones.

        Examples that depend on the tutor's present log-probabilities are only read forward here; `settle` trains on
        them.

        Raises:
            ServiceError: a request could not be submitted, or an earlier one failed; do not use the client again.
        """
        update.check()  # a request after a failed one may never be answered
        ready = [example for example in examples if not example.needs_forward]
        # One request has one loss.
        for loss_fn in dict.fromkeys(example.loss_fn for example in ready):
            self._train(update, [example for example in ready if example.loss_fn == loss_fn])
        waiting = [example for example in examples if example.needs_forward]
        for loss_fn in dict.fromkeys(example.loss_fn for example in waiting):
            of_loss = [example for example in waiting if example.loss_fn == loss_fn]
            update._forward.append(self._submit(update, of_loss, self._client.forward))
            update.forward_tokens += sum(len(example.mask) for example in of_loss)

    async def settle(self, update: Update) -> None:
        """Trains on the examples that were read forward, in their order.

        Raises:
            InvalidAnswer: an answer is not finite, or not of the examples' shape.
            ServiceError: a pass failed, or could not be submitted; do not use the client again.
        """
        while update._forward:
            forward = update._forward[0]
            try:
                logprobs = _logprobs(await forward.answer, forward, update._what)  # of the targets' shape
            except Exception as error:
                raise update._failure(error) from error
            # Removed only now: until its answer was read, `check` must see whether it failed.
            del update._forward[0]
            # The weights have not changed since that forward pass: no step comes in between.
            self._train(update, [e.reweighed(now) for e, now in zip(forward.examples, logprobs, strict=True)])

    def step(self, update: Update, to_play_with: bool = True) -> None:
        """Submits an optimizer step on the passes since the last one, and then the save of the new weights.

        Without passes there is no step. The save is submitted nevertheless if the batch had a step before.

        Args:
            update: holds its whole batch, or the part of it that this step is for.
            to_play_with: whether the weights are saved.

        Raises:
            ServiceError: a request could not be submitted, or a pass failed; do not use the client again.
        """
        from tinker import AdamParams

        update.check()
        self._send_held(update)
        if len(update._passes) > update._stepped:
            try:
                update._steps.append(self._client.optim_step(AdamParams(**self._adam(update.batch))))
            except Exception as error:
                raise update._failure(error) from error
            # Counted when submitted, not when answered: the client's later requests see the new weights.
            update._stepped = len(update._passes)
            self.version += 1
            update.reached = self.version
        # Submitted without waiting for the step: the service carries out a client's requests in their order.
        if to_play_with and update._steps:
            update.sampler = self._saver.submit("sampler", update.batch + 1, self.version)

    def abandon(self) -> None:
        """Gives up unanswered passes. After a lost request they are never answered."""
        for answer in self._unanswered:
            answer.cancel()

    def _train(self, update: Update, examples: list[TrainingExample]) -> None:
        if self._dialect.waits_for_step(examples[0].loss_fn):
            update._held.append(examples)
        else:
            update._passes.append(self._submit(update, examples, self._client.forward_backward))

    def _send_held(self, update: Update) -> None:
        """Submits the passes that waited for the whole step, on a server that divides by its positions."""
        dialect, every = self._dialect, [example for examples in update._held for example in examples]
        data = dialect.split([example.datum for example in every])
        for examples in update._held:
            whole = dialect.step_size(examples[0].loss_fn, data)
            update._passes.append(self._submit(update, examples, self._client.forward_backward, whole))
        update._held.clear()

    def _submit(
        self, update: Update, examples: list[TrainingExample], call: PassCall, whole: float | None = None
    ) -> Pass:
        """Submits a pass; `whole` is what the server divides its step by, if it does."""
        loss_fn, dialect = examples[0].loss_fn, self._dialect
        data = dialect.split([example.datum for example in examples])
        factor = dialect.factor(loss_fn, data) if whole is None else whole
        try:
            # Losses without options send none: a client need not take them.
            options = [dialect.options(examples[0].options, factor)] if examples[0].options else []
            request = call(
                [multiplied(datum, dialect.of_datum(loss_fn, datum, factor)) for datum in data], loss_fn, *options
            )
        except Exception as error:
            raise update._failure(error) from error
        # A task of its own, so that the answer is fetched while the loop still gathers dialogues.
        answer = asyncio.ensure_future(request)
        answer.add_done_callback(silence)  # an error is raised by `check` or `answer`, not by the event loop
        answer.add_done_callback(self._unanswered.discard)
        self._unanswered.add(answer)
        return Pass(examples, answer, dialect, whole or 1.0)


def _logprobs(output: "ForwardBackwardOutput", sent: Pass, what: str) -> list[np.ndarray]:
    """The log-probabilities in a pass's answer, of the shape of each example's targets."""
    outputs, examples = output.loss_fn_outputs or [], sent.examples
    data = [example.datum for example in examples]
    if len(outputs) != (count := sent.dialect.count(data)):
        raise _invalid(f"{what}: the service answered for {len(outputs)} of {count} data")
    outputs = sent.dialect.joined(outputs, data)
    return [_of_example(answer, example, what) for answer, example in zip(outputs, examples, strict=True)]


def _of_example(answer: Mapping[str, Any], example: TrainingExample, what: str) -> np.ndarray:
    if "logprobs" not in answer:
        raise _invalid(f"{what}: the service answered without log-probabilities")
    values = np.asarray(answer["logprobs"].to_numpy())
    needed = example.needed  # bool, the targets' shape: where the loss or a metric looks
    if values.size != needed.size:
        raise _invalid(f"{what}: the service answered with {values.size} log-probabilities for {needed.size} targets")
    values = values.reshape(needed.shape)  # an answer may be flat
    used = values[needed]  # a service may answer anything, even nan, where no loss looks
    if (bad := first_bad(used)) is not None:
        raise _invalid(f"{what}: the service answered with the log-probability {explain_bad(used[bad])}")
    return values


def _check_step(response: "OptimStepResponse", what: str) -> None:
    """Refuses an optimizer step whose own figures, such as the gradient's norm, are not finite."""
    _check_finite(getattr(response, "metrics", None) or {}, f"{what}: the optimizer's figure")


def _check_finite(values: Mapping[str, float], what: str) -> None:
    if (name := not_finite(values)) is not None:
        raise _invalid(f"{what} {name!r} is {values[name]}, which is not finite")


def _invalid(problem: str) -> InvalidAnswer:
    return InvalidAnswer(
        f"{problem}. The tutor's weights may be damaged, so no state of them is saved. Start the same script again to "
        "resume from the last recorded state"
    )
