"""tinker-cookbook's on-policy distillation on the workload: its own `do_sync_training`, with what a user writes.

The user's part follows the cookbook's recipe of the twenty questions: an environment in which the student is a
`TinkerMessageCompleter`, and the cookbook's `Renderer`, told how the toy models write chats. Each episode samples
its own opening, since one request for a group would keep all four waiting for the longest; the logger writes one line
a step and no spans. The trainer's part is imported as it is. It calls only the deprecated twins of the SDK's methods,
which the adapters here put in front of the virtual service; like the SDK's, they hand the plain call on.

As in that recipe an episode waits for the student's answer to the last tutor turn, which ours samples too, off the
critical path. With `answers_last=False` it is left out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tinker
from tinker_cookbook.checkpoint_utils import CheckpointManager  # pyright: ignore[reportMissingImports]
from tinker_cookbook.completers import TinkerMessageCompleter  # pyright: ignore[reportMissingImports]
from tinker_cookbook.distillation.datasets import CompositeDataset  # pyright: ignore[reportMissingImports]
from tinker_cookbook.distillation.train_on_policy import Config, do_sync_training  # pyright: ignore[reportMissingImports]
from tinker_cookbook.renderers.base import (  # pyright: ignore[reportMissingImports]
    Message,
    ParseTermination,
    RenderContext,
    RenderedMessage,
    Renderer,
    ensure_text,
    parse_response_for_stop_token,
)
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, RLDataset, StepResult  # pyright: ignore[reportMissingImports]
from tinker_cookbook.utils.ml_log import Logger  # pyright: ignore[reportMissingImports]
from workload import GROUP_SIZE, GROUPS, SAVE_EVERY, MeteredService, make_config

from socratic_distill import SocraticConfig
from socratic_distill.dialogues.batches import batch
from socratic_distill.dialogues.prompts import Prompts, load_prompts
from socratic_distill.dialogues.seeds import Seed, load_seeds
from socratic_distill.testing.tokenizer import END_TOKEN, ROLE_TOKENS


class SamplingTwins:
    """A sampling client with the twins; `opening` is the service's answer that holds the client."""

    def __init__(self, opening: Any) -> None:
        self._opening = opening
        self._client: Any = None

    async def sample_async(self, *arguments: Any, **options: Any) -> Any:
        return await (self._client or await self._open()).sample(*arguments, **options)

    async def compute_logprobs_async(self, *arguments: Any, **options: Any) -> Any:
        return await (self._client or await self._open()).compute_logprobs(*arguments, **options)

    async def _open(self) -> Any:
        self._client = await self._opening
        return self._client


class TrainingTwins:
    """A training client with the twins. Those that submit give the future, as the SDK's do."""

    def __init__(self, service: MeteredService, training: Any) -> None:
        self._service = service
        self._training = training

    async def forward_backward_async(self, *arguments: Any, **options: Any) -> Any:
        return self._training.forward_backward(*arguments, **options)

    async def optim_step_async(self, *arguments: Any, **options: Any) -> Any:
        return self._training.optim_step(*arguments, **options)

    async def save_state_async(self, *arguments: Any, **options: Any) -> Any:
        return self._training.save_state(*arguments, **options)

    async def save_weights_for_sampler_async(self, *arguments: Any, **options: Any) -> Any:
        return self._training.save_weights_for_sampler(*arguments, **options)

    async def save_weights_and_get_sampling_client_async(self) -> SamplingTwins:
        saved = self._training.save_weights_and_get_sampling_client()
        await saved
        return SamplingTwins(saved)

    def create_sampling_client(self, model_path: str) -> SamplingTwins:
        return SamplingTwins(self._service.create_sampling_client(model_path=model_path))


class ChatRenderer(Renderer):
    """The toy models' chat form for the cookbook: a role's token, the text, the end token, a line break between."""

    @property
    def has_extension_property(self) -> bool:
        return True

    def render_message(self, message: Message, ctx: RenderContext) -> RenderedMessage:
        header = ("\n" if ctx.idx else "") + ROLE_TOKENS[message["role"]]
        output = ensure_text(message["content"]) + END_TOKEN
        return RenderedMessage(header=self._chunk(header), output=[self._chunk(output)])

    def get_stop_sequences(self) -> list[int]:
        return [self.tokenizer.eos_token_id]

    def parse_response(self, response: list[int]) -> tuple[Message, ParseTermination]:
        return parse_response_for_stop_token(response, self.tokenizer, self.tokenizer.eos_token_id)

    def _chunk(self, text: str) -> tinker.EncodedTextChunk:
        return tinker.EncodedTextChunk(tokens=self.tokenizer.encode(text, add_special_tokens=False))


@dataclass(frozen=True)
class Scene:
    """What the dialogues share: the student, how both models are talked to, and the limits.

    Attributes:
        answers_last: whether an episode waits for the student's answer to the last tutor turn.
    """

    student: TinkerMessageCompleter
    renderer: Renderer
    prompts: Prompts
    config: SocraticConfig
    answers_last: bool


class TutoringEnv(Env):
    """One dialogue. The tutor is the policy, the student a part of the environment."""

    def __init__(self, scene: Scene, seed: Seed) -> None:
        self._scene = scene
        self._turns = 0
        prompts = scene.prompts
        self._tutor_view: list[Message] = [{"role": "system", "content": prompts.for_tutor(seed)}]
        self._student_view: list[Message] = [
            {"role": "system", "content": prompts.for_student(seed, scene.config.student_profile)},
            {"role": "user", "content": prompts.student_opening},
        ]

    async def initial_observation(self) -> tuple[tinker.ModelInput, list[int]]:
        await self._let_student_speak()
        return self._observation(), self._stop

    async def step(self, action: list[int], *, extra: Any = None) -> StepResult:
        said, _ = self._scene.renderer.parse_response(action)
        self._turns += 1
        self._tutor_view.append({"role": "assistant", "content": said["content"]})
        self._student_view.append({"role": "user", "content": said["content"]})
        is_done = self._turns >= self._scene.config.max_turns
        if not is_done or self._scene.answers_last:
            await self._let_student_speak()
        next_observation = tinker.ModelInput.empty() if is_done else self._observation()
        return StepResult(0.0, is_done, next_observation, self._stop)

    async def _let_student_speak(self) -> None:
        answer = await self._scene.student(self._student_view)
        self._student_view.append({"role": "assistant", "content": answer["content"]})
        self._tutor_view.append({"role": "user", "content": answer["content"]})

    def _observation(self) -> tinker.ModelInput:
        return self._scene.renderer.build_generation_prompt(self._tutor_view)

    @property
    def _stop(self) -> list[int]:
        return self._scene.renderer.get_stop_sequences()


@dataclass(frozen=True)
class TutoringGroup(EnvGroupBuilder):
    """The dialogues on one seed."""

    scene: Scene
    seed: Seed

    async def make_envs(self) -> Sequence[Env]:
        return [TutoringEnv(self.scene, self.seed) for _ in range(GROUP_SIZE)]


@dataclass(frozen=True)
class TutoringDataset(RLDataset):
    """The batches, of the same seeds in the same order as ours."""

    scene: Scene
    seeds: Sequence[Seed]
    steps: int

    def get_batch(self, index: int) -> Sequence[EnvGroupBuilder]:
        seeds = batch(self.seeds, seed=self.scene.config.seed, step=index, size=GROUPS)
        return [TutoringGroup(self.scene, seed) for seed in seeds]

    def __len__(self) -> int:
        return self.steps


class LineLogger(Logger):
    """One line of JSON a step. Without a store, no timing spans are written."""

    def __init__(self, log_path: Path) -> None:
        self._path = log_path / "metrics.jsonl"

    def log_hparams(self, config: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step} | metrics) + "\n")


async def train(service: MeteredService, directory: Path, steps: int, answers_last: bool) -> None:
    """What the cookbook's `main` does around its loop, the final save included."""
    config = make_config(directory, steps)
    log_path = Path(config.log_path)
    log_path.mkdir()
    base = await service.create_lora_training_client(config.tutor_model_name, rank=config.lora_rank)
    training: Any = TrainingTwins(service, base)
    service_client: Any = service
    student: Any = SamplingTwins(service.create_sampling_client(base_model=config.student_model_name))
    teacher: Any = SamplingTwins(service.create_sampling_client(base_model=config.teacher_model_name))
    tokenizer: Any = base.get_tokenizer()
    renderer = ChatRenderer(tokenizer)
    completer = TinkerMessageCompleter(student, renderer, config.max_tokens, temperature=config.temperature)
    scene = Scene(completer, renderer, load_prompts(config), config, answers_last)
    dataset = TutoringDataset(scene, load_seeds(config.seeds_file), steps)
    manager = CheckpointManager(training, service_client, str(log_path), save_every=SAVE_EVERY)
    await do_sync_training(
        start_batch=0,
        end_batch=steps,
        num_batches=steps,
        config=Config(
            learning_rate=config.learning_rate,
            dataset_configs=[],
            model_name=config.tutor_model_name,
            recipe_name="tutoring",
            max_tokens=config.max_tokens,
            log_path=str(log_path),
            save_every=SAVE_EVERY,
        ),
        training_client=training,
        checkpoint_mgr=manager,
        service_client=service_client,
        evaluators=[],
        dataset=CompositeDataset([dataset], [GROUPS]),
        teacher_clients=[teacher],
        ml_logger=LineLogger(log_path),
        tokenizer=tokenizer,
    )
    await manager.save_final_async({"batch": steps})
