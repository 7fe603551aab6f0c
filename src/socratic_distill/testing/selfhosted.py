"""The fake service in the ways in which self-hosted servers differ from the hosted one."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from tinker.types import (
    ForwardBackwardOutput,
    GetInfoResponse,
    GetServerCapabilitiesResponse,
    SampledSequence,
    SampleResponse,
    SaveWeightsForSamplerResponse,
    SupportedModel,
)

from socratic_distill.in_process import ServiceFuture, status_error
from socratic_distill.service.paths import full_path
from socratic_distill.testing.checkpoints import Checkpoints
from socratic_distill.testing.clients import FakeSamplingClient, FakeTrainingClient
from socratic_distill.testing.ledger import Reading
from socratic_distill.testing.service import FakeServiceClient
from socratic_distill.testing.store import Arrays, Header, Kind, RunInfo
from socratic_distill.testing.weights import Weights

T = TypeVar("T")
_SAVES = ("save_state", "save_weights_for_sampler")


class SelfHostedServiceClient(FakeServiceClient):
    """A `FakeServiceClient` that differs from the hosted service as SkyRL 0.4.0's server on JAX does.

    - One model is offered, without a context length; a training client does not tell its rank.
    - Prompt log-probabilities lack the leading None, and `prompt_logprobs_last_n` is ignored, so that the SDK raises.
    - `topk_prompt_logprobs` is refused with 400; `topk_sample_logprobs`, `target_prompt_logprobs` and
      `prompt_alt_tokens_k` are ignored, and for the last one the SDK raises.
    - Passes come without metrics.
    - Paths of sampler weights have two parts; `get_weights_info_by_tinker_path` refuses those with 400.
    - TTLs and `user_metadata` of saves are accepted and not kept; a save under a name that is taken is never answered.
    - Sampling from older weights puts them back into training.
    """

    def __init__(self, model: str = "only", **options: Any) -> None:
        """Opens a service, empty or on what a directory holds.

        Args:
            model: name of its model.
            **options: as `FakeServiceClient`'s, without models and lacks.
        """
        super().__init__(models=[model], lacks=["topk_prompt_logprobs"], **options)
        self.checkpoints = _Forgetful(self._store, self.now)
        self._trained_weights: dict[str, Weights] = {}
        self._in_place: dict[str, str | None] = {}

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
    ) -> ServiceFuture[FakeSamplingClient]:
        """As the hosted service's, of a path in two parts too."""
        path = None if model_path is None else full_path(model_path)
        return super().create_sampling_client(path, base_model, retry_config, record_stability_info)

    def submit(
        self,
        call: str,
        action: Callable[[], T],
        *,
        server_run: str | None = None,
        read: Reading | None = None,
        **arguments: Any,
    ) -> ServiceFuture[T]:
        """Carries a call out, with an answer as such a server gives it."""

        def answer() -> T:
            self._refuse(call, arguments)
            if read is not None and read.path is not None:
                self._put_back(read.path)
            return self._changed(call, action(), read, arguments)

        if call in _SAVES and server_run is not None and self._is_taken(call, server_run, arguments["name"]):
            super().submit(call, answer, server_run=server_run, **arguments)
            return ServiceFuture(Future())
        return super().submit(call, answer, server_run=server_run, read=read, **arguments)

    def _open_run(self, weights: Weights, *facts: Any, **more: Any) -> FakeTrainingClient:
        client = super()._open_run(weights, *facts, **more)
        self._trained_weights[client.model_id] = weights
        return _Reticent(self, client.info, weights)

    def _refuse(self, call: str, arguments: dict[str, Any]) -> None:
        if call == "get_weights_info_by_tinker_path" and "/weights/" not in arguments["path"]:
            raise status_error(400, f"{arguments['path']} is not of the form tinker://<model>/weights/<name>")

    def _is_taken(self, call: str, server_run: str, name: str) -> bool:
        kind: Kind = "weights" if call == "save_state" else "sampler_weights"
        return any((save.kind, save.name) == (kind, name) for save in self.checkpoints.all(server_run))

    def _put_back(self, path: str) -> None:
        """One copy of a LoRA, for training and sampling."""
        header, arrays = self.checkpoints.load(path, "sampler_weights")
        run = header.info.run
        if run in self._trained_weights and self._in_place.get(run) != path:
            self._trained_weights[run].replace(arrays)
            self._in_place[run] = path

    def _changed(self, call: str, value: Any, read: Reading | None, arguments: dict[str, Any]) -> Any:
        """The answer as such a server words it."""
        if call in ("forward", "forward_backward"):
            kind, outputs = value.loss_fn_output_type, value.loss_fn_outputs
            return ForwardBackwardOutput(loss_fn_output_type=kind, loss_fn_outputs=outputs, metrics={})
        if call == "save_weights_for_sampler":
            return SaveWeightsForSamplerResponse(path=value.path.replace("/sampler_weights/", "/"))
        if call == "get_server_capabilities":
            names = [SupportedModel(model_name=model.model_name) for model in value.supported_models]
            return GetServerCapabilitiesResponse(supported_models=names)
        if call == "sample":
            return _plain(value, read, arguments)
        if call == "compute_logprobs":
            return value[1:]
        return value


def _plain(response: SampleResponse, read: Reading | None, arguments: dict[str, Any]) -> SampleResponse:
    """An answer without what the server does not know; raises where the SDK misses it."""
    asked = arguments["features"]
    if arguments["prompt_logprobs"] and read is not None and read.last_n is not None:
        raise RuntimeError(f"prompt_logprobs_last_n={read.last_n} was requested but the server returned them all")
    if "prompt_alt_tokens_k" in asked:
        raise RuntimeError("prompt_alt_tokens_k was requested but the server returned no prompt_alt_tokens")
    replies = [
        SampledSequence(
            stop_reason=reply.stop_reason,
            sequence_id=reply.sequence_id,
            tokens_np=reply.tokens_np,
            logprobs_np=reply.logprobs_np,
            topk_logprobs_np=None,
        )
        for reply in response.sequences
    ]
    logprobs = response.prompt_logprobs_np
    return SampleResponse(sequences=replies, prompt_logprobs_np=None if logprobs is None else logprobs[1:])


class _Reticent(FakeTrainingClient):
    """Does not tell its rank."""

    def get_info(self) -> GetInfoResponse:
        return super().get_info().model_copy(update={"lora_rank": None, "is_lora": None, "model_name": None})


class _Forgetful(Checkpoints):
    """Keeps weights for ever, and nothing that is said of them."""

    def save(
        self,
        info: RunInfo,
        kind: Kind,
        name: str,
        arrays: Arrays,
        ttl_seconds: int | None,
        user_metadata: dict[str, str] | None,
        overwrite: bool = False,
    ) -> Header:
        return super().save(info, kind, name, arrays, None, None, overwrite)

    def set_ttl(self, path: str, ttl_seconds: int | None) -> None:
        self.find(path)
