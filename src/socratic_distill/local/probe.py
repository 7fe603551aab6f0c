"""Tests that a model must pass before the engine runs it."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from socratic_distill.local.prefixes import BLOCK
from socratic_distill.local.slots import CacheShape, Pass, Slots
from socratic_distill.local.targets import is_linear
from socratic_distill.text import get_logger

_log = get_logger(__name__)
# Names that configs have for the longest context, for a window of attention, and decoders for what they keep.
CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length")
_WINDOWS = ("sliding_window", "window_size", "attention_window_size", "attention_chunk_size")
_STATES = ("cache", "past_key_values", "cache_params", "state")
# Settings that change logits after the output layer, each with the value that changes nothing; None never does.
_AFTER_OUTPUT = {"final_logit_softcapping": None, "logit_scale": 1, "logits_scaling": 1}
_BY_DISTANCE = frozenset({"bloom", "mpt"})
# In these, kernels for GPUs read the weights of `out_proj` without calling it, and peft refuses it.
_READ_BY_KERNELS = frozenset({"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"})
_NO_LIMIT = 10**8
_UNSTATED = 2048

MOST_ROWS = 16  # more are not faster
# Rows to compare: first, last and some middle rows of every power of two up to MOST_ROWS.
_TRIED = (0, 1, 2, 3, 5, 7, 10, 15)


class NotFast(Exception):
    """The fast path's assumptions do not hold for a model; the text says which, as the end of a sentence."""


def cache_shape(model: Any, context: int) -> CacheShape:
    """The shape of the keys and values that the fast path caches for each position.

    Args:
        model: the model.
        context: its longest context, in tokens.

    Raises:
        NotFast: the model cannot run with such a cache, its layers do not all have full attention of the same shape,
            or it changes its logits after the output layer.
    """
    if problem := unlike(model.config.get_text_config(), context):
        raise NotFast(problem)
    try:
        cache, own, logits = _trial(model)
    except Exception as error:  # recurrent and hybrid models fail in ways of their own
        raise NotFast(f"a cache of keys and values alone does not run it ({type(error).__name__})") from error
    # transformers chooses the class by the config: sliding windows and linear attention have other classes.
    kinds = {type(layer).__name__ for layer in cache.layers if not _is_full(layer, context)}
    if kinds:
        raise NotFast(f"it has layers without full attention ({', '.join(sorted(kinds))})")
    # On the fast path the output layer runs alone. The tolerance is wide enough for rounding in bf16.
    if not torch.allclose(own.float(), logits.float(), rtol=1e-2, atol=1e-2):
        raise NotFast("it changes its logits after the output layer (soft caps, scales)")
    layers: list[Any] = list(cache.layers)
    shapes = {(tuple(layer.keys.shape), tuple(layer.values.shape)) for layer in layers}
    if len(shapes) != 1:
        raise NotFast("its attention layers have different shapes")
    ((_, heads, _, key), (_, _, _, value)) = shapes.pop()  # [1, heads, 2, key] and [1, heads, 2, value]
    return CacheShape(len(layers), heads, key, value, layers[0].keys.dtype, model.device)


def unlike(config: Any, context: int) -> str | None:
    """What a config says against the fast path, even where a trial on a short prompt would not show it."""
    if getattr(config, "alibi", False) or config.model_type in _BY_DISTANCE:
        return "its attention has a bias by distance (ALiBi)"
    for name, neutral in _AFTER_OUTPUT.items():
        if getattr(config, name, None) not in (None, neutral):
            return f"it changes its logits after the output layer ({name})"
    for name in _WINDOWS:
        width = getattr(config, name, None)
        kinds = getattr(config, "attention_layers", None) or ["local"]  # of GPT-Neo, whose window is always set
        if isinstance(width, int) and 0 < width < context and "local" in kinds:
            return f"its attention has a window of {width} tokens ({name})"
    return None


def _is_full(layer: Any, context: int) -> bool:
    """Whether a layer of transformers' cache holds every position of the longest context."""
    kind = type(layer).__name__
    return kind == "DynamicLayer" or (kind == "DynamicSlidingWindowLayer" and layer.sliding_window >= context)


def context_length(model: Any, tokenizer: Any, name: str) -> int:
    """The longest context that a model or its tokenizer states, in tokens; 2048 if neither states one.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        name: as the user wrote it.
    """
    config = model.config.get_text_config()
    stated = [getattr(config, key, None) for key in CONTEXTS] + [getattr(tokenizer, "model_max_length", None)]
    # Tokenizers of models without a limit have a huge number here.
    for value in stated:
        if isinstance(value, int) and 0 < value < _NO_LIMIT:
            return value
    # Attention by distance and recurrent states have no limit of their own, but memory has.
    _log.warning("model %r states no context length; prompt and reply may have %d tokens together", name, _UNSTATED)
    return _UNSTATED


def _trial(model: Any) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """Reads two tokens: the cache after them, and logits of the output layer and of the whole model, `[1, 2, V]`."""
    cache = DynamicCache(config=model.config)
    tokens = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    with torch.inference_mode():
        outputs = model.get_decoder()(input_ids=tokens, use_cache=True, **{cache_argument(model): cache})
        logits = model(input_ids=tokens, use_cache=False).logits
        return cache, model.get_output_embeddings()(outputs.last_hidden_state), logits


def idle_layers(model: Any) -> frozenset[str]:
    """Paths of the linear layers that a forward pass does not call: their weights may be used, but not by a call.

    A LoRA on such a layer would do nothing. Experts are left out, since a few tokens do not reach all of them.
    """
    layers = {path: module for path, module in model.named_modules() if is_linear(module) and "expert" not in path}
    called: set[str] = set()
    hooks = [layer.register_forward_hook(lambda *_, path=path: called.add(path)) for path, layer in layers.items()]
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=model.device), use_cache=False)
    except Exception:  # `check_reading` meets the error again, and reports it
        return frozenset()
    finally:
        for hook in hooks:
            hook.remove()
    if model.config.get_text_config().model_type in _READ_BY_KERNELS:
        called = {path for path in called if not path.endswith(".out_proj")}
    return frozenset(layers.keys() - called)


def cache_argument(model: Any) -> str:
    """The name of the decoder's argument for keys and values.

    It is `cache` from transformers 5.24 on, which warns of the older `past_key_values`. Models with code of their own
    may keep the older name.
    """
    return "cache" if "cache" in inspect.signature(model.get_decoder().forward).parameters else "past_key_values"


def state_argument(model: Any) -> str | None:
    """The name of the decoder's argument for what it keeps between passes, whatever that is; None if it keeps none."""
    parameters = inspect.signature(model.get_decoder().forward).parameters
    if "use_cache" not in parameters:
        return None
    return next((name for name in _STATES if name in parameters), None)


def state_of(outputs: Any) -> Any:
    """What a decoder kept, from its outputs; None if it kept nothing."""
    return next((outputs[name] for name in _STATES if outputs.get(name) is not None), None)


def alike_rows(read: Callable[[torch.Tensor, Pass], torch.Tensor], shape: CacheShape, words: int) -> int:
    """How many blocks of tokens may be read together so that each gives the same bits as alone, on this machine.

    Matrix libraries choose kernels by size, and kernels round differently; only a trial shows where they switch.

    Args:
        read: reads tokens `[B, n]` into the slots of a pass.
        shape: shape of the cache.
        words: size of the vocabulary.

    Returns:
        A power of two; all smaller powers passed the test too.
    """
    tokens = torch.randint(words, (MOST_ROWS, 2 * BLOCK), generator=torch.Generator().manual_seed(0))

    # Two blocks each: the second attends to the first, so it also tests attention over earlier positions.
    def slots_of(part: torch.Tensor) -> Slots:
        slots = Slots(shape, len(part), 2 * BLOCK)
        for start in (0, BLOCK):
            read(part[:, start : start + BLOCK], Pass(slots, range(len(part)), [start] * len(part), BLOCK))
        return slots

    with torch.inference_mode():
        alone = {row: slots_of(tokens[row : row + 1]) for row in _TRIED}
        count = 1
        while count < MOST_ROWS:
            together = slots_of(tokens[: 2 * count])
            for row in (row for row in _TRIED if row < 2 * count):
                for name in ("keys", "values"):
                    if not torch.equal(getattr(together, name)[:, row], getattr(alone[row], name)[:, 0]):
                        return count
            count *= 2
    return count
