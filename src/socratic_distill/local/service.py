"""The service client: the Tinker SDK's methods, carried out in this process."""

import itertools
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from socratic_distill.futures import ServiceFuture
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.batches import Request, run_batch
from socratic_distill.local.machine import Machine
from socratic_distill.local.proof import check_reading, prove
from socratic_distill.local.sampling_client import LocalSamplingClient
from socratic_distill.local.saved_adapters import read_adapter_config
from socratic_distill.local.scheduler import Job, Scheduler
from socratic_distill.local.store import Saved, Store
from socratic_distill.local.training import AdapterTrainer
from socratic_distill.local.training_client import LocalTrainingClient
from socratic_distill.model_files import TINY, base_of, describe_model, model_place
from socratic_distill.paths import GivenPath, resolved
from socratic_distill.trust import Grant


class LocalServiceClient:
    """A Tinker service client whose service is this process.

    Attributes:
        is_in_process: that it is one; no request to it can be lost.
    """

    is_in_process = True

    def __init__(
        self,
        store: str | Path,
        trust_remote_code: bool = False,
        device: str = "auto",
        dtype: Any = "auto",
        gradient_checkpointing: bool = False,
        grant: Grant | None = None,
        paths: Mapping[str, str] | None = None,
    ) -> None:
        """Chooses the machine; models are loaded when they are first asked for.

        Args:
            store: directory that states and sampler weights are kept in.
            trust_remote_code: whether Python code that a model's files bring along may run.
            device: "cpu", "cuda", or "auto": the GPU where there is one.
            dtype: of the base weights, "float32", "bfloat16" or "float64"; "auto" is bf16 for models that are stored in
                16 bits or fewer, on a GPU or CPU that multiplies it natively, else fp32. Adapters and moments are fp32
                at least.
            gradient_checkpointing: computes activations twice when training instead of keeping them: less memory,
                slower.
            grant: of a config that was read from a file: which models and weights may be loaded. None: any.
            paths: where models lie whose name is a path of another working directory, by name. None: at their names.

        Raises:
            LocalEngineError: the device or the dtype is unknown, or is not there.
        """
        self.store = Store(Path(store), grant)
        self.models: dict[str, BaseModel] = {}
        self._machine = Machine.choose(device, dtype, gradient_checkpointing)
        self._paths = dict(paths or {})
        self._base_facts: dict[str, dict[str, Any]] = {}
        self._trust_remote_code = trust_remote_code
        self._grant = grant
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
    ) -> ServiceFuture[LocalTrainingClient]:
        """A fresh LoRA on a base model, equal to it until trained. `seed` decides its A; None is 0."""

        def create() -> LocalTrainingClient:
            base = self._base(base_model)
            shape = LoraShape(rank, train_mlp, train_attn, train_unembed)
            prove(base, shape)
            base.adapters.tell_share(shape)
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
    ) -> ServiceFuture[LocalTrainingClient]:
        """A new server run with a state's weights and a fresh optimizer."""
        return self.run(lambda: self._training_client(self.store.load(path, "weights"), with_optimizer=False))

    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: dict[str, str] | None = None,
        weights_access_token: str | None = None,
    ) -> ServiceFuture[LocalTrainingClient]:
        """A new server run with a state's weights and optimizer: its next step is the state's next step."""
        return self.run(lambda: self._training_client(self.store.load(path, "weights"), with_optimizer=True))

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
    ) -> ServiceFuture[LocalSamplingClient]:
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

    def check_training(self, base_model: str) -> ServiceFuture[str]:
        """Says which share of a model's linear weights a LoRA reaches, after the proof that one works on it.

        Args:
            base_model: the model.

        Raises, through the future:
            UnsupportedModel: the engine does not train the model.
        """

        def check() -> str:
            base, shape = self._base(base_model), LoraShape(rank=1)
            prove(base, shape)
            return base.adapters.coverage(shape)[1]

        return self.run(check)

    def run(self, call: Callable[[], Any]) -> ServiceFuture[Any]:
        """Carries a call out on the worker, in order of submission.

        Args:
            call: may touch torch; its result is the future's.
        """
        return self._scheduler.submit(Job(run=call))

    def batch(self, request: Request) -> ServiceFuture[Any]:
        """Queues a sampling or scoring request for the next batch.

        Args:
            request: what to sample or score, and its place in the batch.
        """
        return self._scheduler.submit(Job(work=request))

    def drop_with(self, client: Any, base: BaseModel, adapter: str) -> None:
        """Frees an adapter on the worker once its client is gone.

        Args:
            client: whose adapter it is; held weakly.
            base: the model that the adapter is on.
            adapter: its name.
        """
        weakref.finalize(client, self.run, lambda: base.drop_adapter(adapter)).atexit = False

    def next_seed(self) -> int:
        """A seed for a request that brings none."""
        return next(self._unseeded)

    def base_name(self, facts: Mapping[str, Any]) -> str:
        """The base model of saved weights, by the name that it has here.

        Args:
            facts: what is known of the weights.
        """
        name = facts["base_model"]
        return name if name in self.models else base_of(facts, self._paths, self._may_load)

    def base_facts(self, name: str) -> dict[str, Any]:
        """What saved weights say of their base model: its name, where it lies, and what its files hold.

        Args:
            name: as the service was given it.
        """
        if name not in self._base_facts:
            place = model_place(self._place(name))
            path = None if place is None or name == TINY else str(place.absolute())
            content = describe_model(self._place(name))
            self._base_facts[name] = {"base_model": name, "base_path": path, "base_content": content}
        return self._base_facts[name]

    def _training_client(self, saved: Saved, with_optimizer: bool) -> LocalTrainingClient:
        shape = LoraShape(**{name: saved.facts[name] for name in asdict(LoraShape(1))})
        prove(self._base(self.base_name(saved.facts)), shape)
        base, adapter = self._load(saved)
        trainer = AdapterTrainer(base, adapter)
        if with_optimizer:
            trainer.restore(saved.optimizer, saved.facts["steps"])
        return LocalTrainingClient(self, trainer, shape, self.store.new_server_run())

    def _load(self, saved: Saved) -> tuple[BaseModel, str]:
        base = self._base(self.base_name(saved.facts))
        return base, base.adapters.load(read_adapter_config(saved.path), saved.adapter)

    def _base(self, name: str) -> BaseModel:
        if name not in self.models:
            place = self._place(name)
            if self._grant is not None:
                self._grant.check_model(GivenPath(name, place))
            base = BaseModel(place, self._trust_remote_code, self._machine)
            base.name = name
            check_reading(base)
            self.models[name] = base
        return self.models[name]

    def _may_load(self, path: str) -> bool:
        return self._grant is None or self._grant.may_load(path)

    def _place(self, name: str) -> str:
        return self._paths.get(name, resolved(name))
