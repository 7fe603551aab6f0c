"""What a run is to do, and the service that it is to do it on, made to fit each other before a session is opened."""

from typing import Any

from socratic_distill.config import SocraticConfig
from socratic_distill.drift import model_names
from socratic_distill.errors import CheckpointNotFound, ModelMismatch, SocraticError, raise_all
from socratic_distill.failures import failure, is_missing
from socratic_distill.offer import check_offer, read_offer, served_unlisted, settle_names
from socratic_distill.plan import Plan, read_plan
from socratic_distill.run import RunDirectory, read_fingerprint
from socratic_distill.service import GONE, Service
from socratic_distill.teachers import TeacherPlan, plan_teachers


async def fit_to_service(plan: Plan, run: RunDirectory, service: Service) -> Plan:
    """The plan with the names of the service's models.

    Raises:
        ModelNotOffered: the service does not offer a model, or not for its part.
        ConfigError: a model's context is too short.
        CheckpointNotFound: a teacher's checkpoint is not there, or cannot be sampled from.
        ModelMismatch: it is of another base model.
        PreflightError: several of these.
        ServiceError: the service failed a call.
    """
    config, problems = await settle_models(plan.config, service, model_names(read_fingerprint(run.path)))
    raise_all([*problems, *await check_teachers(config, service.rest)])
    return plan if config is plan.config else read_plan(config, run)


async def settle_models(
    config: SocraticConfig, service: Service, recorded: list[str], *, is_trained: bool = True
) -> tuple[SocraticConfig, list[SocraticError]]:
    """The config with the names of the service's models, and what is wrong with these.

    The local engine's names are paths or its own, and are left alone.

    Args:
        config: has known short names written out.
        service: whose models are meant.
        recorded: names that the run has had so far.
        is_trained: whether the tutor is trained, or only played with.

    Raises:
        ServiceError: the service failed a call.
    """
    if config.base_url == "local":
        return config, []
    offer = await read_offer(service.rest)
    served = await served_unlisted(config, offer, service)
    config, problems = settle_names(config, offer, served, recorded)
    return config, [*problems, *check_offer(config, offer, is_trained=is_trained)]


async def check_teachers(config: SocraticConfig, rest: Any | None) -> list[SocraticError]:
    """What is wrong with the checkpoints that teachers score with.

    Raises:
        ServiceError: the service failed a call.
    """
    found = [await _check_teacher(one, rest) for one in plan_teachers(config)]
    return [one for one in found if one is not None]


async def _check_teacher(plan: TeacherPlan, rest: Any | None) -> SocraticError | None:
    path = plan.checkpoint_path
    if path is None or not path.startswith("tinker://"):
        return None
    told = f"the teacher {plan.name!r} is to score with {path}, which"
    if "/weights/" in path:
        sampler = path.replace("/weights/", "/sampler_weights/")
        return CheckpointNotFound(f"{told} is a training state and cannot be sampled from; expected {sampler}")
    if rest is None:
        return None
    try:
        info = await rest.get_weights_info_by_tinker_path(path)
    except Exception as error:
        if is_missing(error):
            return CheckpointNotFound(f"{told} {GONE}; give sampler weights that exist, or leave the path out")
        raise failure(f"asking for {path}", error) from error
    if info.base_model != plan.model_name:
        return ModelMismatch(
            f"{told} is of base model {info.base_model!r}, but the teacher's model is {plan.model_name!r}; name the "
            "checkpoint's, or give a checkpoint of the model's"
        )
    return None
