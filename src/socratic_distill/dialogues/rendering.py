"""Messages to tokens with a model's own chat template, and reply tokens to text.

A viewer's own replies enter its context as the tokens that were sampled. The template is rendered with a marker in
place of each reply, the text between the markers is encoded, and the sampled tokens replace the markers. Sampled
tokens are never decoded and encoded again, since that may give other tokens.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import jinja2

from socratic_distill.config.reasoning import AS_IT_COMES, TemplateChoice
from socratic_distill.dialogues.channels import Channels
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.dialogues.reasoning import THINK_CLOSE, THINK_OPEN, spoken
from socratic_distill.dialogues.template_variables import chat_template, template_variables
from socratic_distill.errors import RenderingError

# Private-use characters: no template trims or rewrites them, and `Codec.hide` removes them from messages.
_MARKER = "\ue000{}\ue001"
_MARKERS = re.compile("\ue000(\\d+)\ue001")
_SYSTEM_MARKER = "\ue002\ue003"
# Blanks and marks of reasoning: a template may write them before a reply in history, but not in a prompt.
_UNSAID = re.compile(r"</?think>|\s")
_QUESTION, _REPLY = Message("user", tokens=()), Message("assistant", tokens=())


class Renderer:
    """Renders for one model."""

    def __init__(
        self,
        codec: Codec,
        model_name: str,
        template: TemplateChoice = AS_IT_COMES,
        system_role: Literal["require", "merge"] = "require",
    ) -> None:
        """Tests the chat template.

        Args:
            codec: the client's tokenizer. Models with the same tokenizer may share it and its cache.
            model_name: for error messages.
            template: the variables that the chat template is rendered with.
            system_role: what to do with a template without a system role: "require" refuses it, "merge" puts the system
                prompt and a blank line before the text of the first user message.

        Raises:
            ConfigError: the template is known not to have the level of reasoning that `template` asks for.
            RenderingError: the tokenizer has no chat template, or one that this library cannot use.
        """
        self.codec = codec
        self.tokenizer = codec.tokenizer
        self.model_name = model_name
        self._template = chat_template(codec.tokenizer, template)
        if self._template in (None, "") and hasattr(codec.tokenizer, "chat_template"):
            raise RenderingError(
                f"the model {model_name!r} has no chat template, so it is probably not a chat model; use its chat or "
                "instruct variant, or give a template (tutor_chat_template_file, and likewise for student and teacher)"
            )
        self._variables = template_variables(codec.tokenizer, model_name, template)
        self._merges_system = False  # the tests below need the template unchanged
        between = self._check_template()
        self.end_token = self._find_end_token(between)
        # Some templates close the last reply with another token than earlier replies.
        self._template_ends = {self.end_token, self._first_special(between)} - {None}
        # In channels the mark that closes a past reply also stands between the channels of a new one.
        self._inner_ends = self._template_ends - {self.end_token} if self._channels is not None else frozenset()
        self.end_tokens = self._find_end_tokens()
        fault = self._find_system_fault()
        if fault is not None and system_role == "require":
            raise RenderingError(
                f"{fault}; set the config field system_role='merge', which puts the system prompt before the first "
                "user message, or use a model whose template has a system role"
            )
        self._merges_system = fault is not None

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Tokens of the messages, ready for the viewer's next reply, `[P]`."""
        head, *rest = self.frame(messages)
        replies = [message.tokens for message in messages if message.tokens is not None]
        tokens = self.codec.encode(head)
        for reply, text in zip(replies, rest, strict=True):
            tokens += reply
            tokens += self.codec.encode(text)
        return tuple(tokens)

    def frame(self, messages: Sequence[Message]) -> list[str]:
        """The texts around the replies that are given as tokens: before the first, between them, after the last.

        Raises:
            RenderingError: the template cannot render the messages, or does not keep every reply once and in order.
        """
        parts = _MARKERS.split(self.text(messages))
        kept = [int(mark) for mark in parts[1::2]]
        count = sum(message.tokens is not None for message in messages)
        if kept != list(range(count)):
            raise RenderingError(
                f"the chat template of {self.model_name!r} does not keep every reply of a dialogue once and in "
                f"order (kept {kept} of {count}); multi-turn dialogues need a template that does"
            )
        return parts[::2]

    def text(self, messages: Sequence[Message]) -> str:
        """The messages as the template writes them, ready for the next reply, with a marker for each reply of tokens.

        Raises:
            RenderingError: the template cannot render the messages.
        """
        return self._render(messages, add_generation_prompt=True)

    def visible_text(self, tokens: Sequence[int]) -> str:
        """The text of a reply that the other side hears: decoded, without reasoning and special tokens.

        It is empty for a reply that was cut inside its reasoning.
        """
        if self._channels is not None:
            return self.codec.decode(self.history(tokens)).strip()
        return spoken(self.codec.decode(tuple(tokens)), self._opens_thinking).strip()

    def own_length(self, tokens: Sequence[int]) -> int:
        """How many of a reply's tokens belong to the turn as the template writes it.

        A reply may stop at an end token of the model that is not the template's. That token enters no later context
        and is not trained on, because the template closes the turn with its own.

        Args:
            tokens: a reply that stopped at an end token, as sampled, `[T]`.
        """
        is_foreign = bool(tokens) and tokens[-1] in self.end_tokens and tokens[-1] not in self._template_ends
        return len(tokens) - is_foreign

    def written_reply(self, text: str) -> tuple[int, ...]:
        """Tokens of a reply that is given as text, with the template's end token, `[T]`.

        If the prompt opens reasoning, the reply begins by closing it. In channels it begins with the header of speech.
        """
        if self._channels is not None:
            return (*self._channels.header, *self.codec.encode_said(text), self.end_token)
        closing = self.codec.encode(f"\n{THINK_CLOSE}\n\n") if self._opens_thinking else []
        return (*closing, *self.codec.encode_said(text), self.end_token)

    def without_end_mark(self, text: str) -> str:
        """A recorded text without end-of-turn marks after it, since the template writes one."""
        marks = {self.tokenizer.decode([token], skip_special_tokens=False).strip() for token in self.end_tokens}
        while mark := next((mark for mark in marks if mark and text.rstrip().endswith(mark)), ""):
            text = text.rstrip().removesuffix(mark).rstrip()
        return text

    def history(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The part of a reply that stays in its speaker's own later context, `[H]`.

        The template adds the end-of-turn token. Reasoning is dropped, as templates of thinking models do, if its
        closing mark is one token.
        """
        reply = self._without_end(tokens)
        if self._channels is not None:
            start = self._channels.speech(reply)
            said = () if start is None else reply[start:]
            # Speech ends at the first mark between channels, whatever a model goes on to sample.
            return said[: next((i for i, token in enumerate(said) if token in self._inner_ends), len(said))]
        return reply[self._after_close(reply) :]

    def thought(self, tokens: Sequence[int]) -> int:
        """How many of a reply's first tokens are reasoning.

        The closing mark and the white space after it count too, so that `tokens[thought:]` is `history` and the
        end-of-turn token. It is all tokens if the reply was cut inside its reasoning, and 0 without reasoning. A
        closing mark of several tokens counts here, although `history` keeps it.

        Args:
            tokens: the reply as sampled, `[T]`.
        """
        reply = self._without_end(tokens)
        if self._channels is not None:
            start = self._channels.speech(reply)
            return len(tokens) if start is None else start
        if start := self._after_close(reply):
            return start
        text = self.codec.decode(tuple(tokens))
        match self._reasoning(text):
            case "closed":
                marks = text.count(THINK_CLOSE)
                # The mark has several tokens. Search for the smallest number of tokens whose text holds every mark.
                lengths = range(len(reply))
                start = bisect_left(lengths, marks, key=lambda n: self.codec.decode(reply[:n]).count(THINK_CLOSE))
                return self._skip_blanks(reply, start)
            case "cut":
                return len(tokens)
            case "none":
                return 0

    def _reasoning(self, text: str) -> Literal["closed", "cut", "none"]:
        """Whether the reasoning in a reply's text was closed, was cut, or is absent."""
        if THINK_CLOSE in text:
            return "closed"
        return "cut" if self._opens_thinking or THINK_OPEN in text else "none"

    def _without_end(self, tokens: Sequence[int]) -> tuple[int, ...]:
        ended = bool(tokens) and tokens[-1] in self._template_ends
        return tuple(tokens[:-1] if ended else tokens)

    def _after_close(self, reply: tuple[int, ...]) -> int:
        """Index of the first token after the last one-token closing mark and its white space; 0 without a mark."""
        if self._think_close_token not in reply:
            return 0
        return self._skip_blanks(reply, len(reply) - reply[::-1].index(self._think_close_token))

    def _skip_blanks(self, reply: tuple[int, ...], start: int) -> int:
        while start < len(reply) and not self.tokenizer.decode([reply[start]]).strip():
            start += 1
        return start

    @cached_property
    def _opens_thinking(self) -> bool:
        return self.text([Message("user", "?")]).rstrip().endswith(THINK_OPEN)

    @cached_property
    def _think_close_token(self) -> int | None:
        tokens = self.codec.encode(THINK_CLOSE)
        is_one = len(tokens) == 1 and self.tokenizer.decode(tokens).strip() == THINK_CLOSE
        return tokens[0] if is_one else None

    def _check_template(self) -> str:
        """Refuses a template that does not keep messages as they are; returns its text between reply and question."""
        talk = [_QUESTION, _REPLY, _QUESTION]
        try:
            _, header, between, _ = self.frame(talk)
        except RenderingError as error:
            if self._takes_parts(talk):
                raise RenderingError(
                    f"the chat template of {self.model_name!r} takes the content of a message as a list of parts, not "
                    "as text; put a chat_template.jinja that takes text next to its tokenizer, or use a text model"
                ) from error
            raise
        self._channels = self._find_channels(header)
        return between

    def _takes_parts(self, talk: Sequence[Message]) -> bool:
        try:
            text = self._write(talk, add_generation_prompt=True, as_parts=True)
        except Exception:  # templates raise errors of any type; all mean that parts do not work either
            return False
        return len(_MARKERS.findall(text)) == len(talk)

    def _find_channels(self, header: str) -> Channels | None:
        """The channels of a reply; None for a template that writes the whole header of a reply itself.

        Raises:
            RenderingError: the model samples a part of the header that is no channel, such as a recipient. Speech could
                not be distinguished from the rest, and later contexts would hold the header twice.
        """
        opening = _MARKERS.split(self._render([_QUESTION], add_generation_prompt=True))[-1]
        in_history, in_prompt = _UNSAID.sub("", header), _UNSAID.sub("", opening)
        has_more = in_history.startswith(in_prompt) and in_history != in_prompt
        channels = Channels.of(self.codec, header, opening)
        has_channels = "<|channel" in str(self._template)
        if channels is None and (has_more or has_channels):
            raise RenderingError(
                f"the chat template of {self.model_name!r} starts replies with a header that the model samples "
                f"itself: it writes {header!r} before a past reply, but only {opening!r} before a new one. Of such "
                "formats only the channels of harmony (gpt-oss) are supported; use a model whose template writes the "
                "whole header itself"
            )
        return channels

    def _find_end_token(self, between: str) -> int:
        """The token with which the template closes a reply; the tutor samples it and is trained on it.

        A template without such a mark (GLM) ends a reply by the mark of the next message, which the model samples too.
        """
        tail = _MARKERS.split(self._render([_QUESTION, _REPLY], add_generation_prompt=False))[-1]
        token = self._first_special(tail or between)
        if token is None:
            raise RenderingError(
                f"the chat template of {self.model_name!r} closes a reply with {tail!r}, which does not begin "
                "with a special token; without one, the tutor cannot learn where a turn ends"
            )
        return token

    def _find_end_tokens(self) -> tuple[int, ...]:
        """All tokens that end a reply: first the template's, then those of the tokenizer and of the model."""
        of_model = getattr(self.tokenizer, "end_token_ids", ())  # the local engine adds this attribute
        ends = {*self._template_ends, self.tokenizer.eos_token_id, *of_model} - {self.end_token, None}
        ends -= self._inner_ends
        return (self.end_token, *sorted(ends))

    def _first_special(self, text: str) -> int | None:
        """The first token of a text if it is a special one, else None."""
        tokens = self.codec.encode(text)
        special = {*self.tokenizer.all_special_ids, self.tokenizer.eos_token_id}
        special.update(getattr(self.tokenizer, "added_tokens_decoder", {}))
        return tokens[0] if tokens and tokens[0] in special else None

    def _find_system_fault(self) -> str | None:
        """What the template does wrong with a system message; None if it writes the message."""
        messages = [Message("system", _SYSTEM_MARKER), Message("user", "?")]
        try:
            text = self._write(messages, add_generation_prompt=True)
        except Exception as error:
            return self._refusal(messages, error)
        return (
            None
            if self.codec.hide(_SYSTEM_MARKER) in text
            else f"the chat template of {self.model_name!r} drops the system message"
        )

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        try:
            return self._write(messages, add_generation_prompt)
        except Exception as error:
            raise RenderingError(
                f"{self._refusal(messages, error)}; use a chat model whose template takes system, user and "
                "assistant messages"
            ) from error

    def _refusal(self, messages: Sequence[Message], error: Exception) -> str:
        roles = ", ".join(message.role for message in messages)
        why = str(error) if isinstance(error, ValueError | jinja2.TemplateError) else f"{type(error).__name__}: {error}"
        return f"the chat template of {self.model_name!r} cannot render the roles ({roles}): {why}"

    def _write(self, messages: Sequence[Message], add_generation_prompt: bool, as_parts: bool = False) -> str:
        count = 0
        contents = []
        for message in _merge_system(messages) if self._merges_system else messages:
            if message.text is None:
                content = _MARKER.format(count)
                count += 1
            else:
                content = self.codec.hide(message.text)
            parts = [{"type": "text", "text": content}]
            contents.append({"role": message.role, "content": parts if as_parts else content})
        return self.tokenizer.apply_chat_template(
            contents,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **self._variables,
        )


def _merge_system(messages: Sequence[Message]) -> list[Message]:
    """Puts the system text before the text of the first user message, for a template without a system role."""
    if messages[0].role != "system":
        return list(messages)
    system, user, *rest = messages
    assert user.role == "user", f"a view is system, user, ..., not system, {user.role}"
    return [Message("user", f"{system.text}\n\n{user.text}"), *rest]
