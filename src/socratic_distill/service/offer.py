"""What a service offers: its models, what each may do, and whether a config fits that."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.model_names import nearest, resolve_name
from socratic_distill.config.named_models import is_judge, named_models, with_names
from socratic_distill.config.teachers import ResolvedTeacher
from socratic_distill.errors import CheckpointNotFound, ConfigError, ModelMismatch, ModelNotOffered, SocraticError
from socratic_distill.service.connect import GONE, Service
from socratic_distill.service.failures import failure, is_missing, status_of
from socratic_distill.service.interface import RestClient
from socratic_distill.service.proposal import propose
from socratic_distill.service.waiting import in_thread
from socratic_distill.service.watched import unwatched

# How servers refuse a model that they do not know.
_UNKNOWN = (400, 404, 422)


@dataclass(frozen=True)
class OfferedModel:
    """One model of a service.

    Attributes:
        name: full name.
        context: tokens of prompt and reply together; None where the service does not say.
        trainable: whether it can be trained; None where the service does not say.
        sampleable: whether it can be sampled from; None likewise.
    """

    name: str
    context: int | None = None
    trainable: bool | None = None
    sampleable: bool | None = None


@dataclass(frozen=True)
class Offer:
    """The models of a service.

    Attributes:
        models: those that it names.
    """

    models: tuple[OfferedModel, ...]

    @property
    def names(self) -> list[str]:
        """Full names."""
        return [model.name for model in self.models]

    def find(self, name: str) -> OfferedModel | None:
        """A model by its full name; None where the service does not name it."""
        return next((model for model in self.models if model.name == name), None)


async def read_offer(rest: RestClient | None) -> Offer | None:
    """The models that the service says it offers; None without a REST client, or if it says nothing.

    Args:
        rest: a Tinker REST client, or an object with its interface; None: nothing is asked.

    Raises:
        ServiceError: the service failed the call.
    """
    if rest is None:
        return None
    try:
        listed = (await rest.get_server_capabilities()).supported_models
    except Exception as error:
        if is_missing(error):
            return None
        raise failure("asking for the service's models", error) from error
    models = tuple(
        OfferedModel(model.model_name, model.max_context_length, model.trainable, model.sampleable)
        for model in listed
        if model.model_name
    )
    return Offer(models) if models else None


async def served_unlisted(config: "SocraticConfig", offer: Offer | None, service: Service) -> set[str]:
    """Names of a config that the service serves without listing them, as the fake serves any name.

    The SDK's own list has every model that the caller may use; only others are asked, by opening a sampling client.

    Raises:
        ServiceError: the service failed a call.
    """
    import tinker

    if offer is None or isinstance(unwatched(service.rest), tinker.RestClient):
        return set()
    served = set[str]()
    for name in sorted(set(named_models(config).values()) - set(offer.names)):
        try:
            await service.client.create_sampling_client(base_model=name)
        except Exception as error:
            if status_of(error) not in _UNKNOWN:
                raise failure(f"asking for the model {name!r}", error) from error
        else:
            served.add(name)
    return served


def settle_names(
    config: "SocraticConfig", offer: Offer | None, served: Collection[str] = (), recorded: Collection[str] = ()
) -> tuple["SocraticConfig", list[SocraticError]]:
    """The config with the names of offered models, and the problems of names that mean none; those stay as they are.

    Args:
        config: has known short names written out.
        offer: what the service offers; None leaves all names as they are.
        served: names that the service serves, though it does not list them.
        recorded: names that the run has used so far. They keep their meaning, but must still be offered.
    """
    problems: list[SocraticError] = []
    if offer is None:
        return config, problems

    def name_of(field: str, name: str) -> str:
        try:
            full_name = name if name in served else resolve_name(name, offer.names, field)
        except ModelNotOffered as error:
            problems.append(error)
            return name
        return name if name in recorded else full_name

    return with_names(config, name_of), problems


def check_offer(config: "SocraticConfig", offer: Offer | None, *, is_trained: bool = True) -> list[SocraticError]:
    """The problems of models that cannot do what a config asks of them.

    Args:
        config: names models in full.
        offer: what the service offers; None: nothing is known.
        is_trained: whether the tutor is trained, or only played with.
    """
    return [] if offer is None else list(_misfits(config, offer, is_trained))


def _misfits(config: "SocraticConfig", offer: Offer, is_trained: bool) -> Iterator[SocraticError]:
    for field, name in named_models(config).items():
        model = offer.find(name)
        if model is None:
            continue
        if is_trained and field == "tutor_model_name" and model.trainable is False:
            yield _unable(field, name, "trained", [able.name for able in offer.models if able.trainable])
        if model.sampleable is False:
            yield _unable(field, name, "sampled from", [able.name for able in offer.models if able.sampleable])
        if model.context is not None and not is_judge(field):
            yield from _no_room(config, field, model, model.context)


def _unable(field: str, name: str, use: str, able: Sequence[str]) -> ModelNotOffered:
    instead = nearest(name, able) if able else "take another base_url"
    return ModelNotOffered(f"{field}={name!r} is on the service, but cannot be {use} there; {instead}", name)


def _no_room(config: "SocraticConfig", field: str, model: OfferedModel, context: int) -> Iterator[SocraticError]:
    wanted = config.max_context_tokens
    if wanted is not None and wanted > context:
        yield ConfigError(
            f"max_context_tokens={wanted}, but the context of {field}={model.name!r} holds {context} tokens; lower it, "
            "or leave it out to take the smallest context of the models"
        )
    if config.max_tokens >= context:
        yield ConfigError(
            f"max_tokens={config.max_tokens} leaves no room for a prompt in the context of {field}={model.name!r}, "
            f"which holds {context} tokens; lower max_tokens, or take a model with a longer context"
        )


async def settle_models(
    config: SocraticConfig, service: Service, recorded: list[str], *, is_trained: bool = True
) -> tuple[SocraticConfig, list[SocraticError]]:
    """The config with the full names of the service's models, and their problems.

    Names on the local engine are paths or its own, and stay as they are.

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
    problems = [*problems, *check_offer(config, offer, is_trained=is_trained)]
    return config, problems if offer is None else await in_thread(_with_proposal, problems, config, offer, is_trained)


def _with_proposal(
    problems: Sequence[SocraticError], config: SocraticConfig, offer: Offer, is_trained: bool
) -> list[SocraticError]:
    """The problems; the last one of a name that is not offered proposes models that are, for all names at once."""
    last = next((problem for problem in reversed(problems) if isinstance(problem, ModelNotOffered)), None)
    if last is None:
        return list(problems)
    trainable = [model.name for model in offer.models if not is_trained or model.trainable is not False]
    proposal = propose(config, trainable, [model.name for model in offer.models if model.sampleable is not False])
    if proposal is None:
        return list(problems)
    return [ModelNotOffered(last.args[0], last.name, proposal) if problem is last else problem for problem in problems]


async def check_teachers(teachers: Iterable[ResolvedTeacher], rest: RestClient | None) -> list[SocraticError]:
    """The problems of the checkpoints that teachers score with.

    Raises:
        ServiceError: the service failed a call.
    """
    problems = [await _check_teacher(teacher, rest) for teacher in teachers]
    return [problem for problem in problems if problem is not None]


async def _check_teacher(plan: ResolvedTeacher, rest: RestClient | None) -> SocraticError | None:
    path = plan.checkpoint_path
    if path is None or not path.startswith("tinker://"):
        return None
    subject = f"the teacher {plan.name!r} is to score with {path}, which"
    if "/weights/" in path:
        sampler = path.replace("/weights/", "/sampler_weights/")
        return CheckpointNotFound(f"{subject} is a training state and cannot be sampled from; expected {sampler}")
    if rest is None:
        return None
    try:
        info = await rest.get_weights_info_by_tinker_path(path)
    except Exception as error:
        if is_missing(error):
            return CheckpointNotFound(f"{subject} {GONE}; give sampler weights that exist, or leave the path out")
        raise failure(f"asking for {path}", error) from error
    if info.base_model != plan.model_name:
        return ModelMismatch(
            f"{subject} is of base model {info.base_model!r}, but the teacher's model is {plan.model_name!r}; name the "
            "checkpoint's, or give a checkpoint of the model's"
        )
    return None
