"""The routes: OpenAI's chat API, the page, and what the page asks in addition."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from socratic_distill.outputs.serving.guard import Guard
from socratic_distill.outputs.serving.page import PAGE, POLICY
from socratic_distill.outputs.serving.replies import Answer, ApiError, Head, Said, model_card
from socratic_distill.outputs.serving.requests import ChatRequest, read_chat, read_scores
from socratic_distill.outputs.serving.scores import ReplyScores
from socratic_distill.outputs.serving.tutor import Asked, ServedTutor

T = TypeVar("T")
_SECONDS = 0.2  # between two looks at whether a client is still there


class App:
    """Answers for one tutor."""

    def __init__(self, tutor: ServedTutor, scores: ReplyScores, fingerprint: str) -> None:
        """Keeps who answers.

        Args:
            tutor: the tutor.
            scores: the teacher's scores of its replies.
            fingerprint: of its weights.
        """
        self._tutor, self._scores, self._fingerprint = tutor, scores, fingerprint
        self._created = int(time.time())

    def asgi(self) -> Guard:
        """The application, within its guard."""
        routes = [
            Route("/", self._page, methods=["GET"]),
            Route("/about", self._about, methods=["GET"]),
            Route("/scores", self._score, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/models/{name:path}", self._model, methods=["GET"]),
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
        ]
        handlers: Any = {ApiError: _refused, HTTPException: _refused, ClientDisconnect: _gone, Exception: _failed}
        # Outermost, so that its headers are on an error's answer too.
        return Guard(Starlette(routes=routes, exception_handlers=handlers))

    async def _page(self, _: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def _about(self, _: Request) -> Response:
        seed = self._tutor.seed
        return Answer({
            "model": self._tutor.name,
            "problem": None if seed is None else seed.problem,
            "teacher": self._scores.teacher,
        })  # fmt: skip

    async def _score(self, request: Request) -> Response:
        return Answer(await self._scores.of(read_scores(await request.body()).id))

    async def _models(self, _: Request) -> Response:
        return Answer({"object": "list", "data": [model_card(self._tutor.name, self._created)]})

    async def _model(self, request: Request) -> Response:
        self._check_model(request.path_params["name"])
        return Answer(model_card(self._tutor.name, self._created))

    async def _complete(self, request: Request) -> Response:
        wanted = read_chat(await request.body())
        self._check_model(wanted.model)
        asked = self._tutor.asked(wanted)
        head = Head(f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), self._tutor.name, self._fingerprint)
        if wanted.stream:
            return StreamingResponse(self._stream(head, asked, wanted), media_type="text/event-stream")
        said = await _while_connected(request, self._whole(asked))
        self._keep(head, asked, said)
        return Answer(head.whole(said, len(asked.prompt)))

    def _check_model(self, name: str) -> None:
        if name != self._tutor.name:
            message = f"there is no model {name!r} here; this server has {self._tutor.name!r}"
            raise ApiError(404, message, "model_not_found", "model")

    async def _whole(self, asked: Asked) -> list[Said]:
        async with aclosing(self._tutor.replies(asked)) as events:
            async for event in events:
                if isinstance(event, list):
                    return event
        raise AssertionError("replies end with all of them")

    async def _stream(self, head: Head, asked: Asked, wanted: ChatRequest) -> AsyncIterator[str]:
        try:
            for index in range(asked.count):
                yield _event(head.part(index, {"role": "assistant", "content": ""}))
            async with aclosing(self._tutor.replies(asked)) as events:
                async for event in events:
                    if isinstance(event, tuple):
                        yield _event(head.part(event[0], {"content": event[1]}))
                        continue
                    self._keep(head, asked, event)
                    for index, said in enumerate(event):
                        thought = {"reasoning_content": said.reasoning} if said.reasoning else {}
                        yield _event(head.part(index, thought, said.ended))
                    if wanted.stream_options is not None and wanted.stream_options.include_usage:
                        yield _event(head.end(event, len(asked.prompt)))
        except ApiError as error:  # the answer has begun: its status cannot change
            yield _event(error.body)
        yield "data: [DONE]\n\n"

    def _keep(self, head: Head, asked: Asked, said: list[Said]) -> None:
        if len(said) == 1:
            self._scores.keep(head.id, asked, said[0])


async def _while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of some work, which is stopped when nobody waits for it any more."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_SECONDS)
            if not task.done() and await request.is_disconnected():
                raise ApiError(499, "the client is gone")
        return task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


def _event(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, ApiError):
        return error.response()
    assert isinstance(error, HTTPException)
    known = {404: "there is nothing at this address", 405: "this address takes another method"}
    return ApiError(error.status_code, known.get(error.status_code, error.detail)).response()


async def _gone(_: Request, error: Exception) -> Response:
    return ApiError(499, "the client is gone").response()


async def _failed(_: Request, error: Exception) -> Response:
    return ApiError(500, f"the server failed: {type(error).__name__}").response()
