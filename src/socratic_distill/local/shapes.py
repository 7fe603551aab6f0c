"""A model without its weights: torch's `meta` device knows shapes alone, and so how many bytes a pass takes.

The passes are the engine's own, on the layers that it computes with, so that the bytes follow what it does.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from socratic_distill.errors import LocalEngineError
from socratic_distill.local.adapters import Adapters, LoraShape
from socratic_distill.local.attention import quicken_attention, restore_attention
from socratic_distill.local.base_model import BaseModel, Weights, checkpointing_layers, recomputing
from socratic_distill.local.counting import Counter, Fused
from socratic_distill.local.layers import quicken
from socratic_distill.local.machine import Machine
from socratic_distill.local.models import ModelSource
from socratic_distill.local.norms import quicken_norms
from socratic_distill.local.prefixes import BLOCK
from socratic_distill.local.probe import CONTEXTS, MOST_ROWS, cache_argument, unlike
from socratic_distill.local.quantized import saved_bytes
from socratic_distill.local.shared import parts, read_sequences
from socratic_distill.local.slots import CacheShape, Pass, Slots

_META = torch.device("meta")
_KNOWN: dict[Any, Any] = {}
_DRAFT = 2  # tokens to find the shape of the cache with


class Shapes:
    """One model's shape, with an adapter's on it.

    Attributes:
        is_general: whether the general path reads the model, by what its config says.
        parameters: number of base weights.
        weight_bytes: of the base weights and buffers.
        unpacked_bytes: what dequantising a GGUF file takes besides; 0 for other models, and after the first time.
        adapter_bytes: of one adapter.
        position_bytes: of the keys and values of one position.
        context: longest context, in tokens; None if the config states none.
        vocabulary: rows of the output layer.
        dtype: that the engine computes in.
    """

    def __init__(self, source: ModelSource, machine: Machine, shape: LoraShape) -> None:
        """Builds the model on the `meta` device.

        Args:
            source: where its config is.
            machine: that it would be computed on.
            shape: of the adapter.
        """
        config: Any = AutoConfig.from_pretrained(source.source, **source.options)
        if getattr(config, "quantization_config", None) is not None and source.stored is None:
            raise LocalEngineError("its weights are stored quantised, and how many bytes they take is not known")
        self.dtype = machine.precision(source.stored or config.dtype)
        self._machine = replace(machine, device=_META)
        with _META:
            trusted = source.options["trust_remote_code"]
            model = AutoModelForCausalLM.from_config(config, dtype=self.dtype, trust_remote_code=trusted)
        self._model: Any = model.requires_grad_(False).eval()
        text = config.get_text_config()
        self.context = next((v for key in CONTEXTS if isinstance(v := getattr(text, key, None), int) and v > 0), None)
        self.is_general = unlike(text, self.context or 0) is not None
        self.vocabulary = model.get_output_embeddings().weight.shape[0]
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.weight_bytes = _bytes([*model.parameters(), *model.buffers()])
        if machine.quantized:
            self.weight_bytes -= saved_bytes(model)
        self.unpacked_bytes = 0 if source.gguf_file is None else self.parameters * torch.float32.itemsize
        quicken(model)
        quicken_norms(model)
        if not self.is_general:
            quicken_attention(model, machine)
        self._layers: list[torch.nn.Module] = []
        if machine.gradient_checkpointing:
            # Nothing random is recomputed, and the states of a `meta` generator could not be kept.
            options = {"use_reentrant": False, "preserve_rng_state": False, "context_fn": _when_recomputed}
            model.activation_checkpointing_enable(options)
            self._layers = checkpointing_layers(model)
        with _META:
            adapters = Adapters(model, source.source)
            adapter = adapters.add(shape, seed=0)
        adapters.train_only(adapter)
        adapters.switch(adapter)
        self._trained = list(adapters.parameters(adapter).values())
        self.adapter_bytes = _bytes(self._trained)
        self._depth = _depth(self._model)
        self._counts: dict[Any, int] = {}
        self._cache = self._cache_shape()
        self.position_bytes = self._cache.position_bytes

    def training_bytes(self, sequences: Sequence[list[int]]) -> int:
        """Most bytes that a training pass over some sequences holds in addition to weights and gradients.

        Args:
            sequences: tokens of the data of a batch; they are divided into passes as the engine divides them.
        """
        passes = parts(sequences, self._machine, alone=self.is_general)
        alike = {tuple(len(sequences[i]) for i in indices): [sequences[i] for i in indices] for indices in passes}
        return max(
            self._remembered(("training", sizes), lambda data=data: self._training_of_all_layers(data))
            for sizes, data in alike.items()
        )

    def reading_bytes(self, rows: int, width: int) -> int:
        """Most bytes that a pass of sampling or scoring holds in addition to weights, keys and values.

        Args:
            rows: sequences that are read at once.
            width: positions of each.
        """
        sizes = [(1, 0, width)] if self.is_general else self._slot_sizes(rows, width)
        return max(self._remembered(("reading", *size), lambda size=size: self._reading(*size)) for size in sizes)

    def _slot_sizes(self, rows: int, width: int) -> list[tuple[int, int, int]]:
        """Rows, earlier positions and new positions of the passes that take most."""
        # A whole prompt, the last block of long ones, and one token of each reply.
        whole = max(1, min(rows, self._machine.pass_tokens // width))
        block = min(BLOCK, width)
        last = max(1, min(rows, MOST_ROWS))
        return [(whole, 0, width), (last, width - block, block), (rows, width - 1, 1)]

    @property
    def _weights(self) -> Weights:
        """The engine's own forward pass, on a stand-in for its model: it needs only these attributes."""
        base = _Base(self._model, self._machine, self.is_general, cache_argument(self._model))
        return Weights(cast(BaseModel, base), None)

    def _remembered(self, key: Any, count: Callable[[], int]) -> int:
        if key not in self._counts:
            self._counts[key] = count()
        return self._counts[key]

    def _training_of_all_layers(self, sequences: Sequence[list[int]]) -> int:
        """What one layer keeps, every layer does: of a stack of equal layers, two show it."""
        if self._depth < 3:
            return self._training_pass(sequences)
        with self._first_layers(1):
            single = self._training_pass(sequences)
        with self._first_layers(2):
            double = self._training_pass(sequences)
        return single + (self._depth - 1) * (double - single)

    def _training_pass(self, sequences: Sequence[list[int]]) -> int:
        for parameter in self._trained:
            parameter.grad = torch.zeros_like(parameter)  # gradients are counted as a part of their own
        with self._counted(gradients=True) as counter, recomputing(self._layers):
            outputs = torch.cat(read_sequences(self._weights, sequences))  # [sum of N, H]
            outputs.backward(torch.ones_like(outputs))
        return counter.peak

    def _reading(self, rows: int, start: int, count: int) -> int:
        """A pass over new positions; on the general path without a cache, which is counted apart."""
        tokens, slots = _zeros(rows, count), None
        if not self.is_general:
            with _META:
                slots = Slots(self._cache, rows, start + count)
        known = [] if slots is None else [slots.keys, slots.values]
        # Without gradients a layer keeps nothing, so one shows the peak of all.
        depth = 1 if self._depth else 0
        with self._first_layers(depth), self._counted(known) as counter, torch.no_grad():
            if slots is None:
                self._weights.outputs(tokens)
            else:
                self._weights.read(tokens, Pass(slots, range(rows), [start] * rows, count))
        return counter.peak

    @contextmanager
    def _first_layers(self, count: int) -> Iterator[None]:
        """While the model has only its first layers; 0: all."""
        decoder = self._model.get_decoder()
        layers = getattr(decoder, "layers", None)
        if count:
            assert layers is not None, "only a model with a depth is shortened"
            decoder.layers = layers[:count]
        try:
            yield
        finally:
            if count:
                decoder.layers = layers

    @contextmanager
    def _counted(self, known: Sequence[torch.Tensor] = (), gradients: bool = False) -> Iterator["Counter"]:
        own = [*self._model.parameters(), *self._model.buffers(), *known]
        own += [parameter.grad for parameter in self._trained if parameter.grad is not None] if gradients else []
        with _as_on_meta(), Counter(own) as counter, torch.set_grad_enabled(gradients):
            yield counter

    def _cache_shape(self) -> CacheShape:
        """The shape of keys and values; a model that keeps something else, or nothing, is on the general path."""
        cache = DynamicCache(config=self._model.config)
        with self._counted(), torch.no_grad():
            self._model.get_decoder()(
                input_ids=_zeros(1, _DRAFT), use_cache=True, **{cache_argument(self._model): cache}
            )
        layers: list[Any] = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
        if not layers or len(layers) < len(cache.layers):
            self.is_general = True
            restore_attention(self._model)
        if not layers:
            return CacheShape(0, 0, 0, 0, self.dtype, _META)
        (_, heads, _, key), (_, _, _, value) = layers[0].keys.shape, layers[0].values.shape
        return CacheShape(len(layers), heads, key, value, layers[0].keys.dtype, _META)


@dataclass(frozen=True)
class _Base:
    """What a forward pass of `Weights` reads of a base model."""

    model: Any
    machine: Machine
    is_general: bool
    cache_argument: str
    state_argument: str | None = None


def shapes_of(source: ModelSource, machine: Machine, shape: LoraShape) -> Shapes:
    """The shapes of a model, remembered for the next run of this process."""
    config = Path(source.source) / "config.json"
    written = config.stat().st_mtime_ns if config.is_file() else None
    key = (source.source, str(source.options), source.stored, written, machine, shape)
    if key not in _KNOWN:
        _KNOWN[key] = Shapes(source, machine, shape)
    return _KNOWN[key]


def _when_recomputed() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a layer's first pass and of its second: torch leaves modes of functions out of the second."""
    return nullcontext(), _as_on_meta()


@contextmanager
def _as_on_meta() -> Iterator[None]:
    with _META, Fused():
        yield


def _depth(model: Any) -> int:
    """Number of the decoder's layers if all are equal in kind and shape; else 0."""
    layers = getattr(model.get_decoder(), "layers", None)
    if not isinstance(layers, torch.nn.ModuleList):
        return 0
    shapes = {tuple((name, tuple(p.shape)) for name, p in layer.named_parameters()) for layer in layers}
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["the only one"])
    return len(layers) if len(shapes) == len(kinds) == 1 else 0


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    """Bytes of tensors; one that is used twice, such as a tied output layer, counts once."""
    return sum({id(tensor): tensor.nbytes for tensor in tensors}.values())


def _zeros(rows: int, count: int) -> torch.Tensor:
    return torch.zeros((rows, count), dtype=torch.long, device=_META)
