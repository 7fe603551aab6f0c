"""Gradients and optimizer steps of one adapter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tinker
import torch

from socratic_distill.local.batches import explain
from socratic_distill.local.lora import BaseModel
from socratic_distill.local.losses import check_request, loss_sum
from socratic_distill.local.sampling import in_budget, pad_right

# Bound the padded tokens of a forward and backward pass, and the logits, of which it holds about four copies.
_TOKEN_BUDGET = 4096
_LOGITS_BUDGET = 2**25


class AdapterTrainer:
    """Trains one adapter. Only the scheduler's worker thread may call it.

    Args:
        base: the model that the adapter is on.
        adapter: the adapter's name.
    """

    def __init__(self, base: BaseModel, adapter: str) -> None:
        self.base = base
        self.adapter = adapter
        self.steps = 0
        self._parameters = base.parameters(adapter)
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
        total, outputs = 0.0, []
        with self.base.using(self.adapter) as model:
            self._train_only_own()
            budget = min(_TOKEN_BUDGET, _LOGITS_BUDGET // self.base.vocabulary)
            for part in in_budget(data, _lengths(data), budget):
                with torch.set_grad_enabled(backward):
                    losses, logprobs = _forward(model, part, loss_fn, options)
                    loss = torch.stack(losses).sum()
                if backward:
                    loss.backward()
                total += loss.item()
                outputs += [
                    {"logprobs": tinker.TensorData.from_numpy(one.detach().numpy().astype(np.float32))}
                    for one in logprobs
                ]
        return tinker.ForwardBackwardOutput(
            loss_fn_output_type="ArrayRecord", loss_fn_outputs=outputs, metrics={"loss:sum": total}
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
            self._optimizer.state[self._parameters[name]][key] = value.clone()
        self.steps = steps

    def _train_only_own(self) -> None:
        for name, parameter in self.base.model.named_parameters():
            parameter.requires_grad_(f".{self.adapter}." in name)


def _forward(
    model: Any, part: Sequence[tinker.Datum], loss_fn: str, options: Mapping[str, Any]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Loss and log-probabilities of the targets, one each a datum."""
    tokens, mask = pad_right([datum.model_input.to_ints() for datum in part])
    every = torch.log_softmax(model(input_ids=tokens, attention_mask=mask).logits.float(), dim=-1)  # [B, N, V]
    losses, logprobs = [], []
    for i, datum in enumerate(part):
        inputs = {name: torch.from_numpy(value.to_numpy()) for name, value in datum.loss_fn_inputs.items()}
        targets = inputs.pop("target_tokens")
        places = targets if targets.ndim == 2 else targets[:, None]  # [N, K]
        picked = every[i, : datum.model_input.length].gather(1, places).reshape(targets.shape)
        logprobs.append(picked)
        losses.append(loss_sum(loss_fn, picked, inputs, options))
    return losses, logprobs


def _lengths(data: Sequence[tinker.Datum]) -> list[int]:
    return [datum.model_input.length for datum in data]
