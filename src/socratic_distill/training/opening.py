"""Opens the training client on what the run begins from: the newest state that the service still has."""

from collections.abc import Sequence

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.model_names import is_same_model
from socratic_distill.config.trust import check_files
from socratic_distill.config.values import LORA_FLAGS
from socratic_distill.dialogues.cast import Teachers
from socratic_distill.errors import (
    CheckpointNotFound,
    DamagedWeights,
    ModelMismatch,
    NoUsableCheckpoint,
    ServiceError,
    SocraticError,
)
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.drift import Change
from socratic_distill.run.journal import Journal
from socratic_distill.run.plan import Plan, decide
from socratic_distill.run.start import FreshStart, LoadCheckpoint, Resume, Start, read_history, resolve
from socratic_distill.service.connect import GONE, Service, is_gone, open_tutor
from socratic_distill.service.failures import describe, failure, is_missing, status_of
from socratic_distill.service.interface import RestClient, TrainingClient


async def open_training_client(plan: Plan, run: RunDirectory, service: Service) -> tuple[Start, TrainingClient]:
    """What the run begins from, and a training client on it, checked to be of the config's model and rank.

    The newest state that the service still has is taken; those that it lacks are passed over.

    Raises:
        StartError: there is nothing to begin from, or it belongs to another base model or rank.
        ServiceError: the service failed a call.
    """
    config, client = plan.config, service.client
    tutor_name = config.tutor_model_name
    unusable: dict[str, str] = {}
    while True:  # each turn passes over a state that the service lacks, and `decide` names the next newest
        start = decide(plan, run, unusable)
        _refuse_upload(start, config, client)
        if isinstance(start, Resume) and await is_gone(service.rest, start.state_path):
            unusable[start.state_path] = GONE
            continue
        try:
            if isinstance(start, FreshStart):
                request = client.create_lora_training_client(
                    base_model=tutor_name, rank=config.lora_rank, seed=config.seed, **config.lora_flags
                )
                return start, await request
            if isinstance(start, Resume):
                training = await client.create_training_client_from_state_with_optimizer(start.state_path)
            else:
                # An adapter of another program does not always name its base model as this machine does.
                base = {"base_model": str(tutor_name)} if _is_local(start.state_path) else {}
                training = await client.create_training_client_from_state(start.state_path, **base)
        except Exception as error:
            if isinstance(start, Resume) and (is_missing(error) or isinstance(error, DamagedWeights)):
                unusable[start.state_path] = GONE if is_missing(error) else f"cannot be read: {error}"
                continue
            raise await _explain(service.rest, start, error) from error
        # The service opens any state, also another model's; training it would only fail at the end, or not at all.
        model = await _model_of(training, start.state_path, service.rest)
        _check_model(start.state_path, model, (tutor_name, config.lora_rank))
        await _check_targets(start, service.rest, config)
        return start, training


async def check_start(
    config: SocraticConfig, run: RunDirectory, rest: RestClient | None, drift: Sequence[Change] = ()
) -> Start:
    """What the run would start from, without opening it.

    Args:
        config: the run's config.
        run: its directory; nothing is written there.
        rest: is asked whether the state exists, and for its model and rank; None: nothing is asked.
        drift: where the config differs from the run in the directory.

    Raises:
        StartError: there is nothing to begin from, or it belongs to another base model or rank.
        ServiceError: the service failed a call.
    """
    check_files(config, "load_checkpoint_path")
    unusable: dict[str, str] = {}
    while True:
        start = resolve(read_history(run.path), config.load_checkpoint_path, unusable, drift)
        _refuse_upload(start, config, rest)
        if isinstance(start, FreshStart) or rest is None:
            return start
        try:
            info = await rest.get_weights_info_by_tinker_path(start.state_path)
        except Exception as error:
            if isinstance(start, Resume) and is_missing(error):
                unusable[start.state_path] = GONE
                continue
            raise await _explain(rest, start, error) from error
        wanted = (config.tutor_model_name, config.lora_rank)
        _check_model(start.state_path, (info.base_model, info.lora_rank), wanted)
        await _check_targets(start, rest, config)
        return start


def _is_local(state_path: str) -> bool:
    """Whether a state is a directory of this machine."""
    return "://" not in state_path


def _refuse_upload(start: Start, config: SocraticConfig, client: object) -> None:
    """Returns unless a run on a service is to start from weights of this machine."""
    is_engine = config.base_url == "local" or getattr(client, "is_in_process", False)
    if isinstance(start, LoadCheckpoint) and _is_local(start.state_path) and not is_engine:
        raise CheckpointNotFound(
            f"load_checkpoint_path={start.state_path!r} is on this machine, and the service has no call that uploads "
            "weights. Start from a state of the service, or train on this machine with base_url='local'"
        )


async def _exists(rest: RestClient | None, path: str) -> bool:
    """Whether the service certainly holds a checkpoint; False if there is no one to ask.

    Not every server answers for the path of sampler weights, but all of them list them.
    """
    if rest is None:
        return False
    try:
        listed = await rest.list_checkpoints(path.removeprefix("tinker://").split("/")[0])
    except Exception:  # whatever failed, it says nothing about the checkpoint
        return False
    return any(checkpoint.tinker_path == path for checkpoint in listed.checkpoints)


async def _model_of(
    training: TrainingClient, state_path: str, rest: RestClient | None
) -> tuple[str | None, int | None]:
    """Base model and LoRA rank of a client on a state. Some servers only give the rank for the state itself."""
    info = training.get_info()
    name, rank = info.model_data.model_name or info.model_name, info.lora_rank
    if rank is None and rest is not None:  # training with another rank would go unnoticed
        try:
            rank = (await rest.get_weights_info_by_tinker_path(state_path)).lora_rank
        except Exception as error:
            raise failure(f"asking for {state_path}", error) from error
    return name, rank


def _check_model(state_path: str, stored: tuple[str | None, int | None], wanted: tuple[str, int]) -> None:
    """Compares base model and LoRA rank; what the service does not say is not compared."""
    name, rank = stored
    # A path of this machine may lead to an adapter that names its model otherwise; opening it compares the two.
    is_other = name and not (is_same_model(name, wanted[0]) if _is_local(state_path) else name == wanted[0])
    if is_other or rank not in (None, wanted[1]):
        raise ModelMismatch(
            f"the state {state_path} is of base model {stored[0]!r} with LoRA rank {stored[1]}, but the config "
            f"says {wanted[0]!r} with rank {wanted[1]}. Set tutor_model_name and lora_rank to the state's, "
            "or take another log_path"
        )


async def _check_targets(start: Start, rest: RestClient | None, config: SocraticConfig) -> None:
    """Compares the layers that carry the LoRA of another run's state; what the service does not say is not compared.

    Within a run `lora_targets` cannot change unnoticed.
    """
    if not isinstance(start, LoadCheckpoint) or rest is None:
        return
    try:
        info = await rest.get_weights_info_by_tinker_path(start.state_path)
    except Exception as error:
        raise failure(f"asking for {start.state_path}", error) from error
    flags = {target: getattr(info, flag) for target, flag in LORA_FLAGS.items()}
    if any(value not in (None, target in config.lora_targets) for target, value in flags.items()):
        raise ModelMismatch(
            f"the state {start.state_path} has its LoRA on {[target for target, value in flags.items() if value]}, but "
            f"the config says lora_targets={list(config.lora_targets)}. Set lora_targets to the state's, or start from "
            "another state"
        )


async def _explain(rest: RestClient | None, start: Start, error: Exception) -> SocraticError:
    """The error that says why no training client could be opened."""
    if isinstance(start, LoadCheckpoint) and status_of(error) in (400, 404):
        message = f"the state {start.state_path} cannot be loaded: {describe(error)}."
        sampler_path = start.state_path.replace("/weights/", "/sampler_weights/")
        if await _exists(rest, sampler_path):
            message += f" There are sampler weights {sampler_path}, but those cannot be trained from."
        return CheckpointNotFound(f"{message} Check load_checkpoint_path")
    what = "a fresh LoRA" if isinstance(start, FreshStart) else f"the state {start.state_path}"
    return failure(f"opening a training client on {what}", error)


async def restore_tutors(teachers: Teachers, run: RunDirectory, service: Service, batch: int) -> None:
    """Opens the tutor's earlier weights with which lagged teachers score the batches from `batch` on.

    Raises:
        NoUsableCheckpoint: the journal names no such weights, or the service does not have them any more.
    """
    needed = teachers.tutors_before(batch)
    if not needed:
        return
    journal = Journal.read(run.checkpoints.path)
    for earlier in sorted(needed):
        paths = [path for path in journal.sampler_paths(earlier) if not journal.is_deleted(path)]
        problem: Exception | None = None
        for path in paths:  # a save that was tried again left several
            try:
                teachers.tutors[earlier] = await open_tutor(service, path)
                break
            except ServiceError as error:
                problem = error
        else:
            reason = f"the service cannot open {paths[0]} ({problem})" if paths else "the journal names none"
            raise NoUsableCheckpoint(
                f"{run.path}: a teacher scores batch {batch} with the tutor's weights before batch {earlier}, and "
                f"{reason}. Keep sampler weights longer (sampler_ttl_seconds), or start a run of its own from the "
                "newest state: another log_path, with this one as load_checkpoint_path"
            ) from problem
