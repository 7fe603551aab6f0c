"""The Tinker client interface on torch, transformers and peft, in this process.

`base_url="local"` selects it. One base model serves every role; the tutor's weights are LoRA adapters on it.
Importing this package does not import torch; using a client does.

| module | does |
|---|---|
| `service` | the service client |
| `training_client`, `sampling_client`, `rest` | the other clients |
| `engine` | the worker that serves the clients: models, queue, saved weights |
| `scheduler`, `batches` | the queue of calls, and which of them share a batch |
| `base_model`, `models`, `model_files`, `gguf_files` | loads a base model and finds its files |
| `machine` | device and precision |
| `quantized`, `packed` | base weights in four bits |
| `memory`, `demand`, `limits` | estimates the memory of a run, and what there is |
| `shapes`, `counting` | a model without its weights, and the bytes of its passes |
| `layers`, `norms` | linear layers and norms of a frozen model, in fewer steps |
| `parts`, `targets`, `adapters`, `saved_adapters`, `foreign_adapters` | LoRA adapters on a base model |
| `proof` | tests that an adapter trains and changes no other weights |
| `probe` | what a model needs: the fast path or the general one, and its context |
| `works`, `draws` | what is asked of a batch, and the draws of tokens |
| `sampling`, `prefill`, `prefixes`, `slots`, `attention` | the fast path: continuous batching |
| `general`, `head` | the general path: one sequence at a time, with the model's own cache, masks and logits |
| `scoring` | log-probabilities of prompts |
| `reward_model` | scores conversations with a sequence classifier |
| `training`, `losses`, `shared`, `custom` | passes, gradients, AdamW |
| `store`, `saved_paths` | saved weights on disk |
| `merging`, `merge_plan`, `base_files`, `tensor_files`, `merging_loaded` | merges an adapter into its base model |
| `failures` | turns torch's errors into ours |
| `tiny` | the packaged model and its problems |
"""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from socratic_distill.errors import LocalExtraMissing
from socratic_distill.files.extras import how_to_install

if TYPE_CHECKING:
    from socratic_distill.local.rest import LocalRestClient
    from socratic_distill.local.service import LocalServiceClient


# peft imports bitsandbytes where it is installed, and that warns of a kernel that the engine does not use.
logging.getLogger("bitsandbytes.backends").setLevel(logging.ERROR)
_HOME = {"LocalRestClient": "rest", "LocalServiceClient": "service"}
_PACKAGES = ("torch", "transformers", "peft", "safetensors")

__all__ = ["LocalRestClient", "LocalServiceClient"]


def check_installed() -> None:
    """Returns if the packages of the local engine are installed.

    Raises:
        LocalExtraMissing: a package is missing; the message says how to install it.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise LocalExtraMissing(
            f"the local engine needs {', '.join(missing)}, not installed here. {how_to_install('local')}"
        )


def __getattr__(name: str) -> Any:
    """Loads a client on first use, since it imports torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_installed()
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
