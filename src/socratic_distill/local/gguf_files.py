"""Dequantises GGUF files once, and caches them as directories that transformers opens in seconds."""

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
# Part of a directory's name. Raise it when what is written changes, so that older caches are not used.
_FORMAT = 1


def cached_directory(path: Path, dtype: torch.dtype) -> Path | None:
    """The directory of a file's dequantised model; None if it is not cached yet."""
    directory = _place(path, dtype)
    return directory if directory.is_dir() else None


def keep(path: Path, dtype: torch.dtype, model: Any, tokenizer: Any) -> None:
    """Caches a dequantised model; if the disk does not allow it, warns, and the next start takes as long again."""
    directory = _place(path, dtype)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=directory.parent))
    except OSError as error:
        _log.warning("%s was not cached dequantised in %s: %s", path, directory.parent, error)
        return
    mark_dequantised(model)
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        os.rename(partial, directory)
        _log.info("%s was cached dequantised in %s", path, directory)
    except (OSError, SafetensorError) as error:
        if not directory.is_dir():  # else another process was faster
            _log.warning("%s was not cached dequantised in %s: %s", path, directory, error)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def mark_dequantised(model: Any) -> None:
    """Removes the mark of a quantised model: its weights are dequantised, but transformers would refuse to save it."""
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer.remove_quantization_config(model)


def split_as_trained(tokenizer: Any, path: Path) -> None:
    """Sets the pre-tokenizer that the GGUF file names; transformers uses GPT-2's for all files.

    "smollm" first splits off every digit, so that white space before a number is split differently.
    """
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    field = GGUFReader(path).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        )


def _place(path: Path, dtype: torch.dtype) -> Path:
    """The cache directory of a file in its present state; a replaced file gets another one."""
    file = path.resolve()
    facts = file.stat()
    what = json.dumps([_FORMAT, str(file), facts.st_size, facts.st_mtime_ns, str(dtype)])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "socratic-distill" / f"{file.stem}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
