"""The service client: the Tinker SDK's methods, run in this process."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from socratic_distill.config.grant import Grant
from socratic_distill.in_process import ServiceFuture
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.engine import Engine
from socratic_distill.local.proof import prove
from socratic_distill.local.sampling_client import LocalSamplingClient
from socratic_distill.local.store import Saved
from socratic_distill.local.training import AdapterTrainer
from socratic_distill.local.training_client import LocalTrainingClient


class LocalServiceClient(Engine):
    """A Tinker service client whose service is this process.

    Attributes:
        is_in_process: always True; no request to it can be lost.
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
            store: directory for states and sampler weights.
            trust_remote_code: whether Python code among a model's files may run.
            device: "cpu", "cuda", or "auto", which takes a GPU if there is one.
            dtype: of the base weights, "float32", "bfloat16" or "float64". "auto" is bf16 for models that are stored in
                16 bits or fewer, on a GPU or CPU that multiplies it natively, else fp32. Adapters and moments are fp32
                or wider.
            gradient_checkpointing: whether training recomputes activations instead of keeping them: less memory, but
                slower.
            grant: which models and weights a config that was read from a file may load. None: any.
            paths: paths of models whose name is a path in another working directory, by name. None: names are paths.

        Raises:
            LocalEngineError: the device or the dtype is unknown, or the device is not available.
        """
        super().__init__(store, trust_remote_code, device, dtype, gradient_checkpointing, grant, paths)

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
        """A fresh LoRA on a base model, which changes nothing until trained. `seed` decides its A; None is 0."""

        def create() -> LocalTrainingClient:
            base = self._base(base_model)
            shape = LoraShape(rank, train_mlp, train_attn, train_unembed)
            prove(base, shape)
            base.adapters.warn_if_partial(shape)
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
        """A new server run with a state's weights and optimizer: it continues exactly where the state was saved."""
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
        """Tests that a LoRA works on a model, and says which share of its linear weights it reaches.

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

    def _training_client(self, saved: Saved, with_optimizer: bool) -> LocalTrainingClient:
        shape = LoraShape(**{name: saved.facts[name] for name in asdict(LoraShape(1))})
        prove(self._base(self.base_name(saved.facts)), shape)
        base, adapter = self._load(saved)
        trainer = AdapterTrainer(base, adapter)
        if with_optimizer:
            trainer.restore(saved.optimizer, saved.facts["steps"])
        return LocalTrainingClient(self, trainer, shape, self.store.new_server_run())
