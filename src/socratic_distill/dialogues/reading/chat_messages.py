"""Messages of chats as turns: the user is the student, the assistant the tutor.

System messages are left out, since the tutor gets the run's own prompt instead. So is reasoning, which the student does
not hear: `<think>` parts, fields such as `reasoning_content`, parts of type `reasoning`, the analysis channel.
"""

import json
from collections.abc import Iterable
from typing import Any

from socratic_distill.dialogues.dialogue import Role
from socratic_distill.dialogues.reading.values import Sentence, as_text, from_json
from socratic_distill.dialogues.reasoning import spoken
from socratic_distill.dialogues.recording import RecordedTurn

_SPEAKERS: dict[str, Role] = {"user": "student", "assistant": "tutor"}
_UNHEARD = ("system", "developer")
_UNSAID_CHANNELS = ("analysis", "commentary")
_TEXT_PARTS = ("text", "input_text", "output_text")
_REASONING_PARTS = ("reasoning", "reasoning_text", "summary_text", "thinking", "redacted_thinking")
# Who speaks in ShareGPT, in OpenAI's words.
_SHAREGPT = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}


def heard(value: Any) -> tuple[RecordedTurn, ...]:
    """The turns of OpenAI-style messages.

    Raises:
        ValueError: it is no list; of type `Sentence`: a message cannot be used.
    """
    value = from_json(value)
    if not isinstance(value, list):
        raise ValueError(f"must be a list, found {short(value)}")
    parsed = (_message(message, number) for number, message in enumerate(value, start=1))
    return tuple(turn for turn in parsed if turn and turn.text)


def heard_sharegpt(value: Any) -> tuple[RecordedTurn, ...]:
    """The turns of ShareGPT's messages, which have `from` and `value`; raises as `heard`."""
    value = from_json(value)
    return heard([_openai(message) for message in value] if isinstance(value, list) else value)


def _openai(message: Any) -> Any:
    if not isinstance(message, dict) or "from" not in message:
        return message
    rest = {key: entry for key, entry in message.items() if key not in ("from", "value")}
    speaker = message["from"]
    role = _SHAREGPT.get(speaker, speaker) if isinstance(speaker, str) else speaker
    return rest | {"role": role, "content": message.get("value")}


def in_turn(turns: Iterable[RecordedTurn]) -> tuple[RecordedTurn, ...]:
    """Trims texts, drops empty turns, and joins consecutive turns of one speaker."""
    result: list[RecordedTurn] = []
    for turn in turns:
        text = turn.text.strip()
        if text and result and result[-1].role == turn.role:
            text = f"{result.pop().text}\n{text}"
        if text:
            result.append(RecordedTurn(turn.role, text))
    return tuple(result)


def short(value: Any) -> str:
    """The beginning of a value, as JSON."""
    return json.dumps(value, default=str)[:60]


def _message(message: Any, number: int) -> RecordedTurn | None:
    """A message as a turn; None for a message that neither side says."""
    try:
        if not isinstance(message, dict):
            raise ValueError(f"expected an object with role and content, found {short(message)}")
        role = str(message.get("role"))
        if role in _UNHEARD:
            return None
        if role not in _SPEAKERS:
            raise ValueError(
                f"role is {short(message.get('role'))}; expected one of {', '.join((*_UNHEARD, *_SPEAKERS))}"
            )
        if message.get("tool_calls") or message.get("function_call"):
            raise ValueError("it calls a tool, but a tutor here has no tools; leave the row out")
        if message.get("weight") not in (None, 1):
            raise ValueError("its weight is not 1, but the tutor learns from every reply; leave the row out")
        if (channel := message.get("channel")) not in (None, "final"):
            if channel in _UNSAID_CHANNELS:
                return None
            known = ", ".join(("final", *_UNSAID_CHANNELS))
            raise ValueError(f"channel is {short(channel)}; expected one of {known}, or none")
        return RecordedTurn(_SPEAKERS[role], _said(message))
    except ValueError as error:
        raise Sentence(f"message {number}: {error}") from None


def _said(message: dict[str, Any]) -> str:
    """The text of a message without reasoning."""
    content = _content(message)
    if "<|channel|>" in content:
        raise ValueError("its content holds '<|channel|>', so reasoning and reply cannot be separated; keep the reply")
    return spoken(content).strip()


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if not isinstance(content, list):
        return _trimmed(message, "content")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXT_PARTS:
            texts.append(_trimmed(part, "text"))
        elif kind not in _REASONING_PARTS:
            raise ValueError(f'content holds {short(part)}; expected only parts {{"type": "text", "text": "…"}}')
    return "\n".join(text for text in texts if text)


def _trimmed(row: dict[str, Any], key: str) -> str:
    """A row's trimmed text at a key; it may be empty."""
    value = row.get(key)
    if isinstance(value, str) and not value.strip():
        return ""
    try:
        return as_text(value)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from None
