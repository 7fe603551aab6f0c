"""Saves weights to disk as PEFT directories; a state also has its optimizer. No file is a pickle.

`<store>/<server run>/weights|sampler_weights/<name>/` holds `adapter_model.safetensors` and `adapter_config.json`,
which `PeftModel.from_pretrained` opens, and `state.json`. Under `weights` it also holds `optimizer.safetensors`. A
directory appears complete or not at all.
"""

import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from socratic_distill.config.grant import Grant
from socratic_distill.errors import DamagedWeights, LocalEngineError
from socratic_distill.files.durable import sync_directory, write_atomically
from socratic_distill.in_process import expiry, status_error
from socratic_distill.local.foreign_adapters import read_foreign
from socratic_distill.local.saved_adapters import read_adapter_config
from socratic_distill.local.saved_paths import holds_weights, is_foreign, own_weights, read_facts
from socratic_distill.text import get_logger

_log = get_logger(__name__)


Kind = Literal["weights", "sampler_weights"]
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


@dataclass(frozen=True)
class Saved:
    """The contents of one saved directory.

    Attributes:
        path: the directory.
        facts: the contents of `state.json`: base_model, rank, train_mlp, train_attn, train_unembed, steps, computed,
            created_at, expires_at, user_metadata.
        config: the adapter's rank, scaling and layers.
        adapter: the adapter's tensors under PEFT's names.
        optimizer: the optimizer's tensors; empty under `sampler_weights`.
    """

    path: Path
    facts: dict[str, Any]
    config: LoraConfig
    adapter: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]


class Store:
    """The directory that keeps a service's server runs."""

    def __init__(self, root: Path, grant: Grant | None = None) -> None:
        """Names the directory, without creating it.

        Args:
            root: the directory; the first server run creates it.
            grant: which weights a config that was read from a file may read. None: any.
        """
        self.root = root.resolve()
        self._grant = grant

    def new_server_run(self) -> str:
        """Creates the directory of a new server run; returns its id."""
        self.root.mkdir(parents=True, exist_ok=True)
        names = (path.name.removeprefix("local-") for path in self.root.glob("local-[0-9]*"))
        following = 1 + max((int(name) for name in names if name.isdecimal()), default=0)
        while True:
            try:
                (self.root / f"local-{following:04d}").mkdir()
            except FileExistsError:  # another process was faster
                following += 1
            else:
                return f"local-{following:04d}"

    def save(
        self,
        server_run: str,
        kind: Kind,
        name: str,
        facts: dict[str, Any],
        adapter: dict[str, torch.Tensor],
        adapter_config: Any,
        optimizer: dict[str, torch.Tensor],
        ttl_seconds: int | None,
        overwrite: bool,
    ) -> Path:
        """Writes one directory atomically; returns its path.

        Raises:
            tinker.BadRequestError: the name is not a plain file name, or the TTL is out of range.
            tinker.ConflictError: the name exists and `overwrite` is False.
        """
        if not _NAME.fullmatch(name):
            raise status_error(
                400, f"name {name!r} is invalid; use letters, digits, '.', '_' and '-', and no leading '.' or '-'"
            )
        target = self.root / server_run / kind / name
        if target.exists() and not overwrite:
            raise status_error(409, f"{target} exists already; give another name or overwrite=True")
        created = time.time()
        facts = {**facts, "created_at": created, "expires_at": expiry(created, ttl_seconds)}
        partial = target.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(adapter, partial / "adapter_model.safetensors", metadata={"format": "pt"})
        adapter_config.save_pretrained(str(partial))
        if kind == "weights":
            save_file(optimizer, partial / "optimizer.safetensors")
        (partial / "state.json").write_text(json.dumps(facts, indent=2))
        _sync_tree(partial)  # the rename may reach the disk before the files' contents do
        replaced = target.with_name(f".{name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        if target.exists():  # moved, not removed: a crash between the two renames loses nothing
            os.rename(target, replaced)
        os.rename(partial, target)
        for parent in (target.parent, target.parent.parent, self.root):
            sync_directory(parent)
        shutil.rmtree(replaced, ignore_errors=True)
        return target

    def load(self, path: str, kind: Kind) -> Saved:
        """Reads one directory. An adapter of another program is of both kinds.

        Raises:
            tinker.NotFoundError: it does not exist, or has expired.
            tinker.BadRequestError: it is of the other kind.
            CheckpointNotFound, UnsupportedAdapter: an adapter of another program is not in safetensors, or no plain
                LoRA.
            DamagedWeights: a file is missing or damaged.
            LocalEngineError: a file cannot be read at the moment.
        """
        directory = self.find(path)
        foreign = read_foreign(directory) if is_foreign(directory) else None
        actual = kind_of(directory)
        if foreign is None and actual != kind:
            use = "trained" if kind == "weights" else "sampled"
            raise status_error(400, f"{path} holds {actual}, which cannot be {use} from; give a path to {kind}")
        try:
            has_optimizer = kind == "weights" and foreign is None
            optimizer = load_file(directory / "optimizer.safetensors") if has_optimizer else {}
            adapter = load_file(directory / "adapter_model.safetensors")
        except (FileNotFoundError, SafetensorError) as error:
            raise DamagedWeights(f"the weights in {directory} are damaged: {error}; load another state") from error
        except OSError as error:
            raise LocalEngineError(f"the weights in {directory} cannot be read at the moment: {error}") from error
        if foreign is not None:
            if foreign.dropout:
                _log.info("%s was trained with lora_dropout=%s; the local engine drops nothing", path, foreign.dropout)
            return Saved(directory, foreign.facts, foreign.config, _finite(adapter, directory), optimizer)
        return Saved(directory, self.facts(directory), read_adapter_config(directory), adapter, optimizer)

    def find(self, path: str) -> Path:
        """The directory of the weights at a path; this store's own is preferred, also if the store was moved or copied.

        Raises:
            tinker.NotFoundError: it does not exist, or has expired.
        """
        for directory in (self._own(path), Path(path)):
            if (
                directory is not None
                and self._may_read(directory)
                and (holds_weights(directory) or is_foreign(directory))
                and not self._is_expired(directory)
            ):
                return directory
        raise status_error(404, f"there are no saved weights at {path}")

    def find_own(self, path: str) -> Path:
        """As `find`, but only in this store: for changing and deleting, since other stores are only read.

        Raises:
            tinker.NotFoundError: it does not exist, or has expired.
            tinker.PermissionDeniedError: it belongs to another store.
        """
        own = self._own(path)
        if own is None and holds_weights(Path(path)):
            raise status_error(403, f"{path} is not in {self.root}, the store of this run, so it was not changed")
        if own is None or not self._may_read(own) or self._is_expired(own):
            raise status_error(404, f"there are no saved weights at {path}")
        return own

    def _own(self, path: str) -> Path | None:
        weights = Path(path)
        if not self._may_read(weights):  # then not even its facts are read, to compare them with those in this store
            weights = self.root.joinpath(*weights.parts[-3:])
        return own_weights(self.root, str(weights))

    def _may_read(self, directory: Path) -> bool:
        return self._grant is None or self._grant.may_load(str(directory))

    def facts(self, directory: Path) -> dict[str, Any]:
        """The contents of `state.json`, or the same facts about an adapter of another program.

        Raises:
            DamagedWeights: it cannot be read, or has an invalid field.
        """
        return read_foreign(directory).facts if is_foreign(directory) else read_facts(directory)

    def set_expiry(self, path: str, ttl_seconds: int | None) -> None:
        """Makes a directory expire in `ttl_seconds`; None: never."""
        directory = self.find_own(path)
        facts = {**self.facts(directory), "expires_at": expiry(time.time(), ttl_seconds)}
        write_atomically(directory / "state.json", json.dumps(facts, indent=2))

    def delete(self, path: str) -> None:
        """Removes a directory; after a crash it is there completely or not at all."""
        directory = self.find_own(path)
        doomed = directory.with_name(f".{directory.name}.deleted")
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(directory, doomed)  # names with a leading "." are not listed, so this alone deletes it
        shutil.rmtree(doomed)

    def directories(self, server_run: str | None = None) -> list[Path]:
        """The saved directories of one server run or of all that have not expired, the oldest first.

        Damaged ones are skipped with a warning.
        """
        if server_run is not None and not _NAME.fullmatch(server_run):
            return []
        saved: list[tuple[float, str, Path]] = []
        for path in self.root.glob(f"{server_run or '*'}/*/*/state.json"):
            directory = path.parent
            if directory.name.startswith("."):
                continue
            try:
                if not self._is_expired(directory):
                    saved.append((self.facts(directory)["created_at"], str(directory), directory))
            except DamagedWeights as error:
                _log.warning("skipped: %s", error)
        return [directory for _, _, directory in sorted(saved)]

    def _is_expired(self, directory: Path) -> bool:
        expires = self.facts(directory)["expires_at"]
        return expires is not None and expires <= time.time()


def kind_of(directory: Path) -> Kind:
    """The kind of a directory, by its files and not its path, since a copy may be anywhere."""
    return "weights" if (directory / "optimizer.safetensors").is_file() else "sampler_weights"


def _finite(tensors: dict[str, torch.Tensor], directory: Path) -> dict[str, torch.Tensor]:
    """Another program's tensors, if they are finite numbers; the engine's own were checked when they were made."""
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and torch.isfinite(tensor).all()):
            raise DamagedWeights(f"the weights in {directory} hold other values than finite numbers, in {name!r}")
    return tensors


def _sync_tree(directory: Path) -> None:
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_directory(directory)
