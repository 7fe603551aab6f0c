"""Finds, for each layer of an adapter, the tensors in the base model's files that its product is added to.

transformers renames tensors when it loads a model, and joins or splits some. Its own tables say how. A layer whose
tensor is only renamed can be merged in the files; one whose tensor is changed in another way cannot.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from socratic_distill.errors import DamagedWeights, UnsupportedAdapter
from socratic_distill.files.tensor_headers import Tensor
from socratic_distill.local.tensor_files import Product

_EXPERT = re.compile(r"(?P<layer>.+\.experts)\.(?P<number>\d+)\.(?P<projection>w[123]|(?:gate|up|down)_proj)\.weight")
# A Tinker service has its own names for these: the projections of experts, the output layer, and the three parts of a
# layer that the model computes at once.
_PROJECTIONS = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
_OUTPUT = "model.unembed_tokens"
_PART = re.compile(r"(?P<layer>.+\.in_proj_)[qkv]")

Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
Change = Callable[[], Product]


@dataclass(frozen=True)
class Adapter:
    """A LoRA to merge.

    Attributes:
        shapes: of the factors A and B, by layer: `[rank, in]` and `[out, rank]`, or `[E, …]` of experts.
        read: reads the factors of a layer, or those of one of its experts; matrices, fp32.
        scale: of their product.
    """

    shapes: Shapes
    read: Callable[[str, int | None], tuple[torch.Tensor, torch.Tensor]]
    scale: float

    def product(self, layer: str, expert: int | None, is_transposed: bool, first: int) -> Product:
        """What is added to a tensor.

        Args:
            layer: of the adapter.
            expert: its number, on experts.
            is_transposed: whether the tensor is `[in, out]`.
            first: the first row that it is added to.
        """
        a, b = self.read(layer, expert)
        b = b * self.scale
        return Product(a.T, b.T, first) if is_transposed else Product(b, a, first)


@dataclass
class MergePlan:
    """What is added to which tensors of the files.

    Attributes:
        changes: make what is added, by name in the files.
        output: name of a new tensor, for an output layer that was tied to the embedding; None if there is none.
        embedding: name in the files of the embedding that the new tensor begins as.
    """

    changes: dict[str, list[Change]] = field(default_factory=dict)
    output: str | None = None
    embedding: str | None = None

    def add(self, name: str, change: Change) -> None:
        """Notes a change of a tensor."""
        self.changes.setdefault(name, []).append(change)


@dataclass(frozen=True)
class _Rows:
    """The rows of a weight that a layer of the adapter is: they begin at `first`, and the parts together have `of`."""

    first: int
    of: int


class _Names:
    """The tensors of a model's files by the names of its parameters, renamed as transformers does it."""

    def __init__(self, model: Any, tensors: Mapping[str, Tensor]) -> None:
        self._renamings, self._converters = _tables(model)
        self._prefix, self._parameters = model.base_model_prefix, model.state_dict()
        self.tensors = tensors
        self.plain: dict[str, str] = {}
        self.experts: dict[str, dict[int, str]] = {}
        for name in sorted(tensors):
            renamed, is_converted = self.renamed(name)
            if not is_converted:
                self.plain[renamed] = name
            if (match := _EXPERT.fullmatch(self._rename(name, ())[0])) is not None:
                projection = _PROJECTIONS.get(match["projection"], match["projection"])
                self.experts.setdefault(f"{match['layer']}.{projection}", {})[int(match["number"])] = name

    def renamed(self, name: str) -> tuple[str, bool]:
        """The parameter that a tensor becomes, and whether more than its name changes."""
        renamed, pattern = self._rename(name, self._converters)
        if renamed not in self._parameters and name in self._parameters:
            return name, False  # transformers then leaves the name as it is
        return renamed, pattern is not None

    def _rename(self, name: str, converters: Sequence[Any]) -> tuple[str, str | None]:
        from transformers.core_model_loading import rename_source_key

        return rename_source_key(name, self._renamings, list(converters), self._prefix, self._parameters)


def plan_merge(adapter: Adapter, model: Any, tensors: Mapping[str, Tensor]) -> MergePlan | None:
    """Plans the merge of an adapter into a model's files; None if a layer's tensor is more than renamed on loading.

    Args:
        adapter: to merge.
        model: of the base model's architecture; on the meta device it needs no memory.
        tensors: of the base model's files.

    Raises:
        DamagedWeights: the adapter does not fit the model.
        UnsupportedAdapter: it is on experts that are not single tensors in the files.
    """
    names, modules, plan = _Names(model, tensors), dict(model.named_modules()), MergePlan()
    head = model.get_output_embeddings()
    output = next((path for path, module in modules.items() if module is head), None)
    for layer in adapter.shapes:
        if layer.rpartition(".")[0].endswith(".experts"):
            for name, expert in _experts(layer, adapter.shapes, names):
                plan.add(name, partial(adapter.product, layer, expert, False, 0))
            continue
        path, rows = _place(layer, adapter.shapes, modules, output)
        weight = modules[path].weight
        is_transposed = isinstance(modules[path], Conv1D)
        _check_shape(layer, adapter.shapes[layer], tuple(weight.shape)[:: -1 if is_transposed else 1], rows)
        name = names.plain.get(f"{path}.weight")
        if path == output and weight is model.get_input_embeddings().weight:
            # The embedding stays as it is; the output layer gets a tensor of its own.
            plan.output, plan.embedding = f"{path}.weight", _embedding(model, modules, names)
            if name is not None or plan.embedding is None or names.renamed(plan.output) != (plan.output, False):
                return None
            name = plan.output
        elif name is None or tensors[name].shape != tuple(weight.shape):
            return None
        plan.add(name, partial(adapter.product, layer, None, is_transposed, rows.first if rows else 0))
    return plan


def _tables(model: Any) -> tuple[list[Any], list[Any]]:
    """The renamings of tensors that transformers has for a model, and its conversions that do more."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming

    mapping = get_model_conversion_mapping(model)
    return (
        [entry for entry in mapping if isinstance(entry, WeightRenaming)],
        [entry for entry in mapping if isinstance(entry, WeightConverter)],
    )


def _place(layer: str, shapes: Shapes, modules: Mapping[str, Any], output: str | None) -> tuple[str, _Rows | None]:
    """The model's module of a layer, and the rows of its weight that the layer is; None for all of them."""
    if layer == _OUTPUT and output is not None and layer not in modules:
        return output, None
    # A service names the layers of a model that also reads images as those of a language model alone.
    for path in (layer, re.sub(r"^model\.", "model.language_model.", layer)):
        if getattr(modules.get(path), "weight", None) is not None:
            return path, None
        match = _PART.fullmatch(path)
        if match is not None and f"{match['layer']}qkv" in modules:
            return f"{match['layer']}qkv", _part_rows(layer, shapes)
    raise DamagedWeights(f"the adapter is on layer {layer!r}, which the base model does not have")


def _part_rows(layer: str, shapes: Shapes) -> _Rows:
    """The rows of queries, keys or values: they follow each other in this order."""
    stem, number = layer[:-1], "qkv".index(layer[-1])
    if missing := [f"{stem}{part}" for part in "qkv" if f"{stem}{part}" not in shapes]:
        raise DamagedWeights(f"the adapter is on {layer!r}, but not on {missing[0]!r}; give another copy of it")
    sizes = [shapes[f"{stem}{part}"][1][0] for part in "qkv"]
    return _Rows(sum(sizes[:number]), sum(sizes))


def _check_shape(
    layer: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], expected: tuple[int, ...], rows: _Rows | None
) -> None:
    inputs, outputs = shapes[0][1], shapes[1][0]
    if (outputs if rows is None else rows.of, inputs) != expected:
        raise DamagedWeights(
            f"the adapter has factors for {outputs} outputs and {inputs} inputs on layer {layer!r}; the base model's "
            f"weight there is for {expected}"
        )


def _embedding(model: Any, modules: Mapping[str, Any], names: _Names) -> str | None:
    """The embedding's tensor in the files; None if there is none."""
    embedding = model.get_input_embeddings()
    path = next(path for path, module in modules.items() if module is embedding)
    return names.plain.get(f"{path}.weight")


def _experts(layer: str, shapes: Shapes, names: _Names) -> Iterator[tuple[str, int]]:
    """The tensors of all experts of a layer, with the experts' numbers; one factor may be shared by all."""
    (a_count, _, inputs), (b_count, outputs, _) = shapes[layer]
    if 0 in (inputs, outputs):
        return  # a service saves empty factors for a projection that the model does not have
    experts = names.experts.get(layer, {})
    if not experts:
        raise UnsupportedAdapter(
            f"the adapter is on experts ({layer}), which the base model's files do not hold one by one. Train with "
            "lora_targets=['attention'], or merge it with the tools of the service that trained it"
        )
    stored = {names.tensors[name].shape for name in experts.values()}
    is_whole = set(experts) == set(range(len(experts)))
    if not is_whole or {a_count, b_count} - {1, len(experts)} or stored != {(outputs, inputs)}:
        raise DamagedWeights(
            f"the adapter has factors for {max(a_count, b_count)} experts with {outputs} outputs and {inputs} inputs "
            f"on {layer!r}; the base model's files have {len(experts)} of shape {min(stored)}"
        )
    yield from ((name, number) for number, name in experts.items())
