"""What the name of a tutor stands for: weights of a run, a teacher, or a base model."""

import sys
from dataclasses import dataclass
from pathlib import Path

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.model_names import full_model_name
from socratic_distill.config.paths import resolved
from socratic_distill.config.teachers import plan_teachers
from socratic_distill.errors import CheckpointNotFound, ConfigError, ServiceError
from socratic_distill.evaluation.evaluator import Candidate, open_base
from socratic_distill.run.journal import Journal
from socratic_distill.run.layout import journal_file
from socratic_distill.service.connect import Service, open_tutor
from socratic_distill.service.failures import is_missing
from socratic_distill.service.interface import SamplingClient
from socratic_distill.text import show


@dataclass(frozen=True)
class Weights:
    """Sampler weights that a name stands for.

    Attributes:
        path: their path.
        batch: the run saved them before this batch; None: they are not the run's, or given by their path.
        is_last: whether they are those of the run's end.
    """

    path: str
    batch: int | None = None
    is_last: bool = False


def say_which(config: SocraticConfig, named: dict[str, Weights | None]) -> None:
    """Says on standard error which weights of the run are measured, unless config.display is "off"."""
    if config.display == "off":
        return
    for name, weights in named.items():
        if weights is not None and weights.batch is not None:
            when = "at its end" if weights.is_last else f"before batch {weights.batch}"
            show(f"{name}: the tutor of {config.log_path} {when}, {weights.path}", sys.stderr)


async def open_candidate(config: SocraticConfig, service: Service, name: str, weights: Weights | None) -> Candidate:
    """Opens what a name stands for; a teacher gets no client.

    Args:
        config: models and teachers, with full model names.
        service: service that runs the models.
        name: as for `compare`.
        weights: as `named_weights` gives them.

    Raises:
        CheckpointNotFound: the service has deleted the weights.
        ConfigError: the config has no such teacher.
        ServiceError: the service failed a call.
    """
    teachers = [teacher.name for teacher in plan_teachers(config)]
    if name == "teacher" or name.startswith("teacher:"):
        wanted = name.removeprefix("teacher").removeprefix(":") or (teachers[0] if len(teachers) == 1 else "")
        if wanted not in teachers:
            named = ", ".join(f"'teacher:{teacher}'" for teacher in teachers)
            raise ConfigError(f"tutor {name!r} is none of the config's teachers; expected {named}")
        return Candidate(name, wanted, None, teacher=wanted)
    if weights is not None:
        return Candidate(name, weights.path, await _open_weights(service, name, weights.path), batch=weights.batch)
    model = full_model_name(config.tutor_model_name if name == "base" else name)
    return Candidate(name, model, await open_base(config, service, model))


async def _open_weights(service: Service, name: str, path: str) -> SamplingClient:
    try:
        return await open_tutor(service, path)
    except ServiceError as error:
        if not isinstance(error.__cause__, Exception) or not is_missing(error.__cause__):
            raise
        raise CheckpointNotFound(
            f"the tutor {name!r} is gone from the service: it no longer has {path}, which expired or was deleted. "
            "Name the batch of other weights (the command `checkpoints` lists them), or 'base' for the untrained "
            "model. A run that is not complete saves new weights when it is resumed"
        ) from error


def named_weights(config: SocraticConfig, name: str) -> Weights | None:
    """The sampler weights that a name stands for; None if it stands for a model.

    Raises:
        CheckpointNotFound: the run has no such weights.
    """
    if name.startswith("tinker://") or "sampler_weights" in Path(name).parts:
        return Weights(resolved(name))
    if name != "final" and not name.isdecimal():
        return None
    journal = Journal.read(journal_file(config.log_path))
    saved = {
        record.batch: path
        for record, is_superseded in journal.lineage()
        if record.batch is not None and (path := record.sampler_path) and not is_superseded
        if not journal.is_deleted(path)
    }
    batch = max(saved, default=-1) if name == "final" else int(name)
    if batch not in saved:
        batches = ", ".join(map(str, sorted(saved)))
        raise CheckpointNotFound(
            f"{config.log_path} holds no sampler weights for the tutor {name!r}; "
            + (
                f"there are those before the batches {batches}"
                if batches
                else "no tutor is saved there yet. Train first, or name 'base' to measure the untrained model"
            )
        )
    return Weights(saved[batch], batch, any(record.sampler_path == saved[batch] for record in journal.finals(batch)))
