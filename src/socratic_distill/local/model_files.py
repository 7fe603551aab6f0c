"""Short digests of a local model's files, which a run compares at each start.

They are cheap for models of any size: of a file above 64 MiB, only its size, its header and 64 blocks are read. A
change of single weights in such a file may go unnoticed. A different model, or one that was trained further, does not.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socratic_distill.config.paths import TINY, GivenPath, resolved
from socratic_distill.config.rewards import judge_rewards
from socratic_distill.files.durable import open_regular
from socratic_distill.files.rows import read_file

if TYPE_CHECKING:
    from socratic_distill.config.config import SocraticConfig


_WHOLE_BYTES = 1 << 26
_BLOCKS, _BLOCK_BYTES = 64, 1 << 16
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".index.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
              "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")  # fmt: skip
_CONFIGS = ("config.json", "generation_config.json", "adapter_config.json")
# Fields that differ between copies of the same model.
_NO_CONTENT = ("transformers_version", "_name_or_path")


def model_folder(name: str) -> Path | None:
    """The path of a local model's directory or GGUF file; None for a name on a model hub."""
    if name == TINY:
        from socratic_distill.local.tiny import MODEL_DIR

        return MODEL_DIR
    path = Path(resolved(name))
    return path if "://" not in name and path.exists() else None


def model_paths(config: "SocraticConfig") -> dict[str, str]:
    """The resolved paths of a config's models whose names are paths, by name."""
    names: list[str | None] = [config.tutor_model_name, config.student_model_name, config.teacher_model_name]
    judges = [judge for _, judge in judge_rewards(config.rewards)]
    names += [user.model_name for user in (*config.teachers, config.judge, *judges) if user is not None]
    return {str(name): name.resolved for name in names if isinstance(name, GivenPath)}


def describe_model(name: str) -> str | None:
    """Digests of a local model's files; None for a name on a model hub, or if they cannot be read.

    Paths and times are not included, so a copy of the files counts as the same model.

    Args:
        name: "tiny", a directory, a GGUF file, or a hub's name.
    """
    try:
        path = model_folder(name)
        if path is None:
            return None
        return _describe_directory(path) if path.is_dir() else f"GGUF {_digest([_digest_of(path)])}"
    except (OSError, ValueError):
        return None


def describe_weights(path: str) -> str | None:
    """Digest of weights that the local engine saved, independent of their path; None if they cannot be read."""
    directory = Path(resolved(path))
    try:
        return _digest(_digest_of(directory / name) for name in ("adapter_config.json", "adapter_model.safetensors"))
    except (OSError, ValueError):
        return None


def base_of(facts: Mapping[str, Any], known: Mapping[str, str], may_load: Callable[[str], bool]) -> str:
    """Finds the base model of weights that the local engine saved; run and models may have been moved since.

    Args:
        facts: the contents of the weights' `state.json`.
        known: paths of this run's models, by name; they are tried first.
        may_load: whether the model at a path may be read.

    Returns:
        The first name or path whose files are those that the weights were trained on; if none is, the original name.
    """
    name, content = facts["base_model"], facts.get("base_content")
    if content is None:  # a model of a hub, or saved by an older version
        return name
    path = facts.get("base_path")
    # The models of this run first, then the name, then the path at the time of saving.
    paths = {**known, name: known.get(name, name)} | ({path: path} if isinstance(path, str) else {})
    return next((key for key, path in paths.items() if may_load(path) and describe_model(path) == content), name)


def _describe_directory(directory: Path) -> str:
    files = sorted(path for path in directory.iterdir() if path.is_file())
    config = [[path.name, _of_config(path)] for path in files if path.name in _CONFIGS]
    has_code = any("auto_map" in str(text) for _, text in config)
    # With auto_map the model's own Python code runs, so it counts as part of the config.
    code = [[path.name, _digest_of(path)] for path in files if has_code and path.suffix == ".py"]
    templates = [path for path in files if path.name in TEMPLATES]
    templates += sorted((directory / "additional_chat_templates").glob("*.jinja"))
    tokenizer = [path for path in files if path.name in TOKENIZER or path.suffix == ".tiktoken"]
    weights = [path for path in files if path.name.endswith(_WEIGHTS)]
    parts = {
        "weights": [[path.name, _digest_of(path)] for path in weights],
        "tokenizer": [[path.name, _of_config(path)] for path in tokenizer],
        "template": [[path.name, _digest_of(path)] for path in templates],
        "config": [*config, *code],
    }
    return ", ".join(f"{part} {_digest(digests)}" for part, digests in parts.items())


def _of_config(path: Path) -> Any:
    """The values of a JSON object, without fields that are no content; the digest of any other file."""
    if path.suffix != ".json" or path.stat().st_size > _WHOLE_BYTES:
        return _digest_of(path)
    try:
        stored = json.loads(read_file(path, _root(path)))
    except (ValueError, RecursionError):
        return _digest_of(path)
    return {key: stored[key] for key in stored if key not in _NO_CONTENT} if isinstance(stored, dict) else stored


def _digest_of(path: Path) -> str:
    """Digest of a whole file; of a large one, of its size, its header and evenly spaced blocks."""
    with open_regular(path, root=_root(path)) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= _WHOLE_BYTES:
            return hashlib.sha256(file.read()).hexdigest()
        digest = hashlib.sha256(str(size).encode())
        digest.update(file.read(_header_bytes(file.read(8), size)))
        for block in range(_BLOCKS):
            file.seek(block * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
        return digest.hexdigest()


def _header_bytes(start: bytes, size: int) -> int:
    """Length of a safetensors file's header, which names its tensors and their shapes; 16 MiB for other files."""
    # safetensors begins with the length of its header, 8 bytes, little-endian.
    length = int.from_bytes(start, "little")
    return length if 0 < length <= min(size, _WHOLE_BYTES) else 1 << 24


def _root(path: Path) -> Path:
    """The root of the file system: model files may be links into a cache elsewhere, so any file may be read."""
    return Path(path.anchor or ".")


def _digest(parts: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(list(parts), sort_keys=True).encode()).hexdigest()[:16]
