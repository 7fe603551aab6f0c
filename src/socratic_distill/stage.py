"""The frozen side of a run: student, teacher, prompts and limits. The tutor steps onto it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from socratic_distill.config import SocraticConfig
from socratic_distill.models import full_model_name
from socratic_distill.prompts import Prompts, load_prompts
from socratic_distill.rendering import Codec, Renderer, check_same_tokens
from socratic_distill.rollout import Cast, Speaker
from socratic_distill.service import Service, get_tokenizer, open_sampling_client, smallest_context
from socratic_distill.teacher import Scorer


@dataclass(frozen=True)
class Stage:
    """Everyone but the tutor.

    Attributes:
        config: the run's config.
        scorer: scores tokens as the teacher would say them.
    """

    config: SocraticConfig
    scorer: Scorer
    _student: Speaker
    _tutor_renderer: Renderer
    _teacher_renderer: Renderer
    _prompts: Prompts
    _max_context: int | None

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of the tutor's tokens, without special ones."""
        return self._tutor_renderer.codec.decode(tuple(tokens))

    def cast(self, tutor_client: Any, version: int) -> Cast:
        """The cast of a batch, with the tutor that this sampling client samples from."""
        config = self.config
        return Cast(
            tutor=Speaker("tutor", tutor_client, self._tutor_renderer, config.max_tokens, config.temperature, version),
            student=self._student,
            teacher=self._teacher_renderer,
            prompts=self._prompts,
            profile=config.student_profile,
            max_turns=config.max_turns,
            max_context=self._max_context,
            seed=config.seed,
        )


async def open_stage(config: SocraticConfig, service: Service, tutor_client: Any) -> Stage:
    """Opens student and teacher, and refuses models that cannot work together.

    Args:
        config: which models, prompts and limits.
        service: where they are.
        tutor_client: a training or sampling client of the tutor, for its tokenizer.

    Raises:
        ConfigError: a prompt file or a tokenizer cannot be used.
        RenderingError: the models' tokens or templates do not fit.
        ServiceError: the service failed a call.
    """
    prompts = load_prompts(config)
    names = [config.tutor_model_name, config.student_model_name, config.teacher_model_name]
    tutor_name, student_name, teacher_name = map(full_model_name, names)
    opening = "the {}'s model {!r}"
    student = await open_sampling_client(
        service.client, opening.format("student", student_name), base_model=student_name
    )
    teacher = await open_sampling_client(
        service.client, opening.format("teacher", teacher_name), base_model=teacher_name
    )
    codecs = _Codecs(config)
    tutor_renderer = Renderer(await codecs.of(tutor_client), tutor_name, config.tutor_enable_thinking)
    student_renderer = Renderer(await codecs.of(student), student_name, config.student_enable_thinking)
    teacher_renderer = Renderer(await codecs.of(teacher), teacher_name, config.teacher_enable_thinking)
    check_same_tokens(tutor_renderer, teacher_renderer)
    max_context = config.max_context_tokens
    if max_context is None:
        max_context = await smallest_context(service.rest, {tutor_name, student_name, teacher_name})
    student_tokens = config.student_max_tokens or config.max_tokens
    speaker = Speaker("student", student, student_renderer, student_tokens, config.temperature)
    return Stage(config, Scorer(teacher), speaker, tutor_renderer, teacher_renderer, prompts, max_context)


class _Codecs:
    """One codec for each tokenizer, with room for the messages of all dialogues in play, and for their prompts."""

    def __init__(self, config: SocraticConfig) -> None:
        self._memory = 3 * config.max_concurrent_dialogues * (config.max_turns + 1)
        self._codecs: dict[int, Codec] = {}

    async def of(self, client: Any) -> Codec:
        tokenizer = await get_tokenizer(client)
        return self._codecs.setdefault(id(tokenizer), Codec(tokenizer, self._memory))
