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
from socratic_distill.run.checkpoints import load_checkpoints
from socratic_distill.run.directory import load_config
from socratic_distill.run.finding import check_run


def export_merged(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    *,
    allow_files: bool = False,
    allow_code: bool = False,
) -> Path:
    """Writes a tutor that was trained on the local engine as a plain transformers model, adapter and base merged.

    Args:
        source: a run's directory, for its newest sampler weights, or a directory of saved weights.
        out: directory to write; it must not be there yet.
        dtype: of what is written; "auto" is as the base model is stored. In bf16, changes below 1/256 of a weight are
            rounded away.
        allow_files: whether the base model may be outside `source`, or come from a model hub; the packaged one may.
        allow_code: whether Python code that the base model's files bring along may run.

    Returns:
        The directory of the weights that were merged.

    Raises:
        ConfigError: `out` is there, or `source` holds nothing that can be merged.
        UntrustedConfig: `source` names a base model elsewhere, and that is not allowed.
        CheckpointNotFound: the run has no sampler weights, or they are gone.
        DamagedWeights: the weights do not fit their base model.
        LocalEngineError: the base model cannot be had.
        LocalExtraMissing: the `local` extra is not installed.
    """
    check_installed()
    from socratic_distill.local.merging import merge

    grant = Grant(os.fspath(source), Path(resolved(source)), allow_files=allow_files, allow_code=allow_code)
    directory = _find_weights(Path(resolved(source)), grant)
    merge(directory, Path(resolved(out)), dtype, grant, _models_of(source))
    return directory


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
        raise ConfigError(f"the weights of {source} are on a service ({samplers[-1]}); only local ones can be merged")
    try:
        return Store(source / "local", grant).find_own(samplers[-1])
    except TinkerError as error:
        raise CheckpointNotFound(f"the newest sampler weights of {source} are gone: {samplers[-1]}") from error
