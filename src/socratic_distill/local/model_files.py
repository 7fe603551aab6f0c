"""What a local model's files hold, as short digests: a run compares them at each start.

Cheap for models of any size: of a file beyond 64 MiB its header, its size and 64 blocks of it count. Such a file whose
change touches single weights alone may go unnoticed; another model, or one that was trained on, does not.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socratic_distill.config.paths import TINY, GivenPath, resolved
from socratic_distill.files.durable import open_regular
from socratic_distill.files.rows import read_file

if TYPE_CHECKING:
    from socratic_distill.config.config import SocraticConfig


_WHOLE_BYTES = 1 << 26
_BLOCKS, _BLOCK_BYTES = 64, 1 << 16
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".index.json")
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
              "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")  # fmt: skip
_CONFIGS = ("config.json", "generation_config.json", "adapter_config.json")
# They say who wrote a config, and from where it was loaded.
_NO_CONTENT = ("transformers_version", "_name_or_path")


def model_place(name: str) -> Path | None:
    """The directory or GGUF file of a local model; None for a name on a model hub."""
    if name == TINY:
        from socratic_distill.local.tiny import MODEL_DIR

        return MODEL_DIR
    path = Path(resolved(name))
    return path if "://" not in name and path.exists() else None


def model_paths(config: "SocraticConfig") -> dict[str, str]:
    """Where the models of a config lie whose names are paths, by name."""
    names: list[str | None] = [config.tutor_model_name, config.student_model_name, config.teacher_model_name]
    names += [one.model_name for one in (*config.teachers, config.judge) if one is not None]
    return {str(name): name.resolved for name in names if isinstance(name, GivenPath)}


def describe_model(name: str) -> str | None:
    """What a local model's files hold; None for a name on a model hub, and where they cannot be read.

    Neither path nor times count, so that a copy of the files is the same model.

    Args:
        name: "tiny", a directory, a GGUF file, or a hub's name.
    """
    try:
        place = model_place(name)
        if place is None:
            return None
        return _describe_directory(place) if place.is_dir() else f"GGUF {_digest([_digest_of(place)])}"
    except (OSError, ValueError):
        return None


def describe_weights(path: str) -> str | None:
    """What saved weights of the local engine hold, wherever they lie; None where they cannot be read."""
    directory = Path(resolved(path))
    try:
        return _digest(_digest_of(directory / name) for name in ("adapter_config.json", "adapter_model.safetensors"))
    except (OSError, ValueError):
        return None


def base_of(facts: Mapping[str, Any], known: Mapping[str, str], may_load: Callable[[str], bool]) -> str:
    """The base model of weights that the local engine saved: a run may have been moved with its models, or alone.

    Args:
        facts: what is known of the weights.
        known: models of this run, by name where they lie; they are tried first.
        may_load: whether a model at a path may be looked at.

    Returns:
        The first name or path whose files are those that the weights were trained on; without one the name of then.
    """
    name, content = facts["base_model"], facts.get("base_content")
    if content is None:  # a hub's, or saved by an older version
        return name
    path = facts.get("base_path")
    places = {**known, name: known.get(name, name)} | ({path: path} if isinstance(path, str) else {})
    return next((here for here, place in places.items() if may_load(place) and describe_model(place) == content), name)


def _describe_directory(directory: Path) -> str:
    files = sorted(path for path in directory.iterdir() if path.is_file())
    config = [[path.name, _of_config(path)] for path in files if path.name in _CONFIGS]
    has_code = any("auto_map" in str(text) for _, text in config)
    code = [[path.name, _digest_of(path)] for path in files if has_code and path.suffix == ".py"]
    templates = [path for path in files if path.name in _TEMPLATES]
    templates += sorted((directory / "additional_chat_templates").glob("*.jinja"))
    tokenizer = [path for path in files if path.name in _TOKENIZER or path.suffix == ".tiktoken"]
    weights = [path for path in files if path.name.endswith(_WEIGHTS)]
    parts = {
        "weights": [[path.name, _digest_of(path)] for path in weights],
        "tokenizer": [[path.name, _of_config(path)] for path in tokenizer],
        "template": [[path.name, _digest_of(path)] for path in templates],
        "config": [*config, *code],
    }
    return ", ".join(f"{part} {_digest(held)}" for part, held in parts.items())


def _of_config(path: Path) -> Any:
    """A JSON object by its values, whatever their order; another file by its text."""
    if path.suffix != ".json" or path.stat().st_size > _WHOLE_BYTES:
        return _digest_of(path)
    try:
        stored = json.loads(read_file(path, _root(path)))
    except (ValueError, RecursionError):
        return _digest_of(path)
    return {key: stored[key] for key in stored if key not in _NO_CONTENT} if isinstance(stored, dict) else stored


def _digest_of(path: Path) -> str:
    """Digest of a file: of all of it, or of its size, its beginning and blocks that lie evenly in it."""
    with open_regular(path, root=_root(path)) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= _WHOLE_BYTES:
            return hashlib.sha256(file.read()).hexdigest()
        found = hashlib.sha256(str(size).encode())
        found.update(file.read(_header_bytes(file.read(8), size)))
        for block in range(_BLOCKS):
            file.seek(block * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
            found.update(file.read(_BLOCK_BYTES))
        return found.hexdigest()


def _header_bytes(start: bytes, size: int) -> int:
    """Length of what a safetensors file begins with: its tensors' names and shapes. Of others, 16 MiB."""
    length = int.from_bytes(start, "little")
    return length if 0 < length <= min(size, _WHOLE_BYTES) else 1 << 24


def _root(path: Path) -> Path:
    """Models on this machine may be links into a cache: any file may be read."""
    return Path(path.anchor or ".")


def _digest(held: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(list(held), sort_keys=True).encode()).hexdigest()[:16]
