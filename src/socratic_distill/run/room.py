"""Whether a run's directory can be written, and whether its disk has room, found out before anything is spent."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socratic_distill.config.log_path import is_url
from socratic_distill.config.paths import resolved
from socratic_distill.errors import StorageError
from socratic_distill.files.rows import read_object, whole

if TYPE_CHECKING:
    from socratic_distill.config.config import SocraticConfig


# What a run's own files may take before anybody looks again.
_FILES_BYTES = 64 * 2**20
_FLOAT_BYTES = 4
# Weights, and Adam's two moments.
_STATE_COPIES = 3


def check_storage(config: "SocraticConfig", total: int | None = None) -> None:
    """Returns if the run can be written. Leaves no files.

    Args:
        config: its log_path; a URL is left to the store that it names.
        total: batches in the run, where they are known: the local engine's saves are counted too.

    Raises:
        StorageError: log_path cannot be written, or its disk has too little room.
    """
    if is_url(config.log_path):
        return
    directory = nearest_directory(Path(resolved(config.log_path)))
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise StorageError(
            f"log_path={config.log_path!r} cannot be made or written: {error.strerror or error} ({directory}). Take a "
            "log_path that can be written"
        ) from error
    needed = _FILES_BYTES + (local_bytes(config, total) or 0 if total and config.base_url == "local" else 0)
    if free < needed:
        raise StorageError(
            f"log_path={config.log_path!r}: its disk has {_amount(free)} left, and the run takes about "
            f"{_amount(needed)}. Make room, take a log_path on another disk, or save less often (save_every)"
        )


def nearest_directory(path: Path) -> Path:
    """The path, or the nearest of its parents that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def local_bytes(config: "SocraticConfig", total: int) -> int | None:
    """What the local engine saves over a run, about, in bytes; None where the model's shape is not at hand.

    Args:
        config: tutor, rank, and how often states are saved.
        total: batches in the run: sampler weights are saved after each.
    """
    name, grant = config.tutor_model_name, config.grant
    parameters = _lora_parameters(name, config) if grant is None or grant.may_load(name) else None
    if parameters is None:
        return None
    states = 2 + (total // config.save_every if config.save_every else 0)
    return parameters * _FLOAT_BYTES * (total + 1 + _STATE_COPIES * states)


def _lora_parameters(name: str, config: "SocraticConfig") -> int | None:
    """Parameters of the config's LoRA on a Llama-like model."""
    shape = _shape(name)
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    hidden, inner, layers, heads, vocabulary = (whole(shape.get(key)) for key in sizes)
    if not hidden or not inner or not layers or not heads or not vocabulary:
        return None
    head = whole(shape.get("head_dim")) or hidden // heads
    queries, keys = head * heads, head * (whole(shape.get("num_key_value_heads")) or heads)
    widths = {
        "attention": layers * (2 * (hidden + queries) + 2 * (hidden + keys)),
        "mlp": layers * 3 * (hidden + inner),
        "unembed": hidden + vocabulary,
    }
    return config.lora_rank * sum(widths[target] for target in config.lora_targets)


def _shape(name: str) -> Mapping[str, Any]:
    from socratic_distill.local.tiny import MODEL_DIR

    directory = MODEL_DIR if name == "tiny" else Path(resolved(name)).absolute()
    try:
        purpose = "it holds the model's shape"
        return read_object(directory / "config.json", StorageError, purpose, root=Path(directory.anchor)) or {}
    except (StorageError, ValueError):  # a path with a null character is a ValueError
        return {}


def _amount(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
