"""The training client: one adapter, its gradients, steps and saves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import tinker
import torch
from tinker import types

from socratic_distill.errors import LocalEngineError
from socratic_distill.in_process import ServiceFuture
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.custom import CustomLoss, run_custom
from socratic_distill.local.engine import Engine
from socratic_distill.local.sampling_client import LocalSamplingClient
from socratic_distill.local.training import AdapterTrainer


class LocalTrainingClient:
    """A Tinker training client on one adapter. Calls take effect in order of submission.

    Attributes:
        model_id: id of the server run.
    """

    def __init__(self, service: Engine, trainer: AdapterTrainer, shape: LoraShape, model_id: str) -> None:
        """Takes an adapter, which is freed when the client is garbage-collected."""
        self.model_id = model_id
        self._service = service
        self._trainer = trainer
        self._shape = shape
        self._failure: BaseException | None = None
        service.drop_with(self, trainer.base, trainer.adapter)

    def forward(
        self,
        data: Sequence[tinker.Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, Any] | None = None,
    ) -> ServiceFuture[tinker.ForwardBackwardOutput]:
        """Loss and log-probabilities without a gradient."""
        return self._pass(data, loss_fn, loss_fn_config, backward=False)

    def forward_backward(
        self,
        data: Sequence[tinker.Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, Any] | None = None,
    ) -> ServiceFuture[tinker.ForwardBackwardOutput]:
        """Loss and log-probabilities; gradients add up until the next `optim_step`."""
        return self._pass(data, loss_fn, loss_fn_config, backward=True)

    def forward_backward_custom(
        self, data: Sequence[tinker.Datum], loss_fn: CustomLoss, *, loss_type_input: Any = None
    ) -> ServiceFuture[tinker.ForwardBackwardOutput]:
        """As `forward_backward`, with the caller's own loss: `loss_fn(data, logprobs)` returns a loss and metrics.

        The loss runs on the engine's thread. As in the SDK, a client refuses all further calls after the loss failed.
        """
        snapshot = _snapshot(data)
        if any("target_tokens" not in datum.loss_fn_inputs for datum in snapshot):
            raise ValueError("every datum needs target_tokens among its loss_fn_inputs")

        def run() -> tinker.ForwardBackwardOutput:
            try:
                return run_custom(self._trainer, snapshot, loss_fn)
            except BaseException as error:
                self._failure = error
                raise

        return self._run(run)

    def optim_step(
        self, optim_params: Any = None, *, adam_params: tinker.AdamParams | None = None
    ) -> ServiceFuture[tinker.types.OptimStepResponse]:
        """One AdamW step; without gradients, a step with gradient 0."""
        params = optim_params or adam_params or tinker.AdamParams()

        def step() -> types.OptimStepResponse:
            self._trainer.step(params)
            return types.OptimStepResponse()

        return self._run(step)

    def save_state(
        self,
        name: str,
        ttl_seconds: int | None = None,
        overwrite: bool = False,
        user_metadata: dict[str, str] | None = None,
    ) -> ServiceFuture[types.SaveWeightsResponse]:
        """Saves weights and optimizer; the answer's `.path` is their directory."""

        def save() -> types.SaveWeightsResponse:
            tensors = self._trainer.optimizer_tensors()
            path = self._save("weights", name, tensors, ttl_seconds, overwrite, user_metadata)
            return types.SaveWeightsResponse(path=path)

        return self._run(save)

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None, user_metadata: dict[str, str] | None = None
    ) -> ServiceFuture[types.SaveWeightsForSamplerResponse]:
        """Saves weights to sample from; the answer's `.path` is their directory."""

        def save() -> types.SaveWeightsForSamplerResponse:
            path = self._save("sampler_weights", name, {}, ttl_seconds, False, user_metadata)
            return types.SaveWeightsForSamplerResponse(path=path)

        return self._run(save)

    def save_weights_and_get_sampling_client(
        self,
        name: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
        kind: str = "snapshot",
    ) -> ServiceFuture[LocalSamplingClient]:
        """A sampling client on a copy of the current weights; nothing is written to disk."""

        def snapshot() -> LocalSamplingClient:
            if kind != "snapshot":
                raise LocalEngineError(f"kind={kind!r}; the local engine takes only kind='snapshot'")
            base = self._trainer.base
            return LocalSamplingClient(self._service, base, base.adapters.copy(self._trainer.adapter))

        return self._run(snapshot)

    def get_info(self) -> types.GetInfoResponse:
        """Base model, rank and server run."""
        name = self._trainer.base.name
        return types.GetInfoResponse(
            type="get_info",
            model_data=types.ModelData(arch=self._arch, model_name=name, tokenizer_id=name),
            model_id=self.model_id,
            is_lora=True,
            lora_rank=self._shape.rank,
            model_name=name,
        )

    def get_tokenizer(self) -> Any:
        """The base model's tokenizer."""
        return self._trainer.base.tokenizer

    @property
    def _arch(self) -> str:
        return self._trainer.base.model.config.model_type

    def _pass(self, data: Any, loss_fn: str, options: Any, backward: bool) -> ServiceFuture[Any]:
        snapshot = _snapshot(data)
        return self._run(lambda: self._trainer.run(snapshot, loss_fn, options or {}, backward))

    def _run(self, call: Callable[[], Any]) -> ServiceFuture[Any]:
        """Runs a call on the worker, unless a custom loss has failed by then."""

        def run() -> Any:
            if self._failure is not None:
                raise RuntimeError(
                    "a custom loss of this training client failed, so it takes no further calls; open a new client "
                    "from the last state"
                ) from self._failure
            return call()

        return self._service.run(run)

    def _save(
        self,
        kind: Any,
        name: str,
        optimizer: dict[str, torch.Tensor],
        ttl_seconds: int | None,
        overwrite: bool,
        user_metadata: dict[str, str] | None,
    ) -> str:
        base, adapter = self._trainer.base, self._trainer.adapter
        facts = {**self._service.base_facts(base.name), **asdict(self._shape), "steps": self._trainer.steps}
        facts["computed"] = base.how_computed()
        return str(
            self._service.store.save(
                self.model_id,
                kind,
                name,
                {**facts, "user_metadata": user_metadata},
                base.adapters.tensors(adapter),
                base.adapters.config(adapter),
                optimizer,
                ttl_seconds,
                overwrite,
            )
        )


def _snapshot(data: Sequence[tinker.Datum]) -> list[tinker.Datum]:
    """A copy of the list: the pass runs later, and the caller may have changed the list by then."""
    if not data:
        raise ValueError("data is empty; give at least one datum")
    return list(data)
