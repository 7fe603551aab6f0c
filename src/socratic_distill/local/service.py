"""The clients: the Tinker SDK's methods, carried out in this process."""

import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tinker
import torch
from peft import LoraConfig
from tinker import types

from socratic_distill.errors import LocalEngineError
from socratic_distill.futures import ServiceFuture
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.batches import Request, check_request, run_batch
from socratic_distill.local.custom import CustomLoss, run_custom
from socratic_distill.local.machine import Machine
from socratic_distill.local.scheduler import Job, Scheduler
from socratic_distill.local.scoring import Question
from socratic_distill.local.store import Saved, Store
from socratic_distill.local.training import AdapterTrainer


class LocalServiceClient:
    """A Tinker service client whose service is this process.

    Args:
        store: directory that states and sampler weights are kept in.
        trust_remote_code: whether Python code that a model's files bring along may run.
        device: "cpu", "cuda", or "auto": the GPU where there is one.
        dtype: of the base weights, "float32", "bfloat16" or "float64"; "auto" is bf16 for models that are stored in
            16 bits or fewer, on a GPU or CPU that multiplies it natively, else fp32. Adapters and moments are fp32 at
            least.
        gradient_checkpointing: computes activations twice when training instead of keeping them: less memory, slower.

    Raises:
        LocalEngineError: the device or the dtype is unknown, or is not there.
    """

    def __init__(
        self,
        store: str | Path,
        trust_remote_code: bool = False,
        device: str = "auto",
        dtype: Any = "auto",
        gradient_checkpointing: bool = False,
    ) -> None:
        self.store = Store(Path(store))
        self.models: dict[str, BaseModel] = {}
        self._machine = Machine.choose(device, dtype, gradient_checkpointing)
        self._trust_remote_code = trust_remote_code
        self._scheduler = Scheduler(run_batch)
        self._unseeded = itertools.count()

    def create_lora_training_client(
        self,
        base_model: str,
        rank: int = 32,
        seed: int | None = None,
        train_mlp: bool = True,
        train_attn: bool = True,
        train_unembed: bool = True,
        user_metadata: dict[str, str] | None = None,
        optimizer: Any = None,
    ) -> ServiceFuture["LocalTrainingClient"]:
        """A fresh LoRA on a base model, equal to it until trained. `seed` decides its A; None is 0."""

        def create() -> LocalTrainingClient:
            base = self._base(base_model)
            shape = LoraShape(rank, train_mlp, train_attn, train_unembed)
            trainer = AdapterTrainer(base, base.adapters.add(shape, seed))
            return LocalTrainingClient(self, trainer, shape, self.store.new_server_run())

        return self.run(create)

    def create_training_client_from_state(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: dict[str, str] | None = None,
        weights_access_token: str | None = None,
        optimizer: Any = None,
    ) -> ServiceFuture["LocalTrainingClient"]:
        """A new server run with a state's weights and a fresh optimizer."""
        return self.run(lambda: self._training_client(self.store.load(path, "weights"), with_optimizer=False))

    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: dict[str, str] | None = None,
        weights_access_token: str | None = None,
    ) -> ServiceFuture["LocalTrainingClient"]:
        """A new server run with a state's weights and optimizer: its next step is the state's next step."""
        return self.run(lambda: self._training_client(self.store.load(path, "weights"), with_optimizer=True))

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
    ) -> ServiceFuture["LocalSamplingClient"]:
        """A sampling client on saved sampler weights, or on a base model."""

        def create() -> LocalSamplingClient:
            if model_path is None:
                if base_model is None:
                    raise ValueError("give model_path or base_model")
                return LocalSamplingClient(self, self._base(base_model), None)
            saved = self.store.load(model_path, "sampler_weights")
            base, adapter = self._load(saved)
            return LocalSamplingClient(self, base, adapter)

        return self.run(create)

    def run(self, call: Callable[[], Any]) -> ServiceFuture[Any]:
        """Carries a call out on the worker, in order of submission."""
        return self._scheduler.submit(Job(run=call))

    def batch(self, request: Request) -> ServiceFuture[Any]:
        """Queues a sampling or scoring request for the next batch."""
        return self._scheduler.submit(Job(work=request))

    def next_seed(self) -> int:
        """A seed for a request that brings none."""
        return next(self._unseeded)

    def _training_client(self, saved: Saved, with_optimizer: bool) -> "LocalTrainingClient":
        base, adapter = self._load(saved)
        trainer = AdapterTrainer(base, adapter)
        if with_optimizer:
            trainer.restore(saved.optimizer, saved.facts["steps"])
        shape = LoraShape(**{name: saved.facts[name] for name in asdict(LoraShape(1))})
        return LocalTrainingClient(self, trainer, shape, self.store.new_server_run())

    def _load(self, saved: Saved) -> tuple[BaseModel, str]:
        base = self._base(saved.facts["base_model"])
        config = LoraConfig.from_pretrained(str(saved.path))
        assert isinstance(config, LoraConfig)
        return base, base.adapters.load(config, saved.adapter)

    def _base(self, name: str) -> BaseModel:
        if name not in self.models:
            self.models[name] = BaseModel(name, self._trust_remote_code, self._machine)
        return self.models[name]


class LocalTrainingClient:
    """A Tinker training client on one adapter. Calls take effect in the order of their submission.

    Attributes:
        model_id: id of the server run.
    """

    def __init__(self, service: LocalServiceClient, trainer: AdapterTrainer, shape: LoraShape, model_id: str) -> None:
        self.model_id = model_id
        self._service = service
        self._trainer = trainer
        self._shape = shape
        self._failure: BaseException | None = None
        _drop_with(self, service, trainer.base, trainer.adapter)

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
        """As `forward_backward`, with a loss of the caller's: `loss_fn(data, logprobs)` gives a loss and metrics.

        It runs on the engine's own thread. As with the SDK, a client refuses all further calls once it has failed.
        """
        kept = _kept(data)
        if any("target_tokens" not in datum.loss_fn_inputs for datum in kept):
            raise ValueError("every datum needs target_tokens among its loss_fn_inputs")

        def run() -> tinker.ForwardBackwardOutput:
            try:
                return run_custom(self._trainer, kept, loss_fn)
            except BaseException as error:
                self._failure = error
                raise

        return self._run(run)

    def optim_step(
        self, optim_params: Any = None, *, adam_params: tinker.AdamParams | None = None
    ) -> ServiceFuture[tinker.types.OptimStepResponse]:
        """One AdamW step; without gradients, one with gradient zero."""
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
        """Saves weights and optimizer; `.path` is their directory."""

        def save() -> types.SaveWeightsResponse:
            tensors = self._trainer.optimizer_tensors()
            path = self._save("weights", name, tensors, ttl_seconds, overwrite, user_metadata)
            return types.SaveWeightsResponse(path=path)

        return self._run(save)

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None, user_metadata: dict[str, str] | None = None
    ) -> ServiceFuture[types.SaveWeightsForSamplerResponse]:
        """Saves weights to sample from; `.path` is their directory."""

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
    ) -> ServiceFuture["LocalSamplingClient"]:
        """A sampling client on the weights as they are now, without a file."""

        def snapshot() -> LocalSamplingClient:
            if kind != "snapshot":
                raise LocalEngineError(f"kind={kind!r}; the local engine samples from snapshots only")
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
        kept = _kept(data)
        return self._run(lambda: self._trainer.run(kept, loss_fn, options or {}, backward))

    def _run(self, call: Callable[[], Any]) -> ServiceFuture[Any]:
        """Carries a call out on the worker, unless the client is lost by then."""

        def run() -> Any:
            if self._failure is not None:
                raise RuntimeError(
                    "a custom loss of this training client failed, and it takes no further calls; open a new client "
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
        facts = {"base_model": base.name, **asdict(self._shape), "steps": self._trainer.steps}
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


class LocalSamplingClient:
    """A Tinker sampling client on the weights that it was made from."""

    def __init__(self, service: LocalServiceClient, base: BaseModel, adapter: str | None) -> None:
        self._service = service
        self._base = base
        self._adapter = adapter
        if adapter is not None:
            _drop_with(self, service, base, adapter)

    def sample(
        self,
        prompt: tinker.ModelInput,
        num_samples: int,
        sampling_params: tinker.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        topk_sample_logprobs: int = 0,
        target_prompt_logprobs: Any = None,
        prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None,
    ) -> ServiceFuture[tinker.SampleResponse]:
        """Samples replies; the same request on the same weights gives the same ones.

        Without a seed in sampling_params, requests draw one after another from a fixed row of seeds.
        Raises tinker.BadRequestError, through the future, for a prompt that leaves no room for a reply, and for
        questions that do not fit the prompt.
        """
        tokens = tuple(prompt.to_ints())
        seed = self._service.next_seed() if sampling_params.seed is None else sampling_params.seed
        question = Question(
            size=len(tokens),
            logprobs=include_prompt_logprobs,
            top=topk_prompt_logprobs,
            last_n=prompt_logprobs_last_n,
            targets=None if target_prompt_logprobs is None else target_prompt_logprobs.to_numpy(pad_value=-1),
            alternatives=prompt_alt_tokens_k,
            temperature=sampling_params.temperature,
            seed=seed,
        )
        return self._submit(
            Request(
                base=self._base,
                adapter=self._adapter,
                prompt=tokens,
                question=question,
                count=num_samples,
                params=sampling_params,
                seed=seed,
                top=topk_sample_logprobs,
                targets=target_prompt_logprobs,
            )
        )

    def compute_logprobs(
        self, prompt: tinker.ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> ServiceFuture[list[float | None]]:
        """Log-probability of each prompt token after those before it, nats, `[P]`; the first is None."""
        tokens = tuple(prompt.to_ints())
        question = Question(size=len(tokens), logprobs=True, last_n=prompt_logprobs_last_n)
        return self._submit(Request(self._base, self._adapter, tokens, question))

    def get_tokenizer(self) -> Any:
        """The base model's tokenizer."""
        return self._base.tokenizer

    def get_base_model(self) -> str:
        """The base model's name."""
        return self._base.name

    def _submit(self, request: Request) -> ServiceFuture[Any]:
        try:
            check_request(request)
        except tinker.TinkerError as error:
            return ServiceFuture.failed(error)
        # The request keeps this client, and so its adapter, until it is answered.
        request.owner = self
        return self._service.batch(request)


def _drop_with(client: Any, service: LocalServiceClient, base: BaseModel, adapter: str) -> None:
    """Frees an adapter on the worker once its client is gone."""
    weakref.finalize(client, service.run, lambda: base.drop_adapter(adapter)).atexit = False


def _kept(data: Sequence[tinker.Datum]) -> list[tinker.Datum]:
    """The data as they are now, whatever the caller does with the list."""
    if not data:
        raise ValueError("data is empty; give at least one datum")
    return list(data)
