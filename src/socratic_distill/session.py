"""From the decision on how to start to clients that are ready to train."""

from dataclasses import dataclass
from typing import Any

from socratic_distill.config import SocraticConfig
from socratic_distill.display import Display
from socratic_distill.errors import CheckpointNotFound, ModelMismatch, StartError
from socratic_distill.learner import Learner
from socratic_distill.models import full_model_name
from socratic_distill.rollout import Cast
from socratic_distill.run import RunDirectory
from socratic_distill.service import Service, connect
from socratic_distill.stage import Stage, open_stage
from socratic_distill.start import FreshStart, LoadCheckpoint, Origin, Resume, Start, resolve_start


@dataclass(frozen=True)
class RunStart:
    """Where a run begins.

    Attributes:
        start: what it begins from.
        batch: first batch to run.
        version: optimizer steps behind the weights it begins with.
        finished: final state and sampler path where nothing is left to do; None otherwise.
    """

    start: Start
    batch: int = 0
    version: int = 0
    finished: tuple[str, str | None] | None = None


def start_run(config: SocraticConfig, run: RunDirectory, total: int, display: Display) -> RunStart:
    """Decides what the run begins from and brings its directory in line with that.

    The config is written after the decision, so that a refused start leaves the directory as it was.
    """
    start = resolve_start(config.log_path, config.load_checkpoint_path)
    if isinstance(start, Resume):
        if start.batch >= total:
            display.say(
                f"{config.log_path}: the run is complete ({start.batch} of {total} steps); "
                "raise max_steps to go on from its last state"
            )
            sampler = start.record.sampler_path
            return RunStart(start, start.batch, finished=(start.state_path, sampler))
        display.say(f"{config.log_path}: resuming at step {start.batch} of {total} from {start.state_path}")
        run.roll_back(start.batch)
        run.begin(config, origin=None)
        # Records of other tools hold no version; with them each batch was one step.
        version = start.batch if start.record.version is None else start.record.version
        return RunStart(start, start.batch, version)
    resolved = start.state_path if isinstance(start, LoadCheckpoint) else None
    display.say(f"{config.log_path}: starting fresh" + (f" from the weights of {resolved}" if resolved else ""))
    run.roll_back(0)
    run.begin(config, Origin(given=config.load_checkpoint_path, resolved=resolved))
    return RunStart(start)


@dataclass
class Session:
    """The clients of a run in progress.

    Attributes:
        service: the service they are on.
        learner: trains the tutor.
        stage: everyone but the tutor.
        sampler_path: the tutor's newest sampler weights.
    """

    service: Service
    learner: Learner
    stage: Stage
    sampler_path: str
    _cast: Cast | None = None

    async def cast(self) -> Cast:
        """Everyone in the next batch's dialogues, the tutor with its newest weights."""
        version = self.learner.version
        if self._cast is None or self._cast.tutor.version != version:
            tutor = await self.service.client.create_sampling_client(model_path=self.sampler_path)
            self._cast = self.stage.cast(tutor, version)
        return self._cast


async def open_session(
    config: SocraticConfig, run: RunDirectory, start: RunStart, service_client: Any, rest_client: Any
) -> Session:
    """Opens all clients, refuses what cannot work together, and saves the first sampler weights.

    Raises:
        StartError: the state is gone, or belongs to another base model or rank.
        ConfigError: a prompt file or a tokenizer cannot be used.
        RenderingError: the models' tokens or templates do not fit.
    """
    service = await connect(config, service_client, rest_client)
    training = await _open_training_client(service, start.start, config)
    stage = await open_stage(config, service, training)
    run.note_server_run(training.model_id, start.batch)
    learner = Learner(training, run.checkpoints, config.learning_rate, config.loss_fn, start.version)
    return Session(service, learner, stage, await learner.save_sampler(start.batch))


async def _open_training_client(service: Service, start: Start, config: SocraticConfig) -> Any:
    """The training client that the start asks for, checked to be of the config's model and rank."""
    client, tutor_name = service.client, full_model_name(config.tutor_model_name)
    if isinstance(start, FreshStart):
        return await client.create_lora_training_client(base_model=tutor_name, rank=config.lora_rank, seed=config.seed)
    try:
        if isinstance(start, Resume):
            training = await client.create_training_client_from_state_with_optimizer(start.state_path)
        else:
            training = await client.create_training_client_from_state(start.state_path)
    except Exception as error:
        raise await _explain_load(service, start, error) from error
    info = training.get_info()
    found = (info.model_data.model_name or info.model_name, info.lora_rank)
    if found != (tutor_name, config.lora_rank):
        raise ModelMismatch(
            f"the state {start.state_path} is of base model {found[0]!r} with LoRA rank {found[1]}, but the config "
            f"says {tutor_name!r} with rank {config.lora_rank}. Set tutor_model_name and lora_rank to the state's, "
            "or take another log_path"
        )
    return training


async def _explain_load(service: Service, start: Resume | LoadCheckpoint, error: Exception) -> StartError:
    message = f"the state {start.state_path} cannot be loaded: {type(error).__name__}: {error}."
    sampler_path = start.state_path.replace("/weights/", "/sampler_weights/")
    if await _exists(service.rest, sampler_path):
        message += f" There are sampler weights {sampler_path}, but those cannot be trained from."
    if isinstance(start, Resume):
        message += " Take another log_path to start fresh, or pass an older state there as load_checkpoint_path"
    else:
        message += " Check load_checkpoint_path"
    return CheckpointNotFound(message)


async def _exists(rest: Any | None, path: str) -> bool:
    """Whether the service knows a checkpoint; False where nobody can be asked."""
    if rest is None:
        return False
    try:
        run_id = path.removeprefix("tinker://").partition("/")[0]
        listed = await rest.list_checkpoints(run_id)
    except Exception:
        return False
    return any(checkpoint.tinker_path == path for checkpoint in listed.checkpoints)
