"""A base model with LoRA adapters on it, through peft: one per training client and per set of sampler weights."""

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers.modeling_layers import GradientCheckpointingLayer

from socratic_distill.errors import DamagedWeights, LocalEngineError
from socratic_distill.local.attention import quicken_attention
from socratic_distill.local.layers import AdapterLinear, BaseLinear, quicken
from socratic_distill.local.machine import Machine
from socratic_distill.local.models import load_base_model
from socratic_distill.local.prefixes import PrefixMemory
from socratic_distill.local.probe import cache_shape, keeps_bits
from socratic_distill.local.slots import Pass

# As Tinker's service scales its adapters.
LORA_ALPHA = 32
# Blocks of prompts that are read together, where that does not change their bits.
_BLOCK_ROWS = 4
# Bounds the logits held at a time: positions x vocabulary, 16 MiB in fp32.
_LOGITS_BUDGET = 2**22


@dataclass(frozen=True)
class LoraShape:
    """Size and place of an adapter: its rank, and which modules carry it."""

    rank: int
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True


class BaseModel:
    """One base model; its weights are held once, whoever uses it.

    Only the scheduler's worker thread may call the methods that switch or run adapters.

    Args:
        name: as the user wrote it.
        trust_remote_code: whether code among the model's files may run.
        machine: where and how precisely to compute.

    Raises:
        LocalEngineError: the model cannot be had, or is of a kind that the engine does not run.
    """

    def __init__(self, name: str, trust_remote_code: bool, machine: Machine) -> None:
        self.name = name
        self.machine = machine
        self.model, self.tokenizer = load_base_model(name, trust_remote_code, machine)
        self.shape = cache_shape(self.model, name)
        self.prefixes = PrefixMemory()
        quicken(self.model)
        quicken_attention(self.model, machine)
        self._layers: list[torch.nn.Module] = []
        if machine.gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
            self._layers = [m for m in self.model.modules() if isinstance(m, GradientCheckpointingLayer)]
        # Taken down before the first adapter, which puts peft's layers in their places.
        self._linear = [path for path, module in self.model.named_modules() if isinstance(module, torch.nn.Linear)]
        self._peft: PeftModel | None = None
        self._numbers = itertools.count(1)

    @property
    def max_context(self) -> int:
        """Longest context, in tokens."""
        return self.model.config.max_position_embeddings

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model knows."""
        return self.model.get_input_embeddings().num_embeddings

    @cached_property
    def block_rows(self) -> int:
        """Blocks of prompts that are read together."""
        alike = keeps_bits(Weights(self, None).read, self.shape, self.vocabulary, _BLOCK_ROWS)
        return _BLOCK_ROWS if alike else 1

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """While gradients are taken: with gradient checkpointing, activations are computed again, not kept.

        Of transformers' training mode this takes that part alone; dropout stays off.
        """
        for layer in self._layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in self._layers:
                layer.training = False

    def room(self, width: int, limit: int) -> int:
        """Sequences of `width` positions whose keys and values fit `limit` bytes; one always does."""
        return max(1, limit // (self.shape.position_bytes * width))

    def add_adapter(self, shape: LoraShape, seed: int | None) -> str:
        """Adds an adapter that changes nothing yet (its B is zero); gives its name."""
        config = LoraConfig(
            r=shape.rank,
            lora_alpha=LORA_ALPHA,
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
            target_modules=self._targets(shape),
        )
        return self._add(config, seed)

    def load_adapter(self, config: LoraConfig, tensors: dict[str, torch.Tensor]) -> str:
        """Adds an adapter with saved weights; gives its name.

        Raises:
            DamagedWeights: they do not fit the model.
        """
        config.inference_mode = False
        name = self._add(config, seed=0)
        assert self._peft is not None
        own = get_peft_model_state_dict(self._peft, adapter_name=name, save_embedding_layers=False)
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in tensors.items()}:
            self.drop_adapter(name)
            raise DamagedWeights(f"the saved adapter does not fit model {self.name!r}: other modules or shapes")
        set_peft_model_state_dict(self._peft, tensors, adapter_name=name)
        return name

    def drop_adapter(self, adapter: str) -> None:
        """Frees an adapter; the last one stays, since peft's layers cannot be without any."""
        assert self._peft is not None
        self.prefixes.forget(adapter)
        others = [name for name in self._peft.peft_config if name != adapter]
        if others and adapter in self._peft.peft_config:
            self._peft.set_adapter(others[-1])  # peft keeps naming a deleted adapter as the active one
            self._peft.delete_adapter(adapter)

    def adapter_tensors(self, adapter: str) -> dict[str, torch.Tensor]:
        """The adapter's weights under PEFT's own names, detached copies."""
        assert self._peft is not None
        state = get_peft_model_state_dict(self._peft, adapter_name=adapter, save_embedding_layers=False)
        return {name: tensor.detach().clone().contiguous() for name, tensor in sorted(state.items())}

    def adapter_config(self, adapter: str) -> Any:
        """The adapter's peft config."""
        assert self._peft is not None
        return self._peft.peft_config[adapter]

    def parameters(self, adapter: str) -> dict[str, torch.nn.Parameter]:
        """The adapter's parameters by name, the adapter's own name left out of it, in a fixed order."""
        mark = f".{adapter}."
        return {
            name.replace(mark, "."): parameter
            for name, parameter in sorted(self.model.named_parameters())
            if mark in name
        }

    @contextmanager
    def using(self, adapter: str | None) -> Iterator["Weights"]:
        """The model with one adapter on, or with none."""
        if self._peft is None:
            yield Weights(self, None)
        elif adapter is None:
            with self._peft.disable_adapter():
                yield Weights(self, None)
        else:
            self._peft.set_adapter(adapter)
            yield Weights(self, adapter)

    def _add(self, config: LoraConfig, seed: int | None) -> str:
        adapter = f"adapter{next(self._numbers)}"
        config.base_model_name_or_path = None  # peft fills in where this base was loaded from
        config._register_custom_module({BaseLinear: AdapterLinear})
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # Unmerged, an adapter on a tied output layer leaves the embedding alone: nothing to warn of.
            warnings.filterwarnings("ignore", message=".*tie.*")
            # peft asks transformers for an attribute that transformers is about to rename.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            torch.manual_seed(0 if seed is None else seed)
            if self._peft is None:
                self._peft = get_peft_model(self.model, config, adapter_name=adapter)  # pyright: ignore
            else:
                self._peft.add_adapter(adapter, config)
        return adapter

    def _targets(self, shape: LoraShape) -> list[str]:
        """Names of the linear modules that carry the adapter."""
        wanted = {"attn": shape.train_attn, "mlp": shape.train_mlp, "lm_head": shape.train_unembed}
        parts = [part for part, on in wanted.items() if on]
        targets = {path.rpartition(".")[2] for path in self._linear if any(part in path for part in parts)}
        if not targets:
            raise LocalEngineError(f"model {self.name!r} has no linear layer in any of {parts} to train")
        return sorted(targets)


@dataclass(frozen=True)
class Weights:
    """A base model with one adapter on, or with none, while `BaseModel.using` says so."""

    base: BaseModel
    adapter: str | None

    @property
    def chunk(self) -> int:
        """Positions whose logits are held at a time."""
        return max(1, _LOGITS_BUDGET // self.base.vocabulary)

    def read(self, tokens: torch.Tensor, here: Pass) -> torch.Tensor:
        """Reads tokens `[B, n]` into the slots of a pass; gives the last layer's outputs, `[B, n, H]`."""
        return self.outputs(tokens, here.mask(), here.positions, here)

    def outputs(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
        cache: Any = None,
    ) -> torch.Tensor:
        """The last layer's outputs `[B, n, H]` of tokens `[B, n]`; without a mask, causal."""
        answer = self.base.model.get_decoder()(
            input_ids=tokens.to(self.base.machine.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return answer.last_hidden_state

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Logits of outputs `[N, H]`, in fp32 or wider, `[N, V]`."""
        logits = self.base.model.get_output_embeddings()(outputs)
        return logits if logits.dtype == torch.float64 else logits.float()
