"""Estimates the memory of a run from the shapes of its models, before any weights are loaded.

Some of it is held from the start to the end. The rest is held in turns, since one thread does all work: only the
largest of these phases counts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from socratic_distill.errors import NotEnoughMemory
from socratic_distill.local.base_model import LOGITS_BUDGET
from socratic_distill.local.demand import Demand
from socratic_distill.local.limits import Limit
from socratic_distill.local.machine import Machine
from socratic_distill.local.prefixes import BLOCK, LIMIT
from socratic_distill.local.sampling import MAX_ROWS, SLOT_BYTES
from socratic_distill.local.shapes import Shapes

# The trained adapter, the weights that are played with, the next ones while they are opened, and a spare one.
_ADAPTERS = 4
# Gradients, with the copy that a failed pass would be undone with.
_GRADIENTS = 2
_MOMENTS = 2
# Saving a state copies the adapter and its moments.
_SAVED = 1 + _MOMENTS
# Logits, log-probabilities and weights in fp32, and the sum in fp64 that tokens are drawn by, with room for one more.
_LOGIT_BYTES = 24
# Student, tutor and teacher each read a dialogue under a prompt of their own.
_READERS = 3
# Modules that are imported on the way, and the buffers of matrix libraries.
_LIBRARIES = 96 * 2**20
# Of what a phase frees, allocators keep a part that the next tensors do not fit into.
_KEPT = 0.5
_NAME = 40  # characters of a model's name that the table shows

OpenShapes = Callable[[str, Machine, Demand], Shapes]


@dataclass(frozen=True)
class Estimate:
    """Bytes that a run takes at its peak.

    Attributes:
        held: what is held all the time, by name.
        phases: what is held in turns, by name; the largest counts.
    """

    held: Mapping[str, int]
    phases: Mapping[str, int]

    @property
    def kept(self) -> int:
        """What the allocator and the libraries keep."""
        return _LIBRARIES + int(_KEPT * max(self.phases.values()))

    @property
    def total(self) -> int:
        """The peak."""
        return sum(self.held.values()) + max(self.phases.values()) + self.kept

    def table(self) -> str:
        """The parts, one a line, in MiB."""
        rows = [*self.held.items(), ("the largest of", None)]
        rows += [(f"  {name}", size) for name, size in self.phases.items()]
        rows += [("allocator and libraries", self.kept), ("together", self.total)]
        width = max(len(name) for name, _ in rows)
        lines = [f"  {name:<{width}}" + ("" if size is None else f"  {mib(size):>8} MiB") for name, size in rows]
        return "\n".join(line.rstrip() for line in lines)


def mib(size: int) -> str:
    """Whole MiB, with commas."""
    return f"{round(size / 2**20):,}"


def estimate(demand: Demand, machine: Machine, open_shapes: OpenShapes, loaded: frozenset[str]) -> Estimate:
    """The memory of a run, from the shapes of its models.

    Args:
        demand: the sizes of the run.
        machine: what it would be computed on.
        open_shapes: gives a model's shapes, with the tutor's adapter on it.
        loaded: names of models whose weights are in memory already; these weights are not counted.
    """
    held: dict[str, int] = {}
    sampling = []
    shapes = {name: open_shapes(name, machine, demand) for name in demand.models}
    for name, model in shapes.items():
        if name not in loaded:
            precision = "four bits" if machine.quantized else str(model.dtype).removeprefix("torch.")
            held[f"base weights, {precision}: {_brief(name)}"] = model.weight_bytes
        sampling.append(_sampling(demand, machine, model))
    tutor = shapes[demand.models[0]]
    adapters = _ADAPTERS + demand.other_adapters
    held[f"{adapters} adapters of rank {demand.rank}"] = adapters * tutor.adapter_bytes
    held["gradients"] = _GRADIENTS * tutor.adapter_bytes
    held["AdamW's moments"] = _MOMENTS * tutor.adapter_bytes
    held["remembered prompts"] = sum(_remembered(demand, model) for model in shapes.values())
    phases = {
        "loading": max(0 if name in loaded else model.unpacked_bytes for name, model in shapes.items()),
        "sampling and scoring": max(sampling),
        "training": _training(demand, machine, tutor),
        "saving a state": _SAVED * tutor.adapter_bytes,
    }
    return Estimate(held, phases)


def check(
    demand: Demand, machine: Machine, open_shapes: OpenShapes, loaded: frozenset[str], limit: Limit | None
) -> str:
    """The estimate in words, if it fits.

    Args:
        demand: the sizes of the run.
        machine: what it would be computed on.
        open_shapes: gives a model's shapes, with the tutor's adapter on it.
        loaded: names of models whose weights are in memory already.
        limit: what there is; None: not known, and everything fits.

    Raises:
        NotEnoughMemory: it does not fit; the message has the parts, and what to lower.
    """

    def again(demand: Demand, machine: Machine) -> int:
        return estimate(demand, machine, open_shapes, loaded).total

    needed = estimate(demand, machine, open_shapes, loaded)
    if limit is None:
        return f"memory: about {mib(needed.total)} MiB; how much is free here is not known\n{needed.table()}"
    if needed.total <= limit.free:
        return f"memory: about {mib(needed.total)} MiB of {mib(limit.free)} MiB {limit.source}\n{needed.table()}"
    advice = [*_advice(demand, machine, needed.total, limit.free, again)]
    helps = "".join(f"\n  {line}" for line in advice) or "\n  no setting of this run"
    raise NotEnoughMemory(
        f"the run takes about {mib(needed.total)} MiB of memory, but there are {mib(limit.free)} MiB {limit.source}:\n"
        f"{needed.table()}\nWhat lowers it, each on its own:{helps}\n"
        "Otherwise take a smaller model, a machine with more memory, or a Tinker server (base_url)"
    )


def check_loading(demand: Demand, machine: Machine, open_shapes: OpenShapes, limit: Limit | None) -> None:
    """Returns if the largest model passes through the machine's memory on its way to a GPU.

    Raises:
        NotEnoughMemory: it does not.
    """
    shapes = [open_shapes(name, machine, demand) for name in demand.models]
    needed = max(model.weight_bytes + model.unpacked_bytes for model in shapes)
    if limit is not None and needed > limit.free:
        raise NotEnoughMemory(
            f"the weights of the largest model take {mib(needed)} MiB on their way to the GPU, but there are "
            f"{mib(limit.free)} MiB {limit.source}. Take a smaller model, or a machine with more memory"
        )


def _brief(name: str) -> str:
    """A model's name, or the end of a long path."""
    return name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"


def _sampling(demand: Demand, machine: Machine, model: Shapes) -> int:
    """Keys and values of the sequences that are sampled or scored at once, activations, and logits."""
    width = _width(demand, model)
    if model.is_general:
        # A prompt's cache is copied for each reply but the last.
        rows, cache = 1, 2 * width * model.position_bytes
    else:
        rows = min(MAX_ROWS, max(demand.at_once, demand.group_size), _room(model, width))
        cache = rows * width * model.position_bytes
    logits = max(rows * model.vocabulary, _chunk(machine, model, width)) * _LOGIT_BYTES
    return cache + model.reading_bytes(rows, width) + logits


def _training(demand: Demand, machine: Machine, model: Shapes) -> int:
    """Activations and logits of a pass."""
    longest = _width(demand, model)
    prompt = min(demand.prompt // BLOCK * BLOCK, longest - 1)
    # Dialogues that end early leave room for more of them in a pass, and these repeat more keys and values.
    lengths = {longest, (prompt + longest + 1) // 2}
    activations = max(model.training_bytes(_sequences(demand, machine, prompt, length)) for length in lengths)
    return activations + _chunk(machine, model, longest) * _LOGIT_BYTES


def _sequences(demand: Demand, machine: Machine, prompt: int, length: int) -> list[list[int]]:
    """Data like those of a batch: the dialogues of a group begin alike. As many as there are, or as fill two passes."""
    most = 2 * max(1, machine.pass_tokens // max(1, length - prompt)) + 1
    pairs = [(group, member) for group in range(demand.groups) for member in range(demand.group_size)]
    return [[group] * prompt + [demand.groups + member] * (length - prompt) for group, member in pairs[:most]]


def _width(demand: Demand, model: Shapes) -> int:
    # In whole blocks, so that runs of nearly the same lengths share an estimate.
    longest = max(1, -(-demand.longest // BLOCK)) * BLOCK
    return longest if model.context is None else max(2, min(longest, model.context))


def _room(model: Shapes, width: int) -> int:
    return max(1, SLOT_BYTES // (model.position_bytes * width))


def _chunk(machine: Machine, model: Shapes, width: int) -> int:
    """Logits that are computed at a time."""
    return min(LOGITS_BUDGET, max(machine.pass_tokens, width) * model.vocabulary)


def _remembered(demand: Demand, model: Shapes) -> int:
    """Keys and values of prompts; as long runs go on, as many as are allowed."""
    if model.is_general:
        return 0
    dialogues = demand.batches * demand.groups * demand.group_size
    return min(LIMIT, _READERS * dialogues * _width(demand, model) * model.position_bytes)


def _advice(
    demand: Demand, machine: Machine, needed: int, free: int, again: Callable[[Demand, Machine], int]
) -> Iterator[str]:
    """Settings that lower the estimate by at least a fiftieth, and to what; the mildest of each that fits."""
    for name, choices in _choices(demand, machine):
        last = ""
        for value, other, changed in choices:
            try:
                total = again(other, changed)
            except Exception:  # advice that cannot be computed is left out; the refusal stands
                continue
            if total > 0.98 * needed:
                continue
            last = f"{name}={value}: about {mib(total)} MiB" + (", which fits" if total <= free else "")
            if total <= free:
                break
        if last:
            yield last


def _choices(demand: Demand, machine: Machine) -> Iterator[tuple[str, list[tuple[str, Demand, Machine]]]]:
    if not machine.gradient_checkpointing:
        recomputing = replace(machine, gradient_checkpointing=True)
        yield "an engine of your own with gradient_checkpointing", [("True", demand, recomputing)]
    if not machine.quantized:
        packed = replace(machine, quantized=True)
        yield "an engine of your own with quantization", [("'nf4'", demand, packed)]
    # Shorter contexts than a prompt and two turns would leave no dialogue.
    least, longest = demand.prompt + 2 * demand.reply, demand.longest
    contexts = [longest * share // 8 for share in (6, 4, 3, 2, 1)]
    yield "max_context_tokens", [(str(n), demand.within(n), machine) for n in contexts if n >= least]
    ranks = [demand.rank // 2**halving for halving in (1, 2, 3)]
    yield "lora_rank", [(str(rank), replace(demand, rank=rank), machine) for rank in ranks if rank >= 1]
    if demand.train_unembed and (demand.train_attn or demand.train_mlp):
        others = [name for name, is_on in (("attention", demand.train_attn), ("mlp", demand.train_mlp)) if is_on]
        yield "lora_targets", [(str(others), replace(demand, train_unembed=False), machine)]
    counts = [demand.at_once // 2**halving for halving in (1, 2, 3, 4)]
    yield "max_concurrent_dialogues", [(str(n), replace(demand, at_once=n), machine) for n in counts if n >= 1]
