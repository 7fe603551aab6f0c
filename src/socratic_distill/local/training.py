"""Gradients and optimizer steps of one adapter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tinker
import torch

from socratic_distill.local.base_model import BaseModel, Weights
from socratic_distill.local.failures import explain
from socratic_distill.local.losses import check_request, looked_at, loss_sum
from socratic_distill.local.shared import parts, read_sequences


class AdapterTrainer:
    """Trains one adapter. Only the scheduler's worker thread may call it."""

    def __init__(self, base: BaseModel, adapter: str) -> None:
        """Begins with moments of zero.

        Args:
            base: the model that the adapter is on.
            adapter: the adapter's name.
        """
        self.base = base
        self.adapter = adapter
        self.steps = 0
        self._parameters = base.adapters.parameters(adapter)
        self._optimizer = torch.optim.AdamW(self._parameters.values(), foreach=False)

    def run(
        self, data: Sequence[tinker.Datum], loss_fn: str, options: Mapping[str, Any], backward: bool
    ) -> tinker.ForwardBackwardOutput:
        """The loss of the data, and, with `backward`, its gradient added to what is there.

        Raises:
            tinker.BadRequestError: data that the loss does not take.
            LocalEngineError: torch failed; the gradients are as they were before.
        """
        check_request(data, loss_fn, options, self.base.max_context, self.base.vocabulary)
        before = {p: None if p.grad is None else p.grad.clone() for p in self._parameters.values()}
        try:
            return self._run(data, loss_fn, options, backward)
        except Exception as error:
            for parameter, gradient in before.items():
                parameter.grad = gradient
            failure = explain(error, f"{len(data)} data of up to {max(_lengths(data))} tokens")
            if failure is error:
                raise
            raise failure from error

    def _run(
        self, data: Sequence[tinker.Datum], loss_fn: str, options: Mapping[str, Any], backward: bool
    ) -> tinker.ForwardBackwardOutput:
        total, outputs = 0.0, [np.zeros(0, np.float32)] * len(data)
        sequences = [datum.model_input.to_ints() for datum in data]
        weights = self.base.using(self.adapter)
        self.base.adapters.train_only(self.adapter)
        with self.base.recomputing(), torch.set_grad_enabled(backward):
            for places in parts(sequences, self.base.machine):
                losses = [_Loss.of(data[i], loss_fn, options, everywhere=not backward) for i in places]
                total += _pass(weights, [sequences[i] for i in places], losses, backward)
                for i, loss in zip(places, losses, strict=True):
                    outputs[i] = loss.logprobs()
        return tinker.ForwardBackwardOutput(
            loss_fn_output_type="ArrayRecord",
            loss_fn_outputs=[{"logprobs": tinker.TensorData.from_numpy(one)} for one in outputs],
            metrics={"loss:sum": total},
        )

    def step(self, params: tinker.AdamParams) -> None:
        """One AdamW step along the gradients so far, which are then cleared; without any, along zero."""
        for parameter in self._parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if params.grad_clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), params.grad_clip_norm)
        (group,) = self._optimizer.param_groups
        group["lr"], group["betas"] = params.learning_rate, (params.beta1, params.beta2)
        group["eps"], group["weight_decay"] = params.eps, params.weight_decay
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps += 1

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """Adam's moments and step counts, `<parameter>.<name>` each."""
        return {
            f"{name}|{key}": value.detach().clone().contiguous()
            for name, parameter in self._parameters.items()
            for key, value in self._optimizer.state.get(parameter, {}).items()
        }

    def restore(self, tensors: Mapping[str, torch.Tensor], steps: int) -> None:
        """Takes moments and step counts back."""
        for joined, value in tensors.items():
            name, _, key = joined.partition("|")
            parameter = self._parameters[name]
            # torch keeps the count of steps on the CPU, wherever the parameter is.
            place = value.device if key == "step" else parameter.device
            self._optimizer.state[parameter][key] = value.to(place, copy=True)
        self.steps = steps


@dataclass(eq=False)
class _Loss:
    """The loss of one datum, at the positions that it looks at.

    Attributes:
        name: of the loss.
        options: its own settings.
        shape: of the targets, `[N]` or `[N, K]`.
        places: M positions of the datum.
        targets: `[M]` or `[M, K]`.
        inputs: the other inputs there, likewise.
        found: log-probabilities of the targets, likewise, once there.
    """

    name: str
    options: Mapping[str, Any]
    shape: tuple[int, ...]
    places: torch.Tensor
    targets: torch.Tensor
    inputs: dict[str, torch.Tensor]
    found: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, datum: tinker.Datum, name: str, options: Mapping[str, Any], everywhere: bool) -> "_Loss":
        """The loss of a datum; `everywhere` looks at all positions, whatever their weights."""
        inputs = {key: torch.from_numpy(value.to_numpy()) for key, value in datum.loss_fn_inputs.items()}
        targets = inputs.pop("target_tokens")
        size = len(targets)
        places = torch.arange(size) if everywhere else looked_at(name, inputs).nonzero()[:, 0]
        kept = {key: value[places] for key, value in inputs.items()}
        return cls(name, options, tuple(targets.shape), places, targets[places], kept)

    def add(self, start: int, logprobs: torch.Tensor) -> torch.Tensor:
        """The loss at some of the positions, from log-probabilities of the targets there, `[n, K or more]`."""
        stop, device = start + len(logprobs), logprobs.device
        found = logprobs[:, : self.shape[1]] if len(self.shape) == 2 else logprobs[:, 0]
        self.found.append(found.detach().float().cpu())
        inputs = {key: value[start:stop].to(device) for key, value in self.inputs.items()}
        return loss_sum(self.name, found, inputs, self.options)

    def logprobs(self) -> np.ndarray:
        """Log-probabilities of all targets, nats, 0 where the loss does not look; of the targets' shape."""
        whole = torch.zeros(self.shape, dtype=torch.float32)
        if self.found:
            whole[self.places] = torch.cat(self.found)
        return whole.numpy()


def _pass(weights: Weights, sequences: Sequence[list[int]], losses: Sequence[_Loss], backward: bool) -> float:
    """The summed loss of some data, and its gradient.

    The output layer sees only the positions that the losses look at, a bounded number at a time, forwards and at once
    backwards; then the gradient goes through the layers below in one piece.
    """
    outputs = read_sequences(weights, sequences)
    picked = torch.cat([one[loss.places.to(one.device)] for one, loss in zip(outputs, losses, strict=True)])
    below = picked.detach().requires_grad_(backward)
    targets = _side_by_side([loss.targets for loss in losses]).to(below.device)
    owners = [(loss, i) for loss in losses for i in range(len(loss.places))]
    total = 0.0
    for start in range(0, len(owners), weights.chunk):
        part = owners[start : start + weights.chunk]
        stop = start + len(part)
        logprobs: Any = _LogProbs.apply(weights.logits(below[start:stop]), targets[start:stop])
        pieces, at = [], 0
        while at < len(part):
            loss, first = part[at]
            count = min(len(loss.places) - first, len(part) - at)
            pieces.append(loss.add(first, logprobs[at : at + count]))
            at += count
        loss_here = torch.stack(pieces).sum()
        if backward:
            loss_here.backward()
        total += loss_here.item()
    if backward and below.grad is not None and picked.requires_grad:
        picked.backward(below.grad)
    return total


class _LogProbs(torch.autograd.Function):
    """Log-probabilities `[n, K]` of targets `[n, K]`, from logits `[n, V]`.

    The gradient is written over what was kept for it: of the widest tensors of all there is one, not four.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        everyone = torch.log_softmax(logits, dim=-1)
        ctx.save_for_backward(everyone, targets)
        return everyone.gather(1, targets)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (everyone, targets) = gradients, ctx.saved_tensors
        whole = everyone.exp_().mul_(-gradient.sum(dim=1, keepdim=True))
        return whole.scatter_add_(1, targets, gradient), None


def _side_by_side(targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """Targets of all data, `[N, widest K]`; narrower ones are filled up with token 0, which nobody looks at."""
    wide = [one if one.ndim == 2 else one[:, None] for one in targets]
    width = max(one.shape[1] for one in wide)
    return torch.cat([torch.nn.functional.pad(one, (0, width - one.shape[1])) for one in wide])


def _lengths(data: Sequence[tinker.Datum]) -> list[int]:
    return [datum.model_input.length for datum in data]
