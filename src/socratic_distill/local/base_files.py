"""The files of a base model that is to be merged: where they are, what is in them, and what goes along with a merge."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from socratic_distill.config.paths import TINY, resolved
from socratic_distill.errors import LocalEngineError
from socratic_distill.files.durable import open_regular
from socratic_distill.files.rows import read_object
from socratic_distill.local import gguf_files
from socratic_distill.local.model_files import TEMPLATES, TOKENIZER, model_folder
from socratic_distill.local.tensor_files import TensorFile

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_ALONG = (*TOKENIZER, *TEMPLATES, "generation_config.json", "preprocessor_config.json", "processor_config.json",
          "video_preprocessor_config.json")  # fmt: skip
_PATTERNS = ("*.tiktoken", "additional_chat_templates/*.jinja", "LICENSE*", "NOTICE*")
_FIX = "give another copy of the model"


@dataclass(frozen=True)
class BaseFiles:
    """A base model in safetensors.

    Attributes:
        directory: where it is.
        config: its config.json.
        shards: its files of tensors, in order.
        index: the file that says which tensor is in which of several files; None for a single one.
    """

    directory: Path
    config: dict[str, Any]
    shards: tuple[TensorFile, ...]
    index: dict[str, Any] | None


def find_files(name: str) -> Path | None:
    """The directory with a model's safetensors; None if it has none: weights as pickles, or GGUF not yet dequantised.

    Args:
        name: "tiny", a directory, a `.gguf` file, or a name on the model hub, which is asked.

    Raises:
        LocalEngineError: there is no such model.
    """
    path = Path(resolved(name))
    if name != TINY and path.suffix == ".gguf":
        return gguf_files.cached_directory(path, torch.float32) if path.is_file() else None
    directory = model_folder(name) or _download(name)
    return directory if any((directory / file).is_file() for file in (SINGLE, INDEX)) else None


def read_files(directory: Path) -> BaseFiles:
    """Reads the config of a model in safetensors, and the headers of its files.

    Raises:
        LocalEngineError: a file is missing or damaged, or the weights are quantised.
    """
    config = _object(directory / CONFIG)
    if (directory / SINGLE).is_file():
        return BaseFiles(directory, config, (TensorFile(directory / SINGLE),), None)
    index = _object(directory / INDEX)
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(_is_plain(name) for name in places.values()):
        raise LocalEngineError(f"{directory / INDEX} has no weight_map with names of files; {_FIX}")
    shards = tuple(TensorFile(directory / name) for name in sorted(set(places.values())))
    for shard in shards:
        if strangers := {name for name in shard.tensors if places.get(name) != shard.path.name}:
            raise LocalEngineError(f"{shard.path} holds {min(strangers)!r}, which {INDEX} does not place there; {_FIX}")
    if missing := places.keys() - {name for shard in shards for name in shard.tensors}:
        raise LocalEngineError(f"{directory / INDEX} names {min(missing)!r}, which its file does not hold; {_FIX}")
    return BaseFiles(directory, config, shards, index)


def check_plain(name: str, config: Mapping[str, Any]) -> None:
    """Returns if the weights of a model are not quantised.

    Raises:
        LocalEngineError: they are.
    """
    if config.get("quantization_config") or _inner(config).get("quantization_config"):
        raise LocalEngineError(
            f"the weights of model {name!r} are quantised (quantization_config), and an adapter cannot be added to "
            "them. Serve the adapter with the model (export --adapter), or merge it into the model as it was before "
            "it was quantised"
        )


def copy_along(directory: Path, out: Path, *, with_code: bool) -> None:
    """Copies a model's tokenizer, templates, generation settings and licence.

    Args:
        directory: of the model.
        out: directory to write.
        with_code: whether Python files among the model's files are copied too.

    Raises:
        LocalEngineError: a file cannot be read.
        OSError: a file cannot be written.
    """
    names = [Path(name) for name in _ALONG if (directory / name).is_file()]
    for pattern in (*_PATTERNS, *(["*.py"] if with_code else [])):
        names += sorted(path.relative_to(directory) for path in directory.glob(pattern) if path.is_file())
    for name in names:
        (out / name).parent.mkdir(exist_ok=True)
        try:
            source = open_regular(directory / name, root=Path(directory.absolute().anchor))
        except OSError as error:
            raise LocalEngineError(f"{directory / name} cannot be read: {error.strerror or error}; {_FIX}") from error
        with source, open_regular(out / name, "xb") as target:
            shutil.copyfileobj(source, target)
        if not with_code and name.suffix == ".json":
            drop_code(out / name)


def merged_config(config: Mapping[str, Any], dtype: torch.dtype | None, *, is_untied: bool, with_code: bool) -> str:
    """config.json of a merged model.

    Args:
        config: of the base model.
        dtype: that all weights were converted to; None if they were not.
        is_untied: whether the output layer got weights of its own.
        with_code: whether it may go on naming the classes of the model's own Python files.
    """
    written = {key: value for key, value in config.items() if key != "_name_or_path"}
    if not with_code:
        written.pop("auto_map", None)
    parts = [written, *(value for value in written.values() if isinstance(value, dict))]
    for part in parts if dtype is not None else ():
        if part is written or "dtype" in part or "torch_dtype" in part:
            part.pop("torch_dtype", None)
            part["dtype"] = str(dtype).removeprefix("torch.")
    for part in parts if is_untied else ():
        if part is written or "tie_word_embeddings" in part:
            part["tie_word_embeddings"] = False
    return json.dumps(written, indent=2) + "\n"


def drop_code(path: Path) -> None:
    """Removes the names of Python classes from a JSON file: without its file, a class might be fetched from a hub."""
    stored = _object(path) if b"auto_map" in path.read_bytes() else {}
    if stored.pop("auto_map", None) is not None:
        path.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    wanted = ["*.safetensors", INDEX, CONFIG, *_ALONG, *_PATTERNS, "*.py"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises many kinds
        raise LocalEngineError(
            f"model {name!r} cannot be had from the model hub: {error}. Give 'tiny', a directory with a transformers "
            "model, a .gguf file, or a name on the model hub"
        ) from error


def _object(path: Path) -> dict[str, Any]:
    stored = read_object(path, LocalEngineError, _FIX, root=Path(path.absolute().anchor))
    if stored is None:
        raise LocalEngineError(f"{path} is missing; {_FIX}")
    return stored


def _inner(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else {}


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name == Path(name).name and name.endswith(".safetensors")
