"""The service client: the Tinker SDK's methods, run in this process."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from socratic_distill.config.grant import Grant
from socratic_distill.config.model_names import is_same_model
from socratic_distill.config.paths import TINY
from socratic_distill.errors import ModelMismatch, NotEnoughMemory, UnsupportedAdapter, UntrustedConfig
from socratic_distill.in_process import ServiceFuture
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.demand import Demand
from socratic_distill.local.engine import Engine
from socratic_distill.local.limits import free_gpu_memory, free_memory, peak_memory
from socratic_distill.local.memory import check, check_loading
from socratic_distill.local.proof import prove
from socratic_distill.local.sampling_client import LocalSamplingClient
from socratic_distill.local.saved_paths import is_foreign
from socratic_distill.local.store import Kind, Saved
from socratic_distill.local.training import AdapterTrainer
from socratic_distill.local.training_client import LocalTrainingClient

_PLENTY = 4 * 2**30  # bytes; ten times what the tiny model takes


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
        check_memory: bool = True,
        quantization: Any = None,
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
            check_memory: whether a run that would not fit this machine's memory, by an estimate, is refused.
            quantization: "nf4" holds the base weights of linear layers in four bits, which needs the extra `quantized`;
                None holds them in `dtype`.

        Raises:
            LocalEngineError: the device, the dtype or the quantization is unknown, or the device is not available.
        """
        super().__init__(store, trust_remote_code, device, dtype, gradient_checkpointing, grant, paths, quantization)
        self._refuses = check_memory

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
        """A new server run with a state's weights, or those of another program's adapter, and a fresh optimizer.

        `base_model` is only for such an adapter: the model that it is put on.
        """
        return self.run(lambda: self._training_client(self._saved(path, "weights", base_model), with_optimizer=False))

    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: dict[str, str] | None = None,
        weights_access_token: str | None = None,
    ) -> ServiceFuture[LocalTrainingClient]:
        """A new server run with a state's weights and optimizer: it continues exactly where the state was saved."""
        return self.run(lambda: self._training_client(self._saved(path, "weights", None), with_optimizer=True))

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
    ) -> ServiceFuture[LocalSamplingClient]:
        """A sampling client on saved sampler weights, on another program's adapter, or on a base model.

        For such an adapter `base_model` is the model that it is put on.
        """

        def create() -> LocalSamplingClient:
            if model_path is None:
                if base_model is None:
                    raise ValueError("give model_path or base_model")
                return LocalSamplingClient(self, self._base(base_model), None)
            base, adapter = self._load(self._saved(model_path, "sampler_weights", base_model))
            return LocalSamplingClient(self, base, adapter)

        return self.run(create)

    def check_training(self, base_model: str) -> ServiceFuture[str]:
        """Tests that a LoRA works on a model, and says what share of it the LoRA reaches, and which path reads it.

        Args:
            base_model: the model.

        Raises, through the future:
            UnsupportedModel: the engine does not train the model.
        """

        def check() -> str:
            base, shape = self._base(base_model), LoraShape(rank=1)
            prove(base, shape)
            return f"{base.adapters.coverage(shape)[1]}; {base.path}"

        return self.run(check)

    def estimate_memory(self, demand: Demand, in_detail: bool = True) -> ServiceFuture[str]:
        """Estimates what a run takes of this machine's memory, without loading a model; says so in words.

        Args:
            demand: the sizes of the run.
            in_detail: whether the packaged tiny model is estimated too where there is plenty of memory.

        Raises, through the future:
            NotEnoughMemory: more than there is.
        """

        def ask() -> str:
            limit, device = free_memory(), self.machine.device
            if not in_detail and set(demand.models) == {TINY} and limit is not None and limit.free > _PLENTY:
                return "memory: the packaged tiny model fits"  # an estimate takes as long as loading it
            try:
                if device.type == "cuda":
                    check_loading(demand, self.machine, self.shapes, limit)
                    limit = free_gpu_memory(device)
                return check(demand, self.machine, self.shapes, frozenset(self.models), limit)
            except NotEnoughMemory as error:
                if self._refuses:
                    raise
                return f"memory: {error}"
            except UntrustedConfig:
                raise
            except Exception as error:  # an estimate that cannot be made must not keep a run from starting
                reason = (str(error).splitlines() or ["no message"])[0]
                return f"memory: not estimated ({type(error).__name__}: {reason})"

        return self.run(ask)

    def peak_memory(self) -> dict[str, float]:
        """The most memory that this process has held so far, as rows of metrics.jsonl hold it."""
        return peak_memory(self.machine.device)

    def _saved(self, path: str, kind: Kind, base_model: str | None) -> Saved:
        """Saved weights; for an adapter of another program, with the facts that its base model decides.

        Raises:
            ModelMismatch: it names another base model.
            UnsupportedAdapter: it names none, or is on layers that the engine does not train.
        """
        saved = self.store.load(path, kind)
        if not is_foreign(saved.path):
            return saved
        named = saved.facts["base_model"]
        if not (named or base_model):
            raise UnsupportedAdapter(
                f"{saved.path} does not say what its base model is; write the name into base_model_name_or_path of its "
                "adapter_config.json"
            )
        if base_model and named and not is_same_model(named, base_model):
            raise ModelMismatch(
                f"{saved.path} is an adapter on model {named!r}, but {base_model!r} is to be trained. Set "
                "tutor_model_name to the adapter's model, or, if they are the same model, write the name of yours into "
                "base_model_name_or_path of its adapter_config.json"
            )
        name = base_model or named
        parts = self._base(name).adapters.parts_of(saved.config)
        flags = {f"train_{part}": part in parts for part in ("mlp", "attn", "unembed")}
        return replace(saved, facts=saved.facts | {"base_model": name} | flags)

    def _training_client(self, saved: Saved, with_optimizer: bool) -> LocalTrainingClient:
        shape = LoraShape(**{name: saved.facts[name] for name in asdict(LoraShape(1))})
        prove(self._base(self.base_name(saved.facts)), shape)
        base, adapter = self._load(saved)
        trainer = AdapterTrainer(base, adapter)
        if with_optimizer:
            trainer.restore(saved.optimizer, saved.facts["steps"])
            base.warn_if_changed(saved.facts.get("computed") or {})
        return LocalTrainingClient(self, trainer, shape, self.store.new_server_run())
