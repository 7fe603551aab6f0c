"""GGUF files: dequantised once, and kept as a directory that transformers opens in seconds."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from socratic_distill.text import get_logger

_log = get_logger(__name__)
# Part of a directory's name: a change of what is written here must not find what was written before.
_FORMAT = 1


def cached_directory(path: Path, dtype: torch.dtype) -> Path | None:
    """Where a file's dequantised model is kept, once it is; None before that."""
    directory = _place(path, dtype)
    return directory if directory.is_dir() else None


def keep(path: Path, dtype: torch.dtype, model: Any, tokenizer: Any) -> None:
    """Keeps a dequantised model; where the disk does not allow it, the next start takes as long as this one."""
    directory = _place(path, dtype)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=directory.parent))
    except OSError as error:
        _log.warning("%s is not kept dequantised in %s: %s", path, directory.parent, error)
        return
    # The weights are plain by now, but transformers refuses to save what it still calls quantised.
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer.remove_quantization_config(model)
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        os.rename(partial, directory)
        _log.info("%s is kept dequantised in %s", path, directory)
    except (OSError, SafetensorError) as error:
        if not directory.is_dir():  # else another process was quicker
            _log.warning("%s is not kept dequantised in %s: %s", path, directory, error)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def split_as_trained(tokenizer: Any, path: Path) -> None:
    """Splits text before byte-pair encoding as the GGUF file says; transformers takes GPT-2's way for all.

    "smollm" makes every digit a piece of its own first, so that white space before a number is split otherwise.
    """
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    field = GGUFReader(path).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        )


def _place(path: Path, dtype: torch.dtype) -> Path:
    """The directory of a file as it is now: a file that was replaced has another."""
    file = path.resolve()
    facts = file.stat()
    what = json.dumps([_FORMAT, str(file), facts.st_size, facts.st_mtime_ns, str(dtype)])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "socratic-distill" / f"{file.stem}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
