"""What the teacher thinks of the tokens of a reply."""

import asyncio
from collections import OrderedDict
from typing import Any

from socratic_distill.config.teachers import SINGLE_TEACHER, ResolvedTeacher, plan_teachers
from socratic_distill.dialogues.casting import open_teacher_client
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.compatibility import check_same_tokens
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.distillation.datums import Span, TokenSequence
from socratic_distill.distillation.scorer import span_scores
from socratic_distill.errors import ConfigError, SocraticError
from socratic_distill.outputs.serving.replies import ApiError, Said
from socratic_distill.outputs.serving.tutor import Asked, ServedTutor
from socratic_distill.service.connect import Service, get_tokenizer
from socratic_distill.service.failures import describe
from socratic_distill.service.interface import SamplingClient

_KEPT = 64  # replies that can still be scored


class ReplyScores:
    """Scores replies with the run's first teacher, which is opened when it is first asked."""

    def __init__(self, tutor: ServedTutor, service: Service) -> None:
        """Opens nothing yet.

        Args:
            tutor: whose replies are scored.
            service: that holds the teacher.
        """
        self._tutor, self._service = tutor, service
        self._plan: ResolvedTeacher = plan_teachers(tutor.config)[0]
        self._said: OrderedDict[str, tuple[Asked, Said]] = OrderedDict()
        self._teacher: tuple[SamplingClient, Renderer] | None = None
        self._opening = asyncio.Lock()  # two replies that are scored at once open one teacher

    @property
    def teacher(self) -> str:
        """The teacher's model, and its name if it has one of its own."""
        model = self._plan.checkpoint_path or self._plan.model_name
        return model if self._plan.name == SINGLE_TEACHER else f"{self._plan.name} ({model})"

    def keep(self, id: str, asked: Asked, said: Said) -> None:
        """Keeps a reply for a while, so that it can be scored."""
        self._said[id] = asked, said
        while len(self._said) > _KEPT:
            self._said.popitem(last=False)

    async def of(self, id: str) -> dict[str, Any]:
        """The pieces of a reply, how many of them are reasoning, and what tutor and teacher give each, in nats.

        Raises:
            ApiError: the reply is forgotten, or the teacher cannot be had.
        """
        if id not in self._said:
            raise ApiError(404, f"there is no reply {id!r} any more; ask for a new one", "not_found", "id")
        asked, said = self._said[id]
        try:
            teacher = await self._scored(asked, said)
        except SocraticError as error:
            raise ApiError(503, f"the teacher cannot score it: {error}", "no_teacher") from error
        except Exception as error:
            raise ApiError(503, f"the teacher cannot score it: {describe(error)}", "no_teacher") from error
        return {
            "pieces": self._tutor.renderer.codec.pieces(said.tokens),
            "thought": self._tutor.renderer.thought(said.tokens),
            "tutor": [round(value, 4) for value in said.logprobs],
            "teacher": [round(value, 4) for value in teacher],
        }

    async def _scored(self, asked: Asked, said: Said) -> list[float]:
        from tinker import ModelInput, SamplingParams

        async with self._opening:
            client, renderer = await self._opened_teacher()
        system = self._tutor.prompts.for_teacher(asked.seed, self._tutor.config.student_profile, self._plan.name)
        prompt = renderer.prompt([Message("system", system), *asked.talk])
        tokens = [*prompt, *said.tokens]
        params = SamplingParams(max_tokens=1, seed=0)
        answer = await client.sample(ModelInput.from_ints(tokens), 1, params, include_prompt_logprobs=True)
        sequence = TokenSequence(tuple(tokens), (Span(0, len(prompt), len(tokens)),))
        (values,) = span_scores(sequence, answer.prompt_logprobs, f"teacher {self._plan.name!r}")
        return values.tolist()

    async def _opened_teacher(self) -> tuple[SamplingClient, Renderer]:
        if self._teacher is None:
            plan, config = self._plan, self._tutor.config
            if plan.lag_steps is not None:
                raise ConfigError(f"teacher {plan.name!r} scores with the tutor's own earlier weights")
            client = await open_teacher_client(plan, self._service)
            renderer = Renderer(Codec(await get_tokenizer(client)), plan.model_name, plan.template, config.system_role)
            check_same_tokens(self._tutor.renderer, renderer)
            self._teacher = client, renderer
        return self._teacher
