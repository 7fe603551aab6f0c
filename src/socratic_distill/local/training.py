"""Gradients and optimizer steps of one adapter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tinker
import torch

from socratic_distill.local.base_model import BaseModel, Weights
from socratic_distill.local.failures import explain
from socratic_distill.local.losses import check_request, loss_mask, loss_sum, mean_change, needs_change
from socratic_distill.local.shared import parts, read_sequences


class AdapterTrainer:
    """Trains one adapter. Only the scheduler's worker thread may call its methods."""

    def __init__(self, base: BaseModel, adapter: str) -> None:
        """Begins with zero moments.

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
        """Computes the loss of the data; with `backward`, adds its gradient to the adapter's gradients.

        Raises:
            tinker.BadRequestError: the data do not fit the loss or the model.
            LocalEngineError: torch failed; the gradients are restored to what they were.
        """
        check_request(data, loss_fn, options, self.base.max_context, self.base.vocabulary)
        # A pass may fail after some data have added their gradients: a retry would count those twice.
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
            for indices in parts(sequences, self.base.machine, alone=self.base.is_general):
                # Without a gradient, callers read the log-probabilities to compute weights: they need all positions.
                losses = [_Loss.of(data[i], loss_fn, options, everywhere=not backward) for i in indices]
                total += _pass(weights, [sequences[i] for i in indices], losses, backward)
                for i, loss in zip(indices, losses, strict=True):
                    outputs[i] = loss.logprobs()
        return tinker.ForwardBackwardOutput(
            loss_fn_output_type="ArrayRecord",
            loss_fn_outputs=[{"logprobs": tinker.TensorData.from_numpy(logprobs)} for logprobs in outputs],
            metrics={"loss:sum": total},
        )

    def step(self, params: tinker.AdamParams) -> None:
        """One AdamW step with the accumulated gradients, which are then cleared; without any, with gradient 0."""
        for parameter in self._parameters.values():
            if parameter.grad is None:  # AdamW would skip it, moments, step count and weight decay included
                parameter.grad = torch.zeros_like(parameter)
        if params.grad_clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), params.grad_clip_norm)
        (group,) = self._optimizer.param_groups  # set anew at each step, since each request brings its own
        group["lr"], group["betas"] = params.learning_rate, (params.beta1, params.beta2)
        group["eps"], group["weight_decay"] = params.eps, params.weight_decay
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps += 1

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """Adam's moments and step counts, by `<parameter>|<name>`; detached copies."""
        return {
            f"{name}|{key}": value.detach().clone().contiguous()
            for name, parameter in self._parameters.items()
            for key, value in self._optimizer.state.get(parameter, {}).items()
        }

    def restore(self, tensors: Mapping[str, torch.Tensor], steps: int) -> None:
        """Restores moments and step counts from `optimizer_tensors`."""
        for joined, value in tensors.items():
            name, _, key = joined.partition("|")
            parameter = self._parameters[name]
            # torch keeps the count of steps on the CPU, wherever the parameter is.
            device = value.device if key == "step" else parameter.device
            self._optimizer.state[parameter][key] = value.to(device, copy=True)
        self.steps = steps


@dataclass(eq=False)
class _Loss:
    """The loss of one datum, restricted to the M positions at which it depends on the model.

    Attributes:
        name: of the loss.
        options: settings of the loss.
        shape: of all targets, `[N]` or `[N, K]`.
        positions: indices of the M positions, `[M]`.
        targets: token ids at the positions, `[M]` or `[M, K]`.
        inputs: the other inputs at the positions, of the shape of `targets`.
        computed: log-probabilities of the targets so far, in pieces that add up to the shape of `targets`.
        change: `mean_change` of the whole datum; None for losses that do not need it.
    """

    name: str
    options: Mapping[str, Any]
    shape: tuple[int, ...]
    positions: torch.Tensor
    targets: torch.Tensor
    inputs: dict[str, torch.Tensor]
    computed: list[torch.Tensor] = field(default_factory=list)
    change: torch.Tensor | None = None

    @classmethod
    def of(cls, datum: tinker.Datum, name: str, options: Mapping[str, Any], everywhere: bool) -> "_Loss":
        """The loss of a datum; with `everywhere`, at all positions, including those of weight 0."""
        inputs = {key: torch.from_numpy(value.to_numpy()) for key, value in datum.loss_fn_inputs.items()}
        targets = inputs.pop("target_tokens")
        size = len(targets)
        positions = torch.arange(size) if everywhere else loss_mask(name, inputs).nonzero()[:, 0]  # [M]
        selected = {key: value[positions] for key, value in inputs.items()}
        return cls(name, options, tuple(targets.shape), positions, targets[positions], selected)

    def read(self, logprobs: torch.Tensor) -> None:
        """Takes log-probabilities `[M, 1 or more]` at all positions, for what depends on all of them."""
        inputs = {key: value.to(logprobs.device) for key, value in self.inputs.items()}
        self.change = mean_change(logprobs[:, 0], inputs)

    def add(self, start: int, logprobs: torch.Tensor) -> torch.Tensor:
        """The loss at n positions from `start` on, given log-probabilities of their targets, `[n, K or more]`."""
        stop, device = start + len(logprobs), logprobs.device
        # Other data of the pass may have more targets a position; the columns beyond this datum's own are padding.
        own = logprobs[:, : self.shape[1]] if len(self.shape) == 2 else logprobs[:, 0]  # [n, K] or [n]
        self.computed.append(own.detach().float().cpu())
        inputs = {key: value[start:stop].to(device) for key, value in self.inputs.items()}
        return loss_sum(self.name, own, inputs, self.options, self.change)

    def logprobs(self) -> np.ndarray:
        """Log-probabilities of all targets, nats, 0 at the other positions; `[N]` or `[N, K]`."""
        whole = torch.zeros(self.shape, dtype=torch.float32)
        if self.computed:
            whole[self.positions] = torch.cat(self.computed)
        return whole.numpy()


def _pass(weights: Weights, sequences: Sequence[list[int]], losses: Sequence[_Loss], backward: bool) -> float:
    """The summed loss of some data; with `backward`, also adds its gradient to the adapter's.

    The output layer gets only the positions that the losses need, a bounded number at a time. Each chunk goes forwards
    and at once backwards, so that only one chunk's logits are in memory. Then the gradient goes through the other
    layers in one piece. If a token's loss depends on its datum's other tokens, the output layer reads all chunks once
    before.
    """
    outputs = read_sequences(weights, sequences)  # [N, H] each
    picked = torch.cat([row[loss.positions.to(row.device)] for row, loss in zip(outputs, losses, strict=True)])
    # Cut from the graph here: the chunks' gradients add up in below.grad, and the layers run backwards only once.
    below = picked.detach().requires_grad_(backward)  # [sum of M, H]
    targets = _side_by_side([loss.targets for loss in losses]).to(below.device)  # [sum of M, widest K]
    owners = [(loss, i) for loss in losses for i in range(len(loss.positions))]
    if owners and needs_change(losses[0].name):  # one request has one loss
        with torch.no_grad():
            starts = range(0, len(owners), weights.chunk)
            chunks = [_logprobs(weights, below, targets, start) for start in starts]
        sizes = [len(loss.positions) for loss in losses]
        for loss, logprobs in zip(losses, torch.cat(chunks).split(sizes), strict=True):
            loss.read(logprobs)
    total = 0.0
    for start in range(0, len(owners), weights.chunk):
        part = owners[start : start + weights.chunk]
        logprobs = _logprobs(weights, below, targets, start)  # [chunk, widest K]
        pieces, row = [], 0
        while row < len(part):  # a chunk may hold several data, and a datum several chunks
            loss, first = part[row]
            count = min(len(loss.positions) - first, len(part) - row)
            pieces.append(loss.add(first, logprobs[row : row + count]))
            row += count
        chunk_loss = torch.stack(pieces).sum()
        if backward:
            chunk_loss.backward()
        total += chunk_loss.item()
    if backward and below.grad is not None and picked.requires_grad:
        picked.backward(below.grad)
    return total


def _logprobs(weights: Weights, below: torch.Tensor, targets: torch.Tensor, start: int) -> torch.Tensor:
    """Log-probabilities of the targets in the chunk from `start` on, `[chunk, widest K]`."""
    stop = start + weights.chunk
    logprobs: Any = _LogProbs.apply(weights.logits(below[start:stop]), targets[start:stop])
    return logprobs


class _LogProbs(torch.autograd.Function):
    """Log-probabilities `[n, K]` of targets `[n, K]`, from logits `[n, V]`.

    The gradient overwrites the log-probabilities saved for it, so one `[n, V]` tensor is enough; autograd needs four.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        all_logprobs = torch.log_softmax(logits, dim=-1)  # [n, V]
        ctx.save_for_backward(all_logprobs, targets)
        return all_logprobs.gather(1, targets)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,), (all_logprobs, targets) = gradients, ctx.saved_tensors
        # d log p_j / d logit_v = [j = v] - p_v. Over K targets: -p_v times the sum of the gradients, plus each gradient
        # at its own target.
        whole = all_logprobs.exp_().mul_(-gradient.sum(dim=1, keepdim=True))
        return whole.scatter_add_(1, targets, gradient), None


def _side_by_side(targets: Sequence[torch.Tensor]) -> torch.Tensor:
    """Targets of all data, `[N, widest K]`; narrower ones are padded with token 0, whose scores `_Loss.add` drops."""
    wide = [ids if ids.ndim == 2 else ids[:, None] for ids in targets]  # [M, K] each
    width = max(ids.shape[1] for ids in wide)
    return torch.cat([torch.nn.functional.pad(ids, (0, width - ids.shape[1])) for ids in wide])


def _lengths(data: Sequence[tinker.Datum]) -> list[int]:
    return [datum.model_input.length for datum in data]
