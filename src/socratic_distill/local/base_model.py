"""A base model, and forward passes through it with one adapter or none."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from socratic_distill.local.adapters import Adapters
from socratic_distill.local.attention import quicken_attention, restore_attention
from socratic_distill.local.head import own_logits
from socratic_distill.local.layers import quicken
from socratic_distill.local.machine import Machine
from socratic_distill.local.models import load_base_model
from socratic_distill.local.norms import quicken_norms
from socratic_distill.local.prefixes import PrefixMemory
from socratic_distill.local.probe import (
    NotFast,
    alike_rows,
    cache_argument,
    cache_shape,
    context_length,
    idle_layers,
    state_argument,
    state_of,
)
from socratic_distill.local.quantized import count
from socratic_distill.local.slots import CacheShape, Pass
from socratic_distill.text import get_logger

# Bounds the logits held at a time: positions x vocabulary, 16 MiB in fp32.
LOGITS_BUDGET = 2**22
_log = get_logger(__name__)


def checkpointing_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers whose activations can be recomputed in the backward pass."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextmanager
def recomputing(layers: Sequence[torch.nn.Module]) -> Iterator[None]:
    """While layers are in training mode, in which alone transformers recomputes their activations."""
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False


class BaseModel:
    """One base model, whose weights are held in memory once for all its users.

    Only the scheduler's worker thread may call the methods that switch or run adapters.

    Attributes:
        max_context: longest context, in tokens.
        why_general: why the general path reads the model; empty on the fast path.
        keeps_state: whether the general path keeps the model's cache between the tokens of a reply. Without one it
            reads the whole sequence again for each token.
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
        self.size = sum(count(weight) for weight in self.model.parameters())
        self._tokens = 1 + max(self.tokenizer.get_vocab().values())
        self.max_context = context_length(self.model, self.tokenizer, name)
        self.why_general, self._shape = "", None
        self.cache_argument = cache_argument(self.model)
        self.state_argument = state_argument(self.model)
        self.keeps_state = self.state_argument is not None
        try:
            self._shape = cache_shape(self.model, self.max_context)
        except NotFast as reason:
            self.why_general = str(reason)
        self.prefixes = PrefixMemory()
        self.block_rows: dict[Any, int] = {}  # by kind of adapter; None without one
        quicken(self.model)
        quicken_norms(self.model)
        if not self.is_general:
            quicken_attention(self.model, machine)
        self._layers: list[torch.nn.Module] = []
        if machine.gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
            self._layers = checkpointing_layers(self.model)
        self.adapters = Adapters(self.model, name, idle_layers(self.model))

    @property
    def is_general(self) -> bool:
        """Whether the general path reads the model, not the fast one."""
        return bool(self.why_general)

    @property
    def path(self) -> str:
        """Which path reads the model, and why, in words."""
        if not self.is_general:
            return "the fast path reads it"
        kept = "" if self.keeps_state else "; for each token the whole sequence is read again"
        return f"the general path reads it, one sequence at a time and slower, because {self.why_general}{kept}"

    @property
    def shape(self) -> CacheShape:
        """The shape of the fast path's cache."""
        assert self._shape is not None, "only the fast path has slots"
        return self._shape

    def read_otherwise(self, problem: str) -> bool:
        """Takes the next slower way to read the model; False if there is none.

        Args:
            problem: what is wrong with the present way, as the end of a sentence.
        """
        if not self.is_general:
            self.why_general = f"on the fast path {problem}"
            self.prefixes = PrefixMemory()
            restore_attention(self.model)
            return True
        was_kept, self.keeps_state = self.keeps_state, False
        return was_kept

    def how_computed(self) -> dict[str, Any]:
        """What the bits of a result depend on besides the config and the seeds. To be called by the worker thread."""
        facts: dict[str, Any] = {
            "path": "general" if self.is_general else "fast",
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "torch": torch.__version__,
            "device": self.machine.device.type,
            "quantized": self.machine.quantized,
        }
        if self.machine.device.type == "cpu":
            facts |= {"threads": torch.get_num_threads(), "processor": torch.backends.cpu.get_cpu_capability()}
        return facts

    def warn_if_changed(self, before: Mapping[str, Any]) -> None:
        """Warns if a run that goes on computes in another way than before: the last bits may then differ.

        Args:
            before: `how_computed` when its state was saved.
        """
        now = self.how_computed()
        changed = [
            f"{name} was {before[name]!r} and is {value!r}"
            for name, value in now.items()
            if before.get(name, value) != value
        ]
        if changed:
            _log.warning(
                "the state was saved by an engine that computed otherwise: %s. The run goes on, but its numbers may "
                "differ in the last bits from those of a run without this change",
                ", ".join(changed),
            )

    def announce(self) -> None:
        """Logs once that the slower path reads the model."""
        if self.is_general:
            _log.warning("model %r: %s", self.name, self.path)

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
        with recomputing(self._layers):
            yield

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
        return max(1, LOGITS_BUDGET // self.base.vocabulary)

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
        if self.base.is_general:
            assert mask is None and positions is None and cache is None, "the model makes them itself"
            return self._run(tokens, {})[0]
        # The decoder alone: the whole model would compute logits of all positions, and most are not needed.
        answer = self.base.model.get_decoder()(
            input_ids=tokens.to(self.base.machine.device),
            attention_mask=mask,
            position_ids=positions,
            use_cache=cache is not None,
            **{self.base.cache_argument: cache},
        )
        return answer.last_hidden_state

    def begin(self, tokens: Sequence[int], keep: bool) -> tuple[torch.Tensor, Any]:
        """Reads a prompt by the general path.

        Args:
            tokens: the prompt, `[P]`.
            keep: whether a cache is wanted, for `go_on`.

        Returns:
            The last layer's outputs, `[P, H]`, and the model's own cache, or None.
        """
        options = {"use_cache": True} if keep and self.base.keeps_state else {}
        outputs, cache = self._run(torch.tensor([tokens]), options)
        if options and cache is None:
            self.base.keeps_state = False
        return outputs[0], cache

    def go_on(self, tokens: Sequence[int], cache: Any) -> tuple[torch.Tensor, Any]:
        """Reads one token more by the general path.

        Args:
            tokens: the whole sequence, `[N]`; only its last token is new.
            cache: from `begin` or this method; it is changed. None: the whole sequence is read.

        Returns:
            The last layer's output at the last position, `[1, H]`, and the cache.
        """
        if cache is None:
            return self.begin(tokens, keep=False)[0][-1:], None
        assert self.base.state_argument is not None
        options = {self.base.state_argument: cache, "use_cache": True}
        outputs, cache = self._run(torch.tensor([tokens[-1:]]), options)
        return outputs[0], cache

    def _run(self, tokens: torch.Tensor, options: Mapping[str, Any]) -> tuple[torch.Tensor, Any]:
        """The decoder's outputs `[1, n, H]` for tokens `[1, n]`, and its cache if one is asked for."""
        if self.base.state_argument is not None:
            options = {"use_cache": False, **options}
        answer = self.base.model.get_decoder()(input_ids=tokens.to(self.base.machine.device), **options)
        return answer.last_hidden_state, state_of(answer) if options.get("use_cache") else None

    def logits(self, outputs: torch.Tensor) -> torch.Tensor:
        """Logits of outputs `[N, H]`, in fp32 or wider, `[N, V]`."""
        model = self.base.model
        logits = own_logits(model, outputs) if self.base.is_general else model.get_output_embeddings()(outputs)
        # bf16 keeps fewer than three digits, too few for log-probabilities and their differences.
        return logits if logits.dtype == torch.float64 else logits.float()
