"""The tutor of a run as a model for other programs."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinker import TinkerError

from socratic_distill.config.grant import Grant
from socratic_distill.config.paths import resolved
from socratic_distill.errors import CheckpointNotFound, ConfigError
from socratic_distill.local import check_installed
from socratic_distill.local.model_files import model_paths
from socratic_distill.outputs.exports.adapter import ExportedAdapter, export_adapter
from socratic_distill.outputs.exports.card import write_card
from socratic_distill.outputs.exports.fetched import DownloadProgress
from socratic_distill.outputs.exports.unfinished import check_absent, unfinished, writing
from socratic_distill.run.checkpoints import load_checkpoints, newest_sampler
from socratic_distill.run.directory import config_of, load_config
from socratic_distill.run.finding import check_run
from socratic_distill.service.interface import RestClient, ServiceClient

WeightType = Literal["auto", "float32", "bfloat16"]


def export_merged(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    dtype: WeightType = "auto",
    *,
    base_url: str | None = None,
    allow_files: bool = False,
    allow_code: bool = False,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
    progress: DownloadProgress | None = None,
) -> str:
    """Writes a tutor as a plain transformers model, its adapter and base model merged.

    The base model's files are read and written tensor by tensor, so a model of any size needs little memory. Models
    without safetensors, and GGUF files that the local engine has not loaded yet, are held in memory. A model card,
    README.md, says what is known of the tutor.

    Args:
        source: a run's directory, for its newest weights, or a directory of saved weights: the local engine's, or any
            PEFT directory with a plain LoRA that names its base model. The tutor of a run on a service is downloaded
            first, as by `export_adapter`, and that copy is deleted in the end.
        out: directory to write; it must not be there yet. It appears complete or not at all.
        dtype: of what is written. "auto" keeps that of each tensor; a changed one is written in the dtype that the base
            model's config.json names, if that is wider. In bf16, changes below 1/256 of a weight are rounded away.
        base_url: as for `export_adapter`.
        allow_files: whether the base model may be outside `source`, or come from a model hub; the packaged one may.
        allow_code: whether Python code that the base model's files bring along may run, and is copied to `out`.
        service_client: as for `export_adapter`.
        rest_client: as for `export_adapter`.
        progress: as for `export_adapter`.

    Returns:
        The weights that were merged: a directory, or a training state on a service.

    Raises:
        CheckpointNotFound: the run has no sampler weights, they are gone, or they are no safetensors.
        ConfigError: `out` is there, or `source` holds nothing that can be merged.
        DamagedWeights: the weights do not fit their base model.
        LocalEngineError: the base model cannot be had, or is quantised.
        LocalExtraMissing: the `local` extra is not installed.
        StorageError: `out` cannot be written.
        UnsupportedAdapter: the weights are more than a plain LoRA.
        UntrustedConfig: `source` names a base model elsewhere, or a server, and that is not allowed.
        SocraticError: others, as `export_adapter`, for a run on a service.
    """
    target = Path(resolved(out))
    check_absent(target)
    fetching = Fetching(base_url, service_client, rest_client, progress)
    with (
        merge_source(source, target, allow_files, allow_code, fetching) as merge,
        unfinished(target, merge.name) as left,
    ):
        try:
            left.keep_only(())
            with writing(target):
                base_model = merge.write(left.files, dtype)
            write_card(left.files, "merged", base_model, merge.run, batch=merge.batch, allow_files=allow_files)
            left.finish()
        except BaseException:
            left.discard()
            raise
    return merge.name


@dataclass(frozen=True)
class Fetching:
    """How the tutor of a run on a service is downloaded; see `export_adapter`."""

    base_url: str | None = None
    service_client: ServiceClient | None = None
    rest_client: RestClient | None = None
    progress: DownloadProgress | None = None


@contextmanager
def merge_source(
    source: str | os.PathLike[str], target: Path, allow_files: bool, allow_code: bool, fetching: Fetching
) -> Iterator["MergeSource"]:
    """What is to be merged; the tutor of a run on a service is kept next to the target meanwhile.

    Raises:
        SocraticError: as `export_merged`.
    """
    check_installed()
    home = Path(resolved(source))
    if (home / "adapter_config.json").is_file() or not _is_on_service(home):
        yield MergeSource(source, allow_files, allow_code)
        return
    config = config_of(source, base_url=fetching.base_url, allow_files=allow_files)
    # Before anything is downloaded.
    Grant(os.fspath(source), home, allow_files=allow_files).check_model(str(config.tutor_model_name))
    adapter = target.with_name(f".{target.name}.adapter")
    shutil.rmtree(adapter, ignore_errors=True)
    try:
        exported = export_adapter(
            source,
            adapter,
            base_url=fetching.base_url,
            allow_files=allow_files,
            service_client=fetching.service_client,
            rest_client=fetching.rest_client,
            progress=fetching.progress,
        )
        yield MergeSource(adapter, allow_files, allow_code, (home, exported))
    finally:
        shutil.rmtree(adapter, ignore_errors=True)


def _is_on_service(home: Path) -> bool:
    """Whether the newest weights of a run are on a service."""
    check_run(home, expected="the directory of a run, or of saved weights")
    paths = [path for record in load_checkpoints(home) for path in record.paths]
    return bool(paths) and "://" in paths[-1]


class MergeSource:
    """What is to be merged.

    Attributes:
        weights: the directory of the adapter.
        name: the weights as people know them.
        run: directory of the run that trained it; None for a directory of weights.
        batch: batches that the run had finished; None if that is unknown.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        allow_files: bool,
        allow_code: bool,
        fetched: tuple[Path, ExportedAdapter] | None = None,
    ) -> None:
        """Finds the weights.

        Args:
            source: as for `export_merged`.
            allow_files: as for `export_merged`.
            allow_code: as for `export_merged`.
            fetched: the run and what was downloaded of it, if that is why `source` is there.

        Raises:
            SocraticError: as `export_merged`.
        """
        home = Path(resolved(source))
        self._grant = Grant(os.fspath(source), home, allow_files=allow_files, allow_code=allow_code)
        self._models = _models_of(source)
        if (home / "adapter_config.json").is_file():
            self.run, self.weights, self.batch = None, home, None
        else:
            self.run, (self.weights, self.batch) = home, _newest_weights(home, self._grant)
        if fetched is not None:
            run, exported = fetched
            self.run, self.batch = run, exported.batch
        self.name = str(self.weights) if fetched is None else fetched[1].weights

    def write(self, out: Path, dtype: WeightType) -> str:
        """Merges; returns name or path of the base model.

        Args:
            out: an empty directory to write into.
            dtype: as for `export_merged`.

        Raises:
            SocraticError: as `export_merged`.
            OSError: a file cannot be written.
        """
        from socratic_distill.local.merging import merge

        return merge(self.weights, out, dtype, self._grant, self._models)


def _models_of(source: str | os.PathLike[str]) -> dict[str, str]:
    """Where the models of a run lie; nothing of a directory of weights alone."""
    try:
        return model_paths(load_config(source))
    except ConfigError:
        return {}


def _newest_weights(source: Path, grant: Grant) -> tuple[Path, int | None]:
    """The directory of a run's newest sampler weights, and how many batches it had finished."""
    from socratic_distill.local.store import Store

    path, batch = newest_sampler(source)
    try:
        return Store(source / "local", grant).find_own(path), batch
    except TinkerError as error:
        raise CheckpointNotFound(f"the newest sampler weights of {source} are gone: {path}") from error
