"""The files of a PEFT adapter that another machine sends or another program wrote: names, config and tensors, checked.

peft and transformers are not imported, and no tensor is read.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from socratic_distill.errors import SocraticError
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import parse, read_part, whole
from socratic_distill.files.tensor_headers import Tensor, read_header

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MOST_TEXT_BYTES = 1 << 24
_NEEDED = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
_TEXTS = ("README.md", "LICENSE", "LICENSE.txt", "NOTICE", "NOTICE.txt")
_MOST_FILES, _MOST_NAME, _MOST_PART = 10_000, 1024, 255
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\\:*?\"<>|\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_DTYPES = ("F64", "F32", "F16", "BF16")
# Fields of an adapter_config.json that make peft import a module; an adapter without code of its own has them null.
_CODE = ("auto_mapping", "megatron_config")


def choose_files(names: Iterable[str]) -> list[str]:
    """The files of an adapter among all that a server names; the small ones first.

    Args:
        names: relative paths of files; every one of them is checked, also those that are not taken.

    Raises:
        ValueError: a name is not that of a file within a directory, two are the same on some system, or the adapter's
            own files are missing or of a kind that is not taken. The message is the reason.
    """
    given = list(names)
    if len(given) > _MOST_FILES:
        raise ValueError(f"there are {len(given)} files; expected those of an adapter")
    for name in given:
        if (fault := _fault(name)) is not None:
            raise ValueError(f"a file is named {name!r}, which {fault}; expected names within the directory")
    same: dict[str, str] = {}
    for name in given:
        if (other := same.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)) is not name:
            raise ValueError(f"the files {other!r} and {name!r} are one file on some systems")
    if missing := [name for name in _NEEDED if name not in given]:
        raise ValueError(f"there is no {' and no '.join(missing)}{_why_missing(given)}")
    return [ADAPTER_CONFIG, *(name for name in _TEXTS if name in given), ADAPTER_WEIGHTS]


def check_adapter(directory: Path, base_model: str, error: type[SocraticError]) -> None:
    """Checks an adapter's config and the header of its weights, and fills in its base model if the config has none.

    Args:
        directory: of the files.
        base_model: name or path of the base model.
        error: type of the error that is raised if they are no adapter.

    Raises:
        SocraticError: they are none; the message names the file and the reason.
        StorageError: the config cannot be written.
    """
    config = directory / ADAPTER_CONFIG
    try:
        fields = read_adapter_fields(config)
    except (OSError, ValueError) as reason:
        raise error(f"{config} is no config of a LoRA: {reason}") from reason
    weights = directory / ADAPTER_WEIGHTS
    try:
        _check_tensors(read_header(weights), fields)
    except (OSError, ValueError) as reason:
        raise error(f"{weights} does not hold the weights of a LoRA: {reason}") from reason
    if not fields.get("base_model_name_or_path"):
        filled = {**fields, "base_model_name_or_path": base_model}
        write_atomically(config, json.dumps(filled, indent=2, sort_keys=True) + "\n")


def read_adapter_fields(path: Path) -> dict[str, Any]:
    """The fields of an `adapter_config.json` of a LoRA.

    Raises:
        ValueError: the file is no JSON object, describes no LoRA, or asks for code to be imported.
        OSError: it cannot be read.
    """
    text = read_part(path, MOST_TEXT_BYTES + 1)
    if len(text) > MOST_TEXT_BYTES:
        raise ValueError(f"it has more than {MOST_TEXT_BYTES} bytes")
    fields = parse(text)
    if not isinstance(fields, dict):
        raise ValueError("it is no JSON object")
    if fields.get("peft_type") != "LORA":
        raise ValueError(f"its peft_type is {fields.get('peft_type')!r}; expected 'LORA'")
    if not 0 < (whole(fields.get("r")) or 0) < 2**16:
        raise ValueError(f"its r is {fields.get('r')!r}; expected a rank of 1 or more")
    base = fields.get("base_model_name_or_path")
    if base is not None and (not isinstance(base, str) or _UNSAFE.search(base.replace(":", ""))):
        raise ValueError("its base_model_name_or_path is no name of a model")
    if code := [name for name in _CODE if fields.get(name) is not None]:
        raise ValueError(f"it asks for code of {' and '.join(code)}, which is not imported; expected null")
    return fields


def _fault(name: str) -> str | None:
    """What is wrong with the name of a file; None for one within a directory, on any system."""
    parts = name.split("/")
    if not name or len(name) > _MOST_NAME:
        return "is empty or too long"
    if _UNSAFE.search(name):
        return "has a character that some systems do not take for a part of a name"
    if parts[0] == "" or "" in parts or any(set(part) == {"."} for part in parts):
        return "is absolute, or leads out of the directory"
    if any(part[-1] in ". " or part[0] == " " or len(part.encode()) > _MOST_PART for part in parts):
        return "begins or ends with a space, ends with a dot, or is too long"
    return None


def _why_missing(names: list[str]) -> str:
    if any(name.endswith(".age") for name in names):
        return ": the files are encrypted (.age) to keys that the account asks for; decrypt them with age instead"
    if pickles := [name for name in names if name.endswith(_PICKLES)]:
        return f": {pickles[0]!r} is a pickle, which can run code when it is opened, and is not taken"
    if shards := [name for name in names if re.fullmatch(r"adapter_model-\d+-of-\d+\.safetensors", name)]:
        return f": the weights are in {len(shards)} parts, which peft does not open"
    return f"; there are {', '.join(map(repr, names[:5])) or 'no files'}"


def _check_tensors(tensors: dict[str, Tensor], fields: dict[str, Any]) -> None:
    """Returns if tensors are those of a LoRA.

    Raises:
        ValueError: they are not; the message is the reason.
    """
    adapters = [name for name in tensors if "lora_" in name]
    if not adapters:
        raise ValueError("no tensor's name has lora_ in it")
    has_others = bool(fields.get("modules_to_save")) or fields.get("bias", "none") != "none"
    if not has_others and (others := tensors.keys() - set(adapters)):
        raise ValueError(f"the tensor {min(others)!r} has no lora_ in its name")
    for name in adapters:
        tensor = tensors[name]
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{name!r} has the dtype {tensor.dtype}; expected one of {', '.join(_DTYPES)}")
        partners = name.replace("lora_A", "lora_B"), name.replace("lora_B", "lora_A")
        if not all(partner in tensors for partner in partners):
            raise ValueError(f"{name!r} has no partner: a LoRA has an A and a B for each layer")
