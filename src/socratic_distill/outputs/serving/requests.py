"""What a request may hold: the fields of OpenAI's chat API that a tutor understands."""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from socratic_distill.outputs.serving.replies import ApiError

_MOST_MESSAGES, _MOST_TEXT, _MOST_STOPS, _MOST_REPLIES = 1000, 200_000, 4, 16
# Fields that would change the reply, with the value that changes nothing; the last ones are other servers' own. Fields
# that are unknown are left aside.
_UNSUPPORTED: dict[str, Any] = {
    "audio": None, "frequency_penalty": 0, "function_call": "none", "functions": [], "logit_bias": {},
    "logprobs": False, "modalities": ["text"], "presence_penalty": 0, "reasoning_effort": None,
    "response_format": {"type": "text"}, "tool_choice": "none", "tools": [], "top_logprobs": 0,
    "web_search_options": None,
    "chat_template_kwargs": {}, "ignore_eos": False, "min_p": 0, "min_tokens": 0, "repetition_penalty": 1,
    "stop_token_ids": [], "top_k": -1,
}  # fmt: skip
# Without tools and functions these choose among none; some servers write "all tokens" so.
_HARMLESS_TOO = (("tool_choice", "auto"), ("function_call", "auto"), ("top_k", 0))


def _joined(content: Any) -> Any:
    """A message's text, which may come in parts."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else part
            raise ValueError(f"a part of the kind {kind!r} is given; a tutor reads text alone")
        texts.append(part["text"])
    return "".join(texts)


T = TypeVar("T", bound=BaseModel)
Text = Annotated[str, BeforeValidator(_joined), Field(max_length=_MOST_TEXT)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]


class ApiMessage(BaseModel):
    """A message. "user" is the student, "assistant" the tutor."""

    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Text


class StreamOptions(BaseModel):
    """What a stream holds in addition."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A request for a reply.

    `problem` is this server's own: the problem to talk about. None: as the server was started.
    """

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str
    messages: Annotated[list[ApiMessage], Field(min_length=1, max_length=_MOST_MESSAGES)]
    problem: Annotated[str, Field(min_length=1, max_length=_MOST_TEXT)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=_MOST_STOPS)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=_MOST_REPLIES)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a reply."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def limit(self) -> int | None:
        """Most tokens of a reply."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class ScoresRequest(BaseModel):
    """A request for what the teacher thinks of a reply."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: Annotated[str, Field(max_length=200)]


def read_chat(body: bytes) -> ChatRequest:
    """The request for a reply that a body holds.

    Raises:
        ApiError: it holds none, or asks for what a tutor does not do.
    """
    fields = _parse(body)
    for name, harmless in _UNSUPPORTED.items():
        value = fields.get(name)
        if value is not None and value != harmless and (name, value) not in _HARMLESS_TOO:
            message = f"{name} is not supported: a tutor answers with text alone; leave it out"
            raise ApiError(400, message, "unsupported_value", name)
    return _checked(ChatRequest, fields)


def read_scores(body: bytes) -> ScoresRequest:
    """The request for scores that a body holds.

    Raises:
        ApiError: it holds none.
    """
    return _checked(ScoresRequest, _parse(body))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not JSON; expected an object", "invalid_json") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "the body is not a JSON object", "invalid_json")
    return fields


def _checked(kind: type[T], fields: dict[str, Any]) -> T:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        location = ".".join(str(part) for part in first["loc"])
        param = str(first["loc"][0]) if first["loc"] else None
        code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
        raise ApiError(400, f"{location}: {first['msg']}", code, param) from None
