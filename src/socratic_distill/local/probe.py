"""Tests that a model must pass before the engine runs it."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from socratic_distill.errors import LocalEngineError
from socratic_distill.local.prefixes import BLOCK
from socratic_distill.local.slots import CacheShape, Pass, Slots

_MOST_ROWS = 16  # more are not faster
# Rows to compare: first, last and some middle rows of every power of two up to _MOST_ROWS.
_TRIED = (0, 1, 2, 3, 5, 7, 10, 15)


def cache_shape(model: Any, name: str) -> CacheShape:
    """The shape of the keys and values that the model caches for each position.

    Raises:
        LocalEngineError: the model cannot run with such a cache, its layers do not all have full attention of the same
            shape, it changes its logits after the output layer, or it does not state the length of its context.
    """
    try:
        cache, own, logits = _trial(model)
    except Exception as error:  # recurrent and hybrid models fail in ways of their own
        raise LocalEngineError(
            f"model {name!r} has the architecture {type(model).__name__}, which the local engine does not run: "
            f"{type(error).__name__}: {error}. Use Tinker or a self-hosted server for it (base_url), or a model with "
            "full attention in all layers, such as a Llama, Qwen2, Qwen3 or SmolLM"
        ) from error
    if not isinstance(getattr(model.config, "max_position_embeddings", None), int):
        raise LocalEngineError(
            f"model {name!r} ({type(model).__name__}) does not state its context length: the local engine needs "
            "max_position_embeddings in its config.json. Use Tinker or a self-hosted server for it (base_url)"
        )
    # transformers chooses the class by the config: sliding windows and linear attention have other classes.
    kinds = {type(layer).__name__ for layer in cache.layers}
    if kinds != {"DynamicLayer"}:
        raise LocalEngineError(
            f"model {name!r} ({type(model).__name__}) has layers without full attention "
            f"({', '.join(sorted(kinds))}), which the local engine does not run. Use Tinker or a self-hosted server "
            "for it (base_url)"
        )
    # `Weights.logits` applies the output layer alone. The tolerance is wide enough for rounding in bf16.
    if not torch.allclose(own.float(), logits.float(), rtol=1e-2, atol=1e-2):
        raise LocalEngineError(
            f"model {name!r} changes its logits after the output layer (soft caps, scales), which the local engine "
            "does not do. Use Tinker or a self-hosted server for it (base_url)"
        )
    layers: list[Any] = list(cache.layers)
    shapes = {(tuple(layer.keys.shape), tuple(layer.values.shape)) for layer in layers}
    if len(shapes) != 1:
        raise LocalEngineError(
            f"model {name!r} has attention layers of different shapes, which the local engine does not run. Use Tinker "
            "or a self-hosted server for it (base_url)"
        )
    ((_, heads, _, key), (_, _, _, value)) = shapes.pop()  # [1, heads, 2, key] and [1, heads, 2, value]
    return CacheShape(len(layers), heads, key, value, layers[0].keys.dtype, model.device)


def _trial(model: Any) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """Reads two tokens: the cache after them, and logits of the output layer and of the whole model, `[1, 2, V]`."""
    cache = DynamicCache(config=model.config)
    tokens = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    with torch.inference_mode():
        outputs = model.get_decoder()(input_ids=tokens, use_cache=True, **{cache_argument(model): cache})
        logits = model(input_ids=tokens, use_cache=False).logits
        return cache, model.get_output_embeddings()(outputs.last_hidden_state), logits


def cache_argument(model: Any) -> str:
    """The name of the decoder's argument for keys and values.

    It is `cache` from transformers 5.24 on, which warns of the older `past_key_values`. Models with code of their own
    may keep the older name.
    """
    return "cache" if "cache" in inspect.signature(model.get_decoder().forward).parameters else "past_key_values"


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
    tokens = torch.randint(words, (_MOST_ROWS, 2 * BLOCK), generator=torch.Generator().manual_seed(0))

    # Two blocks each: the second attends to the first, so it also tests attention over earlier positions.
    def slots_of(part: torch.Tensor) -> Slots:
        slots = Slots(shape, len(part), 2 * BLOCK)
        for start in (0, BLOCK):
            read(part[:, start : start + BLOCK], Pass(slots, range(len(part)), [start] * len(part), BLOCK))
        return slots

    with torch.inference_mode():
        alone = {row: slots_of(tokens[row : row + 1]) for row in _TRIED}
        count = 1
        while count < _MOST_ROWS:
            together = slots_of(tokens[: 2 * count])
            for row in (row for row in _TRIED if row < 2 * count):
                for name in ("keys", "values"):
                    if not torch.equal(getattr(together, name)[:, row], getattr(alone[row], name)[:, 0]):
                        return count
            count *= 2
    return count
