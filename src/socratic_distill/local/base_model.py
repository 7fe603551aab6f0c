"""A base model, and forward passes through it with one adapter or none."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from socratic_distill.local.adapters import Adapters
from socratic_distill.local.attention import quicken_attention
from socratic_distill.local.layers import quicken
from socratic_distill.local.machine import Machine
from socratic_distill.local.models import load_base_model
from socratic_distill.local.prefixes import PrefixMemory
from socratic_distill.local.probe import alike_rows, cache_argument, cache_shape
from socratic_distill.local.slots import Pass

# Bounds the logits held at a time: positions x vocabulary, 16 MiB in fp32.
_LOGITS_BUDGET = 2**22


class BaseModel:
    """One base model, whose weights are held in memory once for all its users.

    Only the scheduler's worker thread may call the methods that switch or run adapters.
    """

    def __init__(self, name: str, trust_remote_code: bool, machine: Machine) -> None:
        """Loads the model and makes it ready for adapters.

        Args:
            name: as the user wrote it.
            trust_remote_code: whether code among the model's files may run.
            machine: device and precision.

        Raises:
            LocalEngineError: the model cannot be loaded, or the engine does not run its architecture.
        """
        self.name = name
        self.machine = machine
        self.model, self.tokenizer = load_base_model(name, trust_remote_code, machine)
        self.size = sum(weight.numel() for weight in self.model.parameters())
        self._tokens = 1 + max(self.tokenizer.get_vocab().values())
        self.shape = cache_shape(self.model, name)
        self.cache_argument = cache_argument(self.model)
        self.prefixes = PrefixMemory()
        self.block_rows: dict[Any, int] = {}  # by kind of adapter; None without one
        quicken(self.model)
        quicken_attention(self.model, machine)
        self._layers: list[torch.nn.Module] = []
        if machine.gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
            self._layers = [m for m in self.model.modules() if isinstance(m, GradientCheckpointingLayer)]
        self.adapters = Adapters(self.model, name)

    @property
    def max_context(self) -> int:
        """Longest context, in tokens."""
        return self.model.config.max_position_embeddings

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model has embeddings for."""
        return self.model.get_input_embeddings().num_embeddings

    @property
    def known_tokens(self) -> int:
        """Ids below this may be sampled; further rows of the embeddings are padding, without a text."""
        return min(self._tokens, self.vocabulary)

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """Turns gradient checkpointing on, if chosen: activations are recomputed in the backward pass, not kept.

        transformers checkpoints only layers in training mode. Only the layers' own flags are set, so dropout stays off.
        """
        for layer in self._layers:
            layer.training = True
        try:
            yield
        finally:
            for layer in self._layers:
                layer.training = False

    @contextmanager
    def few_layers(self) -> Iterator[None]:
        """Runs only the model's first two layers, if it has a list of them: enough for a quick trial."""
        decoder = self.model.get_decoder()
        layers = getattr(decoder, "layers", None)
        if not isinstance(layers, torch.nn.ModuleList):
            yield
            return
        decoder.layers = layers[:2]
        try:
            yield
        finally:
            decoder.layers = layers

    def room(self, width: int, limit: int) -> int:
        """Number of sequences of `width` positions whose keys and values fit in `limit` bytes, at least 1."""
        return max(1, limit // (self.shape.position_bytes * width))

    def drop_adapter(self, adapter: str) -> None:
        """Frees an adapter, and forgets the prompts that were read with it."""
        self.prefixes.forget(adapter)
        self.adapters.drop(adapter)

    def using(self, adapter: str | None) -> "Weights":
        """The model with one adapter on, or with none; valid until the next call of this method."""
        self.adapters.switch(adapter)
        return Weights(self, adapter)


@dataclass(frozen=True)
class Weights:
    """A base model with one adapter on, or with none; valid until the next `BaseModel.using`."""

    base: BaseModel
    adapter: str | None

    @property
    def block_rows(self) -> int:
        """Most blocks of prompts to read together; measured once without an adapter, and once for each kind of one."""
        base, known = self.base, self.base.block_rows
        kind = None if self.adapter is None else base.adapters.kind(self.adapter)
        if kind not in known:
            # Whatever the adapter holds now, the answer must be the same: a run that resumes, with trained weights,
            # has to read blocks as the run did that began with fresh ones.
            with base.few_layers(), nullcontext() if self.adapter is None else base.adapters.stirred(self.adapter):
                known[kind] = alike_rows(self.read, base.shape, base.vocabulary)
        return known[kind]

    @property
    def chunk(self) -> int:
        """Number of positions whose logits are computed at a time."""
        return max(1, _LOGITS_BUDGET // self.base.vocabulary)

    def read(self, tokens: torch.Tensor, here: Pass) -> torch.Tensor:
        """Reads tokens `[B, n]` into the slots of a pass; returns the last layer's outputs, `[B, n, H]`."""
        return self.outputs(tokens, here.mask(), here.positions, here)

    def outputs(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
        cache: Any = None,
    ) -> torch.Tensor:
        """The last layer's outputs `[B, n, H]` for tokens `[B, n]`; causal if no mask is given."""
        # The decoder alone: the whole model would compute logits of all positions, and most are not needed.
        answer = self.base.model.get_decoder()(
            input_ids=tokens.to(self.base.machine.device),
            attention_mask=mask,
            position_ids=positions,
            use_cache=cache is not None,
            **{self.base.cache_argument: cache},
        )
        return answer.last_hidden_state

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Logits of outputs `[N, H]`, in fp32 or wider, `[N, V]`."""
        logits = self.base.model.get_output_embeddings()(outputs)
        # bf16 keeps fewer than three digits, too few for log-probabilities and their differences.
        return logits if logits.dtype == torch.float64 else logits.float()
