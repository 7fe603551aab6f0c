"""A training client on what the run begins from, the newest state that the service still has."""

from typing import Any

from socratic_distill.errors import CheckpointNotFound, DamagedWeights, ModelMismatch, SocraticError
from socratic_distill.failures import failure, is_missing
from socratic_distill.models import full_model_name
from socratic_distill.plan import Plan, decide
from socratic_distill.run import RunDirectory
from socratic_distill.service import GONE, Service, is_gone
from socratic_distill.start import FreshStart, LoadCheckpoint, Resume, Start


async def open_training_client(plan: Plan, run: RunDirectory, service: Service) -> tuple[Start, Any]:
    """What the run begins from, and a training client on it, checked to be of the config's model and rank.

    The newest state that the service still has is taken; those that it lacks are passed over.

    Raises:
        StartError: there is nothing to begin from, or it belongs to another base model or rank.
        ServiceError: the service failed a call.
    """
    config, client = plan.config, service.client
    tutor_name = full_model_name(config.tutor_model_name)
    unusable: dict[str, str] = {}
    while True:
        start = decide(plan, run, unusable)
        if isinstance(start, Resume) and await is_gone(service.rest, start.state_path):
            unusable[start.state_path] = GONE
            continue
        try:
            if isinstance(start, FreshStart):
                request = client.create_lora_training_client(
                    base_model=tutor_name, rank=config.lora_rank, seed=config.seed
                )
                return start, await request
            if isinstance(start, Resume):
                training = await client.create_training_client_from_state_with_optimizer(start.state_path)
            else:
                training = await client.create_training_client_from_state(start.state_path)
        except Exception as error:
            if isinstance(start, Resume) and (is_missing(error) or isinstance(error, DamagedWeights)):
                unusable[start.state_path] = GONE if is_missing(error) else f"cannot be read: {error}"
                continue
            raise await _explain(service, start, error) from error
        _check_model(training, start.state_path, tutor_name, config.lora_rank)
        return start, training


async def _exists(rest: Any | None, path: str) -> bool:
    """Whether the service surely holds a checkpoint; False where nobody can be asked."""
    try:
        return rest is not None and not await is_gone(rest, path)
    except SocraticError:
        return False


def _check_model(training: Any, state_path: str, tutor_name: str, rank: int) -> None:
    info = training.get_info()
    found = (info.model_data.model_name or info.model_name, info.lora_rank)
    if found != (tutor_name, rank):
        raise ModelMismatch(
            f"the state {state_path} is of base model {found[0]!r} with LoRA rank {found[1]}, but the config "
            f"says {tutor_name!r} with rank {rank}. Set tutor_model_name and lora_rank to the state's, "
            "or take another log_path"
        )


async def _explain(service: Service, start: Start, error: Exception) -> SocraticError:
    """Why no training client could be opened."""
    if isinstance(start, LoadCheckpoint) and getattr(error, "status_code", 0) in (400, 404):
        message = f"the state {start.state_path} cannot be loaded: {type(error).__name__}: {error}."
        sampler_path = start.state_path.replace("/weights/", "/sampler_weights/")
        if await _exists(service.rest, sampler_path):
            message += f" There are sampler weights {sampler_path}, but those cannot be trained from."
        return CheckpointNotFound(f"{message} Check load_checkpoint_path")
    what = "a fresh LoRA" if isinstance(start, FreshStart) else f"the state {start.state_path}"
    return failure(f"opening a training client on {what}", error)
