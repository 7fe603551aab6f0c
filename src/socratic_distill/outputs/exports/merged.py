"""The tutor of a run as a model for other programs."""

import os
from pathlib import Path
from typing import Literal

from tinker import TinkerError

from socratic_distill.config.grant import Grant
from socratic_distill.config.paths import resolved
from socratic_distill.errors import CheckpointNotFound, ConfigError
from socratic_distill.local import check_installed
from socratic_distill.local.model_files import model_paths
from socratic_distill.outputs.exports.unfinished import check_absent, unfinished, writing
from socratic_distill.run.checkpoints import load_checkpoints
from socratic_distill.run.directory import load_config
from socratic_distill.run.finding import check_run

WeightType = Literal["auto", "float32", "bfloat16"]


def export_merged(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    dtype: WeightType = "auto",
    *,
    allow_files: bool = False,
    allow_code: bool = False,
) -> Path:
    """Writes a tutor as a plain transformers model, its adapter and base model merged.

    The base model's files are read and written tensor by tensor, so a model of any size needs little memory. Models
    without safetensors, and GGUF files that the local engine has not loaded yet, are held in memory.

    Args:
        source: the directory of a run on the local engine, for its newest sampler weights; a directory of weights that
            the local engine saved; or any PEFT directory with a plain LoRA that names its base model.
        out: directory to write; it must not be there yet. It appears complete or not at all.
        dtype: of what is written. "auto" keeps that of each tensor; a changed one is written in the dtype that the base
            model's config.json names, if that is wider. In bf16, changes below 1/256 of a weight are rounded away.
        allow_files: whether the base model may be outside `source`, or come from a model hub; the packaged one may.
        allow_code: whether Python code that the base model's files bring along may run, and is copied to `out`.

    Returns:
        The directory of the weights that were merged.

    Raises:
        CheckpointNotFound: the run has no sampler weights, they are gone, or they are no safetensors.
        ConfigError: `out` is there, or `source` holds nothing that can be merged.
        DamagedWeights: the weights do not fit their base model.
        LocalEngineError: the base model cannot be had, or is quantised.
        LocalExtraMissing: the `local` extra is not installed.
        StorageError: `out` cannot be written.
        UnsupportedAdapter: the weights are more than a plain LoRA.
        UntrustedConfig: `source` names a base model elsewhere, and that is not allowed.
    """
    target = Path(resolved(out))
    check_absent(target)
    merge = MergeSource(source, allow_files, allow_code)
    with unfinished(target, str(merge.weights)) as left:
        try:
            left.keep_only(())
            with writing(target):
                merge.write(left.files, dtype)
            left.finish()
        except BaseException:
            left.discard()
            raise
    return merge.weights


class MergeSource:
    """What is to be merged.

    Attributes:
        weights: the directory of the adapter.
    """

    def __init__(self, source: str | os.PathLike[str], allow_files: bool, allow_code: bool) -> None:
        """Finds the weights.

        Args:
            source: as for `export_merged`.
            allow_files: as for `export_merged`.
            allow_code: as for `export_merged`.

        Raises:
            SocraticError: as `export_merged`.
        """
        check_installed()
        home = Path(resolved(source))
        self._grant = Grant(os.fspath(source), home, allow_files=allow_files, allow_code=allow_code)
        self._models = _models_of(source)
        self.weights = _find_weights(home, self._grant)

    def write(self, out: Path, dtype: WeightType) -> None:
        """Merges.

        Args:
            out: an empty directory to write into.
            dtype: as for `export_merged`.

        Raises:
            SocraticError: as `export_merged`.
            OSError: a file cannot be written.
        """
        from socratic_distill.local.merging import merge

        merge(self.weights, out, dtype, self._grant, self._models)


def _models_of(source: str | os.PathLike[str]) -> dict[str, str]:
    """Where the models of a run lie; nothing of a directory of weights alone."""
    try:
        return model_paths(load_config(source))
    except ConfigError:
        return {}


def _find_weights(source: Path, grant: Grant) -> Path:
    """The directory of saved weights that is meant: `source` itself, or a run's newest sampler weights."""
    from socratic_distill.local.store import Store

    if (source / "adapter_config.json").is_file():
        return source
    check_run(source, expected="the directory of a run, or of saved weights")
    samplers = [record.sampler_path for record in load_checkpoints(source) if record.sampler_path]
    if not samplers:
        raise CheckpointNotFound(f"{source} holds no sampler weights yet; train first")
    if "://" in samplers[-1]:
        raise ConfigError(
            f"the weights of {source} are on a service ({samplers[-1]}); download them with export --adapter, and "
            "merge that directory"
        )
    try:
        return Store(source / "local", grant).find_own(samplers[-1])
    except TinkerError as error:
        raise CheckpointNotFound(f"the newest sampler weights of {source} are gone: {samplers[-1]}") from error
