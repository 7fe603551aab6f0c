"""Finds the layers of a model that carry a LoRA: its linear layers, by class and position, for any naming scheme.

A linear layer below a decoder block belongs to attention (or its replacement: convolution, state space) or to the MLP.
The output layer is the model's own `get_output_embeddings()`. Routers carry no LoRA: otherwise a token could go to
different experts in two passes over the same tokens. Experts that are fused into one parameter are not layers. They
carry none either, but count in the share that is reported.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from socratic_distill.local.parts import Part, named_part
from socratic_distill.local.quantized import count

# A module with such a child is attention, even if its name does not say so.
_QUERIES = frozenset({"q", "q_proj", "q_a_proj", "qkv", "qkv_proj", "query", "query_key_value", "query_proj"})
_ROUTERS = re.compile(r"router|gating|topk_?gate", re.I)
_GATES = re.compile(r"(^|_)(gate|wg|switch|classifier)$", re.I)


@dataclass(frozen=True)
class Target:
    """One linear layer, or one parameter with linear weights.

    Attributes:
        path: of the layer or the parameter.
        part: the part of the model that it belongs to.
        size: number of weights.
        is_layer: whether it is a layer that can carry a LoRA.
    """

    path: str
    part: Part
    size: int
    is_layer: bool = True


@dataclass(frozen=True)
class Targets:
    """The linear weights of a model, without routers.

    Attributes:
        all: the linear weights, in the order of the model.
        names: paths of all modules of the model.
        output: path of the output layer; None if it is not a linear layer.
    """

    all: tuple[Target, ...]
    names: tuple[str, ...]
    output: str | None

    def layers(self, parts: frozenset[Part]) -> list[str]:
        """Paths of the layers that carry an adapter of these parts."""
        return [target.path for target in self.all if target.is_layer and target.part in parts]

    def share(self, parts: frozenset[Part]) -> float:
        """Share of the linear weights of these parts that an adapter on them reaches, in [0, 1]."""
        wanted = [target for target in self.all if target.part in parts]
        return sum(target.size for target in wanted if target.is_layer) / max(1, sum(t.size for t in wanted))

    def left_out(self, parts: frozenset[Part]) -> list[str]:
        """Paths in these parts that carry no adapter, with * for the numbers of blocks."""
        paths = [target.path for target in self.all if target.part in parts and not target.is_layer]
        return sorted({re.sub(r"\.\d+\.", ".*.", path) for path in paths})

    def spelled(self, parts: frozenset[Part]) -> list[str]:
        """The layers in peft's form: last names if no other module has the same one, else full paths."""
        paths = self.layers(parts)  # peft adapts every module whose path ends in a given name
        names = {path.rpartition(".")[2] for path in paths}
        meant = {name for name in self.names if name.rpartition(".")[2] in names}
        return sorted(names if meant == set(paths) else paths)


def find_targets(model: Any, idle: frozenset[str] = frozenset()) -> Targets:
    """Finds the linear weights of a causal language model that has no adapters yet.

    Args:
        model: the model.
        idle: paths of layers that carry no adapter, since the model never calls them.
    """
    modules = dict(model.named_modules())
    head, decoder = model.get_output_embeddings(), model.get_decoder()
    output = next((path for path, module in modules.items() if module is head), None)
    output = output if is_linear(head) else None
    below = next((path for path, module in modules.items() if module is decoder), "")
    targets = [] if output is None else [Target(output, "unembed", head.weight.numel())]
    reader = _Reader(model, modules, _expert_counts(model.config))
    for path, module in modules.items():
        # Only below the decoder: a model may also hold an encoder of images, which text does not reach.
        if path != output and path.startswith(f"{below}." if below else ""):
            targets += reader.targets(path, module)
    targets = [replace(target, is_layer=False) if target.path in idle else target for target in targets]
    return Targets(tuple(targets), tuple(modules), output)


class _Reader:
    """Classifies the modules of one model."""

    def __init__(self, model: Any, modules: dict[str, nn.Module], expert_counts: frozenset[int]) -> None:
        self._modules = modules
        self._expert_counts = expert_counts
        # Taken off class names: Glm4MoeAttention becomes Attention, and its Moe is not taken for an MLP.
        self._family = type(model.config).__name__.removesuffix("Config").removesuffix("Text")

    def targets(self, path: str, module: nn.Module) -> Iterator[Target]:
        """The linear weights that a module holds itself, not those of its children."""
        line = self._line(path)
        if is_linear(module):
            if not self._is_router(path, module, line):
                # A layer outside of the blocks, such as one that projects the embeddings, carries no LoRA.
                weight: Any = module.weight
                yield Target(path, self._part(line[:-1]), count(weight), is_layer=bool(line))
        elif line and not isinstance(module, nn.Embedding | nn.modules.conv._ConvNd):
            for name, parameter in module.named_parameters(recurse=False):
                # Fused experts are [experts, in, out]; [1, 1, H] is only a vector.
                if parameter.ndim >= 3 and parameter.numel() > max(parameter.shape):
                    yield Target(f"{path}.{name}", self._part(line), parameter.numel(), is_layer=False)

    def _line(self, path: str) -> list[tuple[str, nn.Module]]:
        """Modules from the block down to this one, each with its own name; empty outside of blocks."""
        names = path.split(".")
        for end in range(1, len(names)):  # the outermost ModuleList holds the blocks
            if isinstance(self._modules[".".join(names[:end])], nn.ModuleList):
                return [(names[i], self._modules[".".join(names[: i + 1])]) for i in range(end, len(names))]
        return []

    def _part(self, line: list[tuple[str, nn.Module]]) -> Part:
        for name, module in reversed(line):
            for text in (type(module).__name__.removeprefix(self._family), name):
                if (part := named_part(text)) is not None:
                    return part
            if not _QUERIES.isdisjoint(dict(module.named_children())):
                return "attn"
        return "mlp"

    def _is_router(self, path: str, module: Any, line: list[tuple[str, nn.Module]]) -> bool:
        texts = [name for name, _ in line] + [type(m).__name__.removeprefix(self._family) for _, m in line]
        if any(_ROUTERS.search(text) for text in texts):
            return True
        parent = self._modules[path.rpartition(".")[0]]
        # A router has one output for each expert, or a single one: the gate of a shared expert.
        counts = {1, *self._expert_counts, *_sibling_counts(parent)}
        has_experts = bool(_sibling_counts(parent))
        return _width(module) in counts and (has_experts or _GATES.search(path.rpartition(".")[2]) is not None)


def is_linear(module: Any) -> bool:
    """Whether a module is a linear layer, of either of the classes that carry a LoRA."""
    return isinstance(module, nn.Linear | Conv1D) and module.weight.ndim == 2


def _width(module: Any) -> int:
    return module.nf if isinstance(module, Conv1D) else module.out_features


def _expert_counts(config: Any) -> frozenset[int]:
    """Numbers of experts in a config."""
    named = config.get_text_config().to_dict()
    wanted = {name for name in named if "expert" in name and "per_tok" not in name and "shared" not in name}
    return frozenset(
        named[name] for name in wanted if isinstance(named[name], int) and not isinstance(named[name], bool)
    )


def _sibling_counts(parent: nn.Module) -> set[int]:
    """Numbers of experts in a module's children that are called experts."""
    counts = set()
    for name, child in parent.named_children():
        if "expert" in name and "shared" not in name:
            if isinstance(child, nn.ModuleList):
                counts.add(len(child))
            counts |= {len(p) for p in child.parameters(recurse=False) if p.ndim == 3}
    return counts
