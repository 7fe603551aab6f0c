"""The shapes in which OpenAI's chat API answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse


class Answer(JSONResponse):
    """An answer in JSON. Half of a surrogate pair, which UTF-8 cannot hold, is escaped as the rest is."""

    def render(self, content: Any) -> bytes:
        """The bytes of an answer."""
        return json.dumps(content, allow_nan=False).encode()


class ApiError(Exception):
    """A request that is refused, in the API's own shape."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        """Says what is wrong.

        Args:
            status: of HTTP.
            message: what was given, what was expected.
            code: the API's name for the fault.
            param: field of the request that is at fault.
        """
        super().__init__(message)
        self.status = status
        kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self) -> Answer:
        """The error as an answer."""
        return Answer(self.body, self.status)


@dataclass(frozen=True)
class Said:
    """A finished reply.

    Attributes:
        text: what the student hears.
        reasoning: what the tutor thought before; "" if it did not.
        tokens: sampled up to the end of the text, `[T]`.
        logprobs: their log-probabilities, nats.
        ended: why it ended: "stop", or "length" for a reply that was cut.
    """

    text: str
    reasoning: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: str


@dataclass(frozen=True)
class Head:
    """What all parts of an answer begin with.

    Attributes:
        id: of the answer.
        created: seconds since the epoch.
        model: its id.
        fingerprint: of the weights.
    """

    id: str
    created: int
    model: str
    fingerprint: str

    def whole(self, said: list[Said], prompt_tokens: int) -> dict[str, Any]:
        """An answer in one piece."""
        choices = [_choice(index, reply) for index, reply in enumerate(said)]
        return self._begin("chat.completion") | {"choices": choices, "usage": usage(said, prompt_tokens)}

    def part(self, index: int, delta: Mapping[str, str], ended: str | None = None) -> dict[str, Any]:
        """A piece of a streamed answer."""
        choice = {"index": index, "delta": dict(delta), "logprobs": None, "finish_reason": ended}
        return self._begin("chat.completion.chunk") | {"choices": [choice]}

    def end(self, said: list[Said], prompt_tokens: int) -> dict[str, Any]:
        """The last piece, with what was used."""
        return self._begin("chat.completion.chunk") | {"choices": [], "usage": usage(said, prompt_tokens)}

    def _begin(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def usage(said: list[Said], prompt_tokens: int) -> dict[str, int]:
    """Tokens that were read and sampled."""
    sampled = sum(len(reply.tokens) for reply in said)
    return {"prompt_tokens": prompt_tokens, "completion_tokens": sampled, "total_tokens": prompt_tokens + sampled}


def model_card(name: str, created: int) -> dict[str, Any]:
    """A model in the list of models."""
    return {"id": name, "object": "model", "created": created, "owned_by": "socratic-distill"}


def _choice(index: int, said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    return {"index": index, "message": message, "logprobs": None, "finish_reason": said.ended}
