"""The tutor that is served: its prompt, and its replies while they are sampled."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from socratic_distill.config.config import SocraticConfig
from socratic_distill.dialogues.casting import tutor_renderer
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.dialogues.prompts import Prompts, load_prompts
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.dialogues.speaker import TUTOR_INVALID
from socratic_distill.errors import RenderingError
from socratic_distill.outputs.serving.replies import ApiError, Said
from socratic_distill.outputs.serving.requests import ChatRequest
from socratic_distill.outputs.serving.speech import Speech
from socratic_distill.service.connect import Service, open_tutor, smallest_context
from socratic_distill.service.failures import describe
from socratic_distill.service.interface import SamplingClient
from socratic_distill.service.numbers import explain_bad, first_bad

if TYPE_CHECKING:
    from tinker import SampledSequence, SampleResponse, SamplingParams

    from socratic_distill.local.draws import Row

T = TypeVar("T")

_MOST_WAITING = 64


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
    _waiting: int = 0
    _running: "set[asyncio.Future[SampleResponse]]" = field(default_factory=set)
    _is_stopped: bool = False
    _unseeded: int = 0

    def asked(self, request: ChatRequest) -> Asked:
        """A request with the tutor's own prompt.

        Raises:
            ApiError: there is no room for it, no message of the student, too many requests wait already, or the server
                is stopping.
        """
        from tinker import SamplingParams

        if self._is_stopped:
            raise _stopping()
        if self._waiting >= _MOST_WAITING:
            raise ApiError(429, f"{self._waiting} requests wait for the tutor; try again later", "rate_limit_exceeded")
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
            seed=self._next_seed() if request.seed is None else request.seed % 2**31,  # more than servers keep
            stop=list(self.renderer.end_tokens),
        )
        return Asked(problem, talk, prompt, params, request.n or 1, request.stops)

    def stop(self) -> None:
        """Ends all replies, those that wait too, with an error that says so."""
        self._is_stopped = True
        for answer in self._running:
            answer.cancel()

    def _problem(self, request: ChatRequest, talk: Sequence[Message]) -> Seed:
        first = next((message.text for message in talk if message.role == "user"), None)
        if first is None:
            raise ApiError(400, "messages holds no message of the role user, the student", "invalid_value", "messages")
        text = request.problem or (first if self.seed is None else None)
        if self.seed is not None and text in (None, self.seed.problem):
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
        except ApiError:
            raise
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
        loop, events = asyncio.get_running_loop(), asyncio.Queue[tuple[int, str] | None]()
        gone = threading.Event()

        # In the engine's thread: a stop text ends its reply at the same token however late the loop hears of it, so
        # that the other replies of the request are sampled in the same batches each time.
        def listen(row: "Row") -> bool:
            speech = speeches[row.index]
            if text := speech.take(row.tokens):
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(events.put_nowait, (row.index, text))
            return speech.length is None and not gone.is_set()

        # In a task of its own, so that the turn ends with the sampling: who reads slowly holds up nobody.
        if stream is None:  # a service answers in one piece
            answer = asyncio.ensure_future(self.client.sample(prompt, asked.count, asked.params))
        else:
            answer = asyncio.ensure_future(self._in_turn(lambda: stream(prompt, asked.count, asked.params, listen)))
        answer.add_done_callback(lambda _: events.put_nowait(None))
        self._running.add(answer)
        try:
            while (piece := await events.get()) is not None:
                yield piece
            if answer.cancelled():
                raise _stopping()
            sequences += (await answer).sequences
        finally:  # who asked may be gone: the engine is free for others at the next token
            gone.set()
            answer.cancel()
            self._running.discard(answer)

    async def _in_turn(self, start: Callable[[], Awaitable[T]]) -> T:
        self._waiting += 1
        try:
            async with self._turn:
                return await start()
        finally:
            self._waiting -= 1

    def _said(self, speech: Speech, sequence: "SampledSequence") -> Said:
        tokens = tuple(sequence.tokens)[: speech.length]
        logprobs = tuple(float(value) for value in sequence.logprobs or ())[: len(tokens)]
        if (bad := first_bad(np.asarray(logprobs))) is not None:  # weights that are not finite
            raise ApiError(500, f"{TUTOR_INVALID} {bad[0]} is {explain_bad(logprobs[bad[0]])}")
        cut = speech.length is None and sequence.stop_reason != "stop"
        reasoning = self.renderer.codec.decode(tokens[: self.renderer.thought(tokens)]).strip()
        return Said(speech.text, reasoning, tokens, logprobs, "length" if cut else "stop")


def _stopping() -> ApiError:
    return ApiError(503, "the server is stopping; start it again to go on")


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
    prompts = load_prompts(config)  # first, as it refuses files that the user did not allow
    client = await open_tutor(service, sampler_path)
    renderer = await tutor_renderer(config, client)
    most = config.max_context_tokens or await smallest_context(service.rest, {config.tutor_model_name})
    return ServedTutor(name, client, renderer, prompts, config, seed, most)
