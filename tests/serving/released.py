"""vLLM's and SGLang's own code that reads adapters, run on the CPU; stand-ins take the place of what needs a GPU.

The wheels are unpacked by `make test-serving`. Only the modules named here are run, and of `vllm/lora/utils.py` only
the functions that read names.
"""

# pyright: reportMissingImports=false

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class Vllm:
    """vLLM's checks of an adapter, as its workers make them before they load it."""

    def __init__(self, root: Path) -> None:
        """Loads the code.

        Args:
            root: folder with the unpacked wheel.
        """
        self._root = root / "vllm"
        _stand_in("vllm.logger", init_logger=lambda name: SimpleNamespace(info_once=print, warning=print))
        _stand_in("vllm.config.lora", LoRAConfig=object)
        _stand_in("vllm.utils.torch_utils", PIN_MEMORY=False)
        _stand_in("vllm.model_executor.models.utils", WeightsMapper=object)
        _load("vllm.lora.peft_helper", self._root / "lora" / "peft_helper.py")
        _load("vllm.lora.lora_weights", self._root / "lora" / "lora_weights.py")
        names = ("get_lora_id", "is_base_embedding_weights", "parse_fine_tuned_lora_name")
        _stand_in("vllm.lora.utils", **_functions(self._root / "lora" / "utils.py", names))
        _load("vllm.lora.lora_model", self._root / "lora" / "lora_model.py")
        self._models = self._root / "model_executor" / "models"

    def load(self, directory: Path, module: str, most_rank: int) -> Any:
        """Reads an adapter; a ValueError says why it is refused.

        Args:
            directory: of the adapter.
            module: file of vLLM's models, such as "qwen3".
            most_rank: --max-lora-rank.
        """
        from vllm.lora.lora_model import LoRAModel
        from vllm.lora.peft_helper import PEFTHelper

        helper = PEFTHelper.from_local_dir(str(directory), max_position_embeddings=4096)
        helper.validate_legal(SimpleNamespace(max_lora_rank=most_rank))
        return LoRAModel.from_local_checkpoint(str(directory), self.expected(module), helper, device="cpu")

    def expected(self, module: str) -> set[str]:
        """The layers that a model of vLLM adapts: those that it packs, its outputs of blocks, and its embeddings."""
        classes = [n for n in ast.walk(_tree(self._models / f"{module}.py")) if isinstance(n, ast.ClassDef)]
        model = next(node for node in classes if node.name.endswith("ForCausalLM"))
        tables = {
            target.id: ast.literal_eval(node.value)
            for node in model.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in ("packed_modules_mapping", "embedding_modules")
        }
        packed = {name for names in tables["packed_modules_mapping"].values() for name in names}
        return packed | set(tables.get("embedding_modules", ())) | {"o_proj", "down_proj"}

    def ranks(self) -> tuple[int, ...]:
        """The values of --max-lora-rank."""
        for node in _tree(self._root / "config" / "lora.py").body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MaxLoRARanks":
                return tuple(ast.literal_eval(ast.unparse(node.value).removeprefix("Literal")))
        raise LookupError("MaxLoRARanks")

    def architectures(self) -> tuple[set[str], set[str]]:
        """The text models that take adapters, and those of them that take one on the output layer."""
        classes: dict[str, ast.ClassDef] = {}
        for path in sorted(self._models.glob("*.py")):
            classes |= {node.name: node for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef)}
        named: dict[str, str] = {}
        for node in _tree(self._models / "registry.py").body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_TEXT_GENERATION_MODELS":
                table: Any = node.value
                for key, value in zip(table.keys, table.values, strict=True):
                    named[key.value] = value.elts[1].value
        taken = {name for name, kind in named.items() if "SupportsLoRA" in _ancestors(kind, classes)}
        return taken, {name for name in taken if "lm_head" in _embeddings(named[name], classes)}


class Sglang:
    """SGLang's reading of an adapter's config."""

    def __init__(self, root: Path) -> None:
        """Loads the code.

        Args:
            root: folder with the unpacked wheel.
        """
        self._lora = root / "sglang" / "srt" / "lora"
        _load("sglang_lora_config", self._lora / "lora_config.py")
        functions = _functions(self._lora / "utils.py", ("get_normalized_target_modules",))
        self._normalized = functions["get_normalized_target_modules"]

    def load(self, directory: Path) -> tuple[Any, set[str]]:
        """An adapter's config as SGLang reads it, and the layers that it makes room for."""
        from sglang_lora_config import LoRAConfig

        config = LoRAConfig(str(directory))
        return config, self._normalized(config.target_modules)

    def known(self) -> set[str]:
        """The layers for which it has sizes."""
        tree = _tree(self._lora / "utils.py")
        sizes = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "get_default_hidden_dim")
        return {
            str(node.comparators[0].value)
            for node in ast.walk(sizes)
            if isinstance(node, ast.Compare)
            and ast.unparse(node.left) == "module_name"
            and isinstance(node.comparators[0], ast.Constant)
        }

    def normalized(self, names: list[str]) -> set[str]:
        """The layers that names stand for, some packed into one."""
        return self._normalized(names)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _ancestors(name: str, classes: dict[str, ast.ClassDef]) -> set[str]:
    found, waiting = {name}, [name]
    while waiting:
        node = classes.get(waiting.pop())
        bases = {ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases} if node else set()
        waiting += sorted(bases - found)
        found |= bases
    return found


def _embeddings(name: str, classes: dict[str, ast.ClassDef]) -> str:
    """The embedding_modules of a class or of the first ancestor that has some, as source."""
    node = classes.get(name)
    if node is None:
        return ""
    for line in node.body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and "embedding_modules" in ast.unparse(line).split("=")[0]:
            return ast.unparse(line)
    bases = [ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases]
    return next((text for base in bases if (text := _embeddings(base, classes))), "")


def _stand_in(name: str, **attributes: Any) -> None:
    """A module that has just these attributes, below packages that have none."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        package = sys.modules.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        package.__path__ = []
    module = ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module


def _load(name: str, path: Path) -> None:
    _stand_in(name)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _functions(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Functions of a module that cannot be imported whole, with its plain constants."""
    tree = _tree(path)
    wanted = ast.parse("from __future__ import annotations\nimport torch\nfrom typing import *").body
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            wanted.append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            try:
                ast.literal_eval(node.value)
            except ValueError:
                continue
            wanted.append(node)
    scope: dict[str, Any] = {}
    exec(compile(ast.Module(wanted, []), str(path), "exec"), scope)
    return {name: scope[name] for name in names}
