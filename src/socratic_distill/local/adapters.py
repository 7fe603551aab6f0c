"""LoRA adapters on a base model, through peft: one per training client and per set of sampler weights."""

import itertools
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
from transformers.pytorch_utils import Conv1D

from socratic_distill.errors import DamagedWeights, LocalEngineError, UnsupportedAdapter
from socratic_distill.local.layers import AdapterLinear
from socratic_distill.local.targets import Part, find_targets
from socratic_distill.text import get_logger

_log = get_logger(__name__)
# As Tinker's service scales its adapters.
LORA_ALPHA = 32


@dataclass(frozen=True)
class LoraShape:
    """Shape of an adapter: its rank, and which parts of the model carry it."""

    rank: int
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True

    @property
    def parts(self) -> frozenset[Part]:
        """The parts of the model that the adapter trains."""
        wanted: dict[Part, bool] = {"attn": self.train_attn, "mlp": self.train_mlp, "unembed": self.train_unembed}
        return frozenset(part for part, on in wanted.items() if on)


@contextmanager
def peft_quiet() -> Iterator[None]:
    """Silences warnings of peft that do not apply here."""
    with warnings.catch_warnings():
        # Unmerged, an adapter on a tied output layer leaves the embedding alone; for merging, the layer is untied.
        warnings.filterwarnings("ignore", message=".*tie.*")
        # peft asks transformers for an attribute that transformers is about to rename.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        # For a saved adapter on both Linear and Conv1D layers: peft corrects the flag for each layer itself.
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*")
        yield


def bare(model: nn.Module) -> nn.Module:
    """The same modules in a plain module for peft, without the model's class and config.

    peft knows some mixture-of-experts models by their config. In these it takes a layer called gate_proj for a fused
    parameter of experts, and adapts the parameter. That is not an `AdapterLinear`, so it could not be switched off.
    """
    modules = nn.Module()
    modules._modules = model._modules  # shared: what peft replaces here is replaced in the model
    return modules


class Adapters:
    """The adapters of one model, by name; names are never reused."""

    def __init__(self, model: Any, model_name: str, idle: frozenset[str] = frozenset()) -> None:
        """Finds the layers that adapters can go on.

        Args:
            model: frozen, without adapters.
            model_name: as the user wrote it.
            idle: paths of layers that the model never calls.
        """
        self._model = model
        self._model_name = model_name
        self.targets = find_targets(model, idle)
        self._peft: PeftModel | None = None
        self._layers: list[AdapterLinear] = []
        self._numbers = itertools.count(1)
        # The adapter dropped last, reused for the next one like it: peft takes half a second for 210 layers.
        self._spare: str | None = None
        self._warned: set[str] = set()  # texts of the warnings given

    def __len__(self) -> int:
        """Number of adapters."""
        return 0 if self._peft is None else len(self._peft.peft_config)

    def add(self, shape: LoraShape, seed: int | None) -> str:
        """Adds an adapter that changes nothing yet, since its B is zero; returns its name."""
        config = LoraConfig(
            r=shape.rank,
            lora_alpha=LORA_ALPHA,
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
            target_modules=self._targets(shape),
        )
        return self._add(config, seed)

    def coverage(self, shape: LoraShape) -> tuple[float, str]:
        """The share of the requested linear weights that an adapter reaches, in [0, 1], and a sentence that says so."""
        share, left_out = self.targets.share(shape.parts), self.targets.left_out(shape.parts)
        text = f"LoRA reaches {_percent(share)} of the linear weights of model {self._model_name!r}"
        if left_out:
            text += f"; not reached: {', '.join(left_out)}"
        return share, text

    def warn_if_partial(self, shape: LoraShape) -> None:
        """Warns, once for each model, if an adapter reaches fewer linear weights than requested."""
        share, text = self.coverage(shape)
        if share < 1 and text not in self._warned:
            self._warned.add(text)
            _log.warning("%s", text)

    def parts_of(self, config: LoraConfig) -> set[Part]:
        """The parts of the model that another program's adapter is on.

        Raises:
            UnsupportedAdapter: it is on layers that the engine does not train.
        """
        parts: dict[str, Part] = {target.path: target.part for target in self.targets.all if target.is_layer}
        wanted = config.target_modules or ()
        if others := sorted(set(wanted) - set(parts)):
            raise UnsupportedAdapter(
                f"the adapter is on layers of model {self._model_name!r} that the local engine does not train: "
                f"{', '.join(others[:3])}{' and others' if len(others) > 3 else ''}. Train one without them, or merge "
                "it into its base model and give that as tutor_model_name"
            )
        return {parts[path] for path in wanted}

    def load(self, config: LoraConfig, tensors: dict[str, torch.Tensor]) -> str:
        """Adds an adapter with saved weights; returns its name.

        Raises:
            DamagedWeights: they do not fit the model.
        """
        if config.target_parameters:
            raise DamagedWeights(
                f"the saved adapter changes fused experts of model {self._model_name!r}, which the local engine does "
                "not train; load weights that were saved without them, or start from the base model"
            )
        config.inference_mode = False  # else peft would freeze the adapter
        name = self._reused(config) or self._add(config, seed=0)
        assert self._peft is not None
        own = get_peft_model_state_dict(self._peft, adapter_name=name, save_embedding_layers=False)
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in tensors.items()}:
            self.drop(name)
            raise DamagedWeights(f"the saved adapter does not fit model {self._model_name!r}: other modules or shapes")
        set_peft_model_state_dict(self._peft, tensors, adapter_name=name)
        return name

    def copy(self, adapter: str) -> str:
        """Adds a copy of an adapter, with its weights as they are now; returns the copy's name."""
        config = self.config(adapter)
        names = ("r", "lora_alpha", "lora_dropout", "bias", "task_type", "target_modules")
        config = LoraConfig(**{key: getattr(config, key) for key in names})
        name = self._reused(config) or self._add(config, seed=0)
        theirs = self.parameters(adapter)
        with torch.no_grad():
            for key, parameter in self.parameters(name).items():
                parameter.copy_(theirs[key])
        return name

    def drop(self, adapter: str) -> None:
        """Marks an adapter as spare for the next one of its kind, and frees the previous spare."""
        assert self._peft is not None
        if self._spare is not None:
            self._peft.set_adapter(adapter)  # else peft may keep a deleted adapter as the active one
            self._peft.delete_adapter(self._spare)
        self._spare = adapter

    def remove(self, adapters: Iterable[str]) -> None:
        """Frees adapters at once, without keeping a spare."""
        for adapter in adapters:
            assert self._peft is not None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # peft warns when the last adapter is deleted
                self._peft.delete_adapter(adapter)

    def switch(self, adapter: str | None) -> None:
        """Switches one adapter on and all others off; None switches all off."""
        for layer in self._layers:
            layer.active = adapter

    def tensors(self, adapter: str) -> dict[str, torch.Tensor]:
        """An adapter's weights under PEFT's own names, detached copies."""
        assert self._peft is not None
        state = get_peft_model_state_dict(self._peft, adapter_name=adapter, save_embedding_layers=False)
        return {name: tensor.detach().clone().contiguous() for name, tensor in sorted(state.items())}

    def config(self, adapter: str) -> Any:
        """An adapter's peft config."""
        assert self._peft is not None
        return self._peft.peft_config[adapter]

    def kind(self, adapter: str) -> tuple[int, frozenset[str]]:
        """An adapter's rank, and the layers that carry it: what its products' shapes depend on."""
        config = self.config(adapter)
        return config.r, frozenset(config.target_modules)

    @contextmanager
    def stirred(self, adapter: str) -> Iterator[None]:
        """While an adapter holds fixed random weights; a fresh one adds exact zeros, which hides how sums round."""
        parameters = list(self.parameters(adapter).values())
        generator = torch.Generator().manual_seed(0)
        # Written outside inference mode: layers notice a change by the parameter's version, which is not counted in it.
        with torch.inference_mode(False), torch.no_grad():
            before = [parameter.clone() for parameter in parameters]
            for parameter in parameters:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        try:
            yield
        finally:
            with torch.inference_mode(False), torch.no_grad():
                for parameter, values in zip(parameters, before, strict=True):
                    parameter.copy_(values)

    def parameters(self, adapter: str) -> dict[str, torch.nn.Parameter]:
        """An adapter's parameters, sorted by name; the names leave out the adapter's own, so that adapters compare."""
        mark = f".{adapter}."
        return {
            name.replace(mark, "."): parameter
            for name, parameter in sorted(self._model.named_parameters())
            if mark in name
        }

    def train_only(self, adapter: str) -> None:
        """Makes one adapter's parameters trainable, and freezes all others."""
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(f".{adapter}." in name)

    def _add(self, config: LoraConfig, seed: int | None) -> str:
        adapter = f"adapter{next(self._numbers)}"
        config.base_model_name_or_path = None  # peft fills in the path that the base model was loaded from
        config._register_custom_module({nn.Linear: AdapterLinear, Conv1D: AdapterLinear})
        # peft draws A from torch's global generator: seeded here, and restored for whoever else uses it.
        with torch.random.fork_rng(devices=[]), peft_quiet():
            torch.manual_seed(0 if seed is None else seed)
            if self._peft is None:
                self._peft = PeftModel(bare(self._model), config, adapter_name=adapter)  # pyright: ignore
            else:
                self._peft.add_adapter(adapter, config)
        self._layers = [module for module in self._model.modules() if isinstance(module, AdapterLinear)]
        return adapter

    def _reused(self, config: LoraConfig) -> str | None:
        """The spare adapter, if a new one would be like it but for the weights, which the caller overwrites."""
        name = self._spare
        if name is None or _content(self.config(name)) != _content(config):
            return None
        self._spare = None
        for parameter in self.parameters(name).values():
            parameter.grad = None  # it may have been trained
        return name

    def _targets(self, shape: LoraShape) -> list[str]:
        """Names of the linear layers that carry the adapter, in the form that peft takes."""
        names = self.targets.spelled(shape.parts)
        if not names:
            raise LocalEngineError(f"model {self._model_name!r} has no linear layer in any of {sorted(shape.parts)}")
        return names


def _content(config: LoraConfig) -> dict[str, Any]:
    """What a config says of its adapter's shape and scaling."""
    about = ("base_model_name_or_path", "inference_mode", "peft_version", "revision")
    return {key: value for key, value in config.to_dict().items() if key not in about}


def _percent(share: float) -> str:
    """A share in percent; a share below 1 is never shown as 100 %."""
    return f"{100 if share == 1 else min(99.9, 100 * share):.3g} %"
