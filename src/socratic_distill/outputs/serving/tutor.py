"""The tutor that is served: its prompt, and its replies while they are sampled."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.reasoning import TemplateChoice
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.dialogues.prompts import Prompts, load_prompts
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.errors import RenderingError
from socratic_distill.outputs.serving.replies import ApiError, Said
from socratic_distill.outputs.serving.requests import ChatRequest
from socratic_distill.outputs.serving.speech import Speech
from socratic_distill.service.connect import Service, get_tokenizer, open_tutor, smallest_context
from socratic_distill.service.failures import describe
from socratic_distill.service.interface import SamplingClient

if TYPE_CHECKING:
    from tinker import SampledSequence, SamplingParams

    from socratic_distill.local.draws import Row


@dataclass(frozen=True)
class Asked:
    """A request, as the tutor gets it.

    Attributes:
        seed: the problem.
        talk: what student and tutor said, without system messages.
        prompt: tokens before the reply, `[P]`.
        params: how it is sampled.
        count: number of replies.
        stops: texts that end a reply.
    """

    seed: Seed
    talk: tuple[Message, ...]
    prompt: tuple[int, ...]
    params: "SamplingParams"
    count: int
    stops: tuple[str, ...]


@dataclass
class ServedTutor:
    """A tutor.

    Attributes:
        name: id of the model.
        client: its sampling client.
        renderer: messages to tokens.
        prompts: the run's prompts.
        config: of the run.
        seed: the problem that the server was started with; None: the first message of a talk is the problem.
        most: tokens of its context; None: unknown.
    """

    name: str
    client: SamplingClient
    renderer: Renderer
    prompts: Prompts
    config: SocraticConfig
    seed: Seed | None
    most: int | None
    # Two requests never share a batch, which rounds otherwise than one alone: the same seed gives the same reply.
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _unseeded: int = 0

    def asked(self, request: ChatRequest) -> Asked:
        """A request with the tutor's own prompt.

        Raises:
            ApiError: there is no room for it, or no message of the student.
        """
        from tinker import SamplingParams

        talk = tuple(
            Message("assistant" if message.role == "assistant" else "user", message.content)
            for message in request.messages
            if message.role in ("user", "assistant")
        )
        problem = self._problem(request, talk)
        said = [message.content for message in request.messages if message.role in ("system", "developer")]
        system = "\n\n".join([self.prompts.for_tutor(problem), *said])
        try:
            prompt = self.renderer.prompt([Message("system", system), *talk])
        except RenderingError as error:
            raise ApiError(400, str(error), "invalid_value", "messages") from None
        params = SamplingParams(
            max_tokens=self._length(request, len(prompt)),
            temperature=self.config.temperature if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=self._next_seed() if request.seed is None else request.seed % 2**63,
            stop=list(self.renderer.end_tokens),
        )
        return Asked(problem, talk, prompt, params, request.n or 1, request.stops)

    def _problem(self, request: ChatRequest, talk: Sequence[Message]) -> Seed:
        first = next((message.text for message in talk if message.role == "user"), None)
        if first is None:
            raise ApiError(400, "messages holds no message of the role user, the student", "invalid_value", "messages")
        text = request.problem or (first if self.seed is None else None)
        if self.seed is not None and text in (None, self.seed.question):
            return self.seed
        return Seed(id="chat", question=str(text), expected_answer="", answer_kind="none")

    def _length(self, request: ChatRequest, prompt: int) -> int:
        wanted = request.limit or self.config.max_tokens
        room = wanted if self.most is None else self.most - prompt
        if room < 1 or (request.limit is not None and room < wanted):
            raise ApiError(
                400,
                f"the tutor's context holds {self.most} tokens; the messages with its prompt have {prompt}, and a "
                f"reply of {wanted} was asked for. Shorten the talk, or ask for fewer tokens",
                "context_length_exceeded",
                "messages",
            )
        return min(wanted, room)

    def _next_seed(self) -> int:
        self._unseeded += 1
        return self._unseeded

    async def replies(self, asked: Asked) -> AsyncGenerator[tuple[int, str] | list[Said]]:
        """Pieces of text as they are sampled, each with the number of its reply; at last all replies.

        Raises:
            ApiError: the service failed.
        """
        speeches = [Speech(self.renderer, asked.stops) for _ in range(asked.count)]
        sequences: list[SampledSequence] = []
        try:
            async with aclosing(self._sampled(asked, speeches, sequences)) as pieces:
                async for piece in pieces:
                    yield piece
        except Exception as error:
            raise ApiError(500, f"the reply failed: {describe(error)}") from error
        said = []
        for index, (speech, sequence) in enumerate(zip(speeches, sequences, strict=True)):
            if rest := speech.finish(sequence.tokens):
                yield index, rest
            said.append(self._said(speech, sequence))
        yield said

    async def _sampled(
        self, asked: Asked, speeches: Sequence[Speech], sequences: list["SampledSequence"]
    ) -> AsyncGenerator[tuple[int, str]]:
        """Pieces of text as they are sampled; at the end the replies are in `sequences`."""
        from tinker import ModelInput

        prompt, stream = ModelInput.from_ints(list(asked.prompt)), getattr(self.client, "stream", None)
        if stream is None:  # a service answers in one piece
            sequences += (await self.client.sample(prompt, asked.count, asked.params)).sequences
            return
        loop, events = asyncio.get_running_loop(), asyncio.Queue[tuple[int, tuple[int, ...]] | None]()
        ended: set[int] = set()

        def listen(row: "Row") -> bool:  # in the engine's thread
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(events.put_nowait, (row.index, tuple(row.tokens)))
            return row.index not in ended

        async with self._turn:
            answer = asyncio.ensure_future(_awaited(stream(prompt, asked.count, asked.params, listen)))
            answer.add_done_callback(lambda _: events.put_nowait(None))
            try:
                while (event := await events.get()) is not None:
                    index, tokens = event
                    if text := speeches[index].take(tokens):
                        yield index, text
                    if speeches[index].length is not None:
                        ended.add(index)
                sequences += (await answer).sequences
            finally:  # who asked may be gone: the engine is free for others at the next token
                ended.update(range(asked.count))
                with suppress(Exception):
                    await asyncio.shield(answer)

    def _said(self, speech: Speech, sequence: "SampledSequence") -> Said:
        tokens = tuple(sequence.tokens)[: speech.length]
        logprobs = tuple(float(value) for value in sequence.logprobs or ())[: len(tokens)]
        cut = speech.length is None and sequence.stop_reason != "stop"
        reasoning = self.renderer.codec.decode(tokens[: self.renderer.thought(tokens)]).strip()
        return Said(speech.text, reasoning, tokens, logprobs, "length" if cut else "stop")


async def _awaited(future: Any) -> Any:
    return await future


async def open_served_tutor(
    config: SocraticConfig, service: Service, sampler_path: str, name: str, seed: Seed | None
) -> ServedTutor:
    """Opens a tutor on sampler weights.

    Args:
        config: of the run, with full model names.
        service: that holds the weights.
        sampler_path: the weights.
        name: id of the model.
        seed: the problem; None: the first message of a talk.

    Raises:
        ConfigError: a prompt or the tokenizer cannot be used.
        RenderingError: the model's chat template cannot be used.
        ServiceError: the service failed a call.
    """
    client = await open_tutor(service, sampler_path)
    template = TemplateChoice(config.tutor_enable_thinking, config.tutor_reasoning, config.tutor_template_options)
    renderer = Renderer(Codec(await get_tokenizer(client)), config.tutor_model_name, template, config.system_role)
    most = config.max_context_tokens or await smallest_context(service.rest, {config.tutor_model_name})
    return ServedTutor(name, client, renderer, load_prompts(config), config, seed, most)
