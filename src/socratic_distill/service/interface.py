"""What a service of the Tinker API must offer: the SDK's methods that are called here, with the parameters passed.

The SDK's clients, the fake's and the local engine's satisfy these protocols, and any other client may. Parameters that
no call passes are left out, and those that every call passes have no default: a client needs nothing more. A class that
forwards calls by `__getattr__` satisfies them at run time; type checkers do not see that.

Every request returns an awaitable, not the SDK's `APIFuture`: the library only awaits, and watched clients return
futures of asyncio, which have no `result_async` and whose `result` takes no timeout.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import tinker
    from tinker import types


class ServiceClient(Protocol):
    """Opens training clients and sampling clients."""

    def create_lora_training_client(
        self,
        base_model: str,
        rank: int,
        seed: int,
        train_mlp: bool = ...,
        train_attn: bool = ...,
        train_unembed: bool = ...,
    ) -> Awaitable[TrainingClient]:
        """A training client on a fresh LoRA of a base model."""
        ...

    def create_training_client_from_state(self, path: str, base_model: str | None = None) -> Awaitable[TrainingClient]:
        """A training client on a state's weights, with a fresh optimizer."""
        ...

    def create_training_client_from_state_with_optimizer(self, path: str) -> Awaitable[TrainingClient]:
        """A training client that goes on where a state was saved."""
        ...

    def create_sampling_client(
        self, model_path: str | None = None, base_model: str | None = None
    ) -> Awaitable[SamplingClient]:
        """A sampling client on saved sampler weights or on a base model; one of the two is given."""
        ...


class TrainingClient(Protocol):
    """One server run: requests take effect in the order of their calls."""

    # An attribute of the SDK's client; a property here, so that a read-only one will do.
    @property
    def model_id(self) -> str:
        """Id of the server run."""
        ...

    def get_info(self) -> types.GetInfoResponse:
        """Base model and LoRA rank."""
        ...

    # Has the methods of a Hugging Face tokenizer that `dialogues.codec` and `dialogues.rendering` call. No narrower
    # type covers it and the toy tokenizer, and some of the methods are optional.
    def get_tokenizer(self) -> Any:
        """The base model's tokenizer; may block."""
        ...

    def forward(
        self, data: list[tinker.Datum], loss_fn: types.LossFnType, loss_fn_config: Mapping[str, float] | None = None
    ) -> Awaitable[tinker.ForwardBackwardOutput]:
        """Log-probabilities of the targets and the loss, without gradients."""
        ...

    def forward_backward(
        self, data: list[tinker.Datum], loss_fn: types.LossFnType, loss_fn_config: Mapping[str, float] | None = None
    ) -> Awaitable[tinker.ForwardBackwardOutput]:
        """The same, with the gradients added to those since the last step."""
        ...

    def optim_step(self, optim_params: tinker.AdamParams) -> Awaitable[tinker.OptimStepResponse]:
        """A step with the gradients so far, which are then cleared."""
        ...

    def save_state(
        self, name: str, *, ttl_seconds: int | None, user_metadata: dict[str, str] | None = None
    ) -> Awaitable[types.SaveWeightsResponse]:
        """Saves weights and optimizer; the answer has their path."""
        ...

    def save_weights_for_sampler(
        self, name: str, *, ttl_seconds: int | None, user_metadata: dict[str, str] | None = None
    ) -> Awaitable[types.SaveWeightsForSamplerResponse]:
        """Saves weights to sample from; the answer has their path."""
        ...


class PassCall(Protocol):
    """`forward` or `forward_backward` of a training client."""

    def __call__(
        self, data: list[tinker.Datum], loss_fn: types.LossFnType, loss_fn_config: Mapping[str, float] | None = None, /
    ) -> Awaitable[tinker.ForwardBackwardOutput]:
        """Submits a pass."""
        ...


class SamplingClient(Protocol):
    """Samples from, and scores with, weights that do not change."""

    def get_tokenizer(self) -> Any:
        """The model's tokenizer, as a training client's."""
        ...

    def sample(
        self,
        prompt: tinker.ModelInput,
        num_samples: int,
        sampling_params: tinker.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        topk_sample_logprobs: int = 0,
        target_prompt_logprobs: tinker.TensorData | None = None,
        prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None,
    ) -> Awaitable[tinker.SampleResponse]:
        """Replies to a prompt and, if asked for, scores of the prompt's own tokens."""
        ...


class AdminClient(Protocol):
    """Says what was billed; needs an admin's right."""

    def get_billing_usage(
        self, starting_on: datetime, ending_before: datetime
    ) -> Awaitable[types.BillingUsageResponse]:
        """The organization's use in whole hours of UTC, at most 14 days."""
        ...


class RestClient(Protocol):
    """Describes the service's models and saved weights, and deletes weights."""

    def get_server_capabilities(self) -> Awaitable[types.GetServerCapabilitiesResponse]:
        """The models on offer, with their contexts."""
        ...

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> Awaitable[types.WeightsInfoResponse]:
        """Base model and LoRA rank of saved weights."""
        ...

    def list_checkpoints(self, training_run_id: str) -> Awaitable[types.CheckpointsListResponse]:
        """What a server run has saved."""
        ...

    def list_user_checkpoints(self, limit: int, offset: int) -> Awaitable[types.CheckpointsListResponse]:
        """A page of what all server runs of the user have saved."""
        ...

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> Awaitable[object]:
        """Deletes saved weights."""
        ...
