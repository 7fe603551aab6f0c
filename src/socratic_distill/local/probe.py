"""What the engine must know of a model before it trusts it, found by trying."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from socratic_distill.errors import LocalEngineError
from socratic_distill.local.prefixes import BLOCK
from socratic_distill.local.slots import CacheShape, Pass, Slots

# More would not be faster. Rows are tried at the edges of every number of them, and between.
_MOST_ROWS = 16
_TRIED = (0, 1, 2, 3, 5, 7, 10, 15)


def cache_shape(model: Any, name: str) -> CacheShape:
    """What the model keeps of each position.

    Raises:
        LocalEngineError: it cannot be run with such a cache, keeps something else than keys and values of all positions
            alike, computes its logits in more steps than an output layer, or does not say how long its context is.
    """
    try:
        cache, own, logits = _trial(model)
    except Exception as error:  # recurrent and hybrid models fail in ways of their own
        raise LocalEngineError(
            f"model {name!r} is of the architecture {type(model).__name__}, which the local engine does not run: "
            f"{type(error).__name__}: {error}. Use Tinker or a self-hosted server for it (base_url), or a model with "
            "full attention in all layers, such as a Llama, Qwen2, Qwen3 or SmolLM"
        ) from error
    if not isinstance(getattr(model.config, "max_position_embeddings", None), int):
        raise LocalEngineError(
            f"model {name!r} ({type(model).__name__}) does not say how long its context is (max_position_embeddings in "
            "its config.json), which the local engine needs; use Tinker or a self-hosted server for it (base_url)"
        )
    kinds = {type(layer).__name__ for layer in cache.layers}
    if kinds != {"DynamicLayer"}:
        raise LocalEngineError(
            f"model {name!r} ({type(model).__name__}) has layers of other kinds than full attention "
            f"({', '.join(sorted(kinds))}), which the local engine does not run; use Tinker or a self-hosted server "
            "for it (base_url)"
        )
    if not torch.allclose(own.float(), logits.float(), rtol=1e-2, atol=1e-2):
        raise LocalEngineError(
            f"model {name!r} changes its logits behind the output layer (soft caps, scales), which the local engine "
            "does not do; use Tinker or a self-hosted server for it (base_url)"
        )
    layers: list[Any] = list(cache.layers)
    found = {(tuple(layer.keys.shape), tuple(layer.values.shape)) for layer in layers}
    if len(found) != 1:
        raise LocalEngineError(f"model {name!r} has layers of different shapes, which the local engine does not run")
    ((_, heads, _, key), (_, _, _, value)) = found.pop()
    return CacheShape(len(layers), heads, key, value, layers[0].keys.dtype, model.device)


def _trial(model: Any) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """Reads two tokens: the cache behind them, and logits by the output layer and by the model itself, `[1, 2, V]`."""
    cache = DynamicCache(config=model.config)
    tokens = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    with torch.inference_mode():
        outputs = model.get_decoder()(input_ids=tokens, past_key_values=cache, use_cache=True).last_hidden_state
        logits = model(input_ids=tokens, use_cache=False).logits
        return cache, model.get_output_embeddings()(outputs), logits


def alike_rows(read: Callable[[torch.Tensor, Pass], torch.Tensor], shape: CacheShape, words: int) -> int:
    """How many blocks of tokens may be read together: each then gives the same bits as alone, on this machine.

    Args:
        read: reads tokens `[B, n]` into the slots of a pass.
        shape: what is kept of each position.
        words: size of the vocabulary.

    Returns:
        A power of two; with it, all smaller ones were tried.
    """
    tokens = torch.randint(words, (_MOST_ROWS, 2 * BLOCK), generator=torch.Generator().manual_seed(0))

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
