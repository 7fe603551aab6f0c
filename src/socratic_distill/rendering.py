"""Messages to tokens by a model's own chat template, and reply tokens to text.

A viewer's own replies enter its context as the tokens that were sampled: the template is rendered with
a marker in each reply's place, the text between the markers is encoded, and the sampled tokens are set
in where the markers stood. Nothing is ever decoded and encoded again.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, Literal

import jinja2

from socratic_distill.dialogue import Message
from socratic_distill.errors import RenderingError

# Private-use characters: no template trims or rewrites them, and no text that people write holds them.
_MARKER = "\ue000{}\ue001"
_MARKERS = re.compile("\ue000(\\d+)\ue001")
_SYSTEM_MARKER = "\ue002\ue003"
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"
_PAIRS = 1 << 16  # of a token and the one before it, whose text is remembered
_LONGEST_CHARACTER = 4  # bytes, and so tokens
_REFUSALS = (ValueError, jinja2.TemplateError)


class Codec:
    """A tokenizer that remembers: a dialogue's context grows by one text a turn, and the rest was encoded before.

    Texts are cut before special tokens, which every tokenizer looks for before anything else: so the system prompt
    that a group shares, and what tutor and teacher both read, are encoded once.
    """

    def __init__(self, tokenizer: Any, memory: int = 1024) -> None:
        """Begins with nothing remembered.

        Args:
            tokenizer: with the surface of a Hugging Face one.
            memory: pieces of text whose tokens are remembered, and replies whose text is.
        """
        self.tokenizer = tokenizer
        self.decode = lru_cache(memory)(self._decode)
        self._encode = lru_cache(memory)(self._encode_piece)
        self._text_behind = lru_cache(_PAIRS)(self._decode_behind)
        self._cuts = _cuts(tokenizer)

    def encode(self, text: str) -> list[int]:
        """The text's tokens, none added to them."""
        head, *rest = self._cuts.split(text)
        tokens = list(self._encode(head)) if head else []
        for special, piece in zip(rest[::2], rest[1::2], strict=True):
            tokens += self._encode(special + piece)
        return tokens

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token's own text, special ones' too; "" for one that ends within a character, `[T]`."""
        texts, done = [], 0
        for end in range(1, len(tokens) + 1):
            text = self._text_behind(tuple(tokens[max(done - 1, 0) : done]), tuple(tokens[done:end]))
            is_torn = text.endswith("\ufffd") and end - done < _LONGEST_CHARACTER and end < len(tokens)
            texts.append("" if is_torn else text)
            if not is_torn:
                done = end
        return texts

    def _decode_behind(self, before: tuple[int, ...], tokens: tuple[int, ...]) -> str:
        """What some tokens add to the text before them: at the beginning of a text, tokenizers leave a blank out."""
        behind = self.tokenizer.decode([*before, *tokens], skip_special_tokens=False)
        return behind[len(self.tokenizer.decode(list(before), skip_special_tokens=False)) :]

    def _encode_piece(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _decode(self, tokens: tuple[int, ...]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)


class Renderer:
    """Renders for one model."""

    def __init__(
        self,
        codec: Codec,
        model_name: str,
        enable_thinking: bool = False,
        system_role: Literal["require", "merge"] = "require",
    ) -> None:
        """Tries the template out.

        Args:
            codec: the client's tokenizer. Models of one tokenizer may share what it remembers.
            model_name: for error messages.
            enable_thinking: handed to the chat template, which may ignore it.
            system_role: a template without a system role is refused, or the system prompt is put before the first user
                message's text, a blank line between.

        Raises:
            RenderingError: the tokenizer has no chat template, or one that cannot serve.
        """
        self.codec = codec
        self.tokenizer = codec.tokenizer
        self.model_name = model_name
        self._enable_thinking = enable_thinking
        if getattr(codec.tokenizer, "chat_template", True) in (None, ""):
            raise RenderingError(
                f"the model {model_name!r} has no chat template, so it was hardly trained to talk; use its chat or "
                "instruct variant, or put a chat_template.jinja beside its tokenizer"
            )
        self._merges_system = False  # the template is tried as it is
        self.end_token = self._find_end_token()
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
        """The texts around the replies of tokens: before the first, between them, behind the last.

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
        """The messages as the template writes them, ready for the next reply; a marker for each reply of tokens.

        Raises:
            RenderingError: the template cannot render the messages.
        """
        return self._render(messages, add_generation_prompt=True)

    def visible_text(self, tokens: Sequence[int]) -> str:
        """What a reply says to the other side: decoded, without reasoning and special tokens.

        A reply cut inside its reasoning says nothing.
        """
        text = self.codec.decode(tuple(tokens))
        match self._reasoning(text):
            case "closed":
                text = text.rpartition(_THINK_CLOSE)[2]
            case "cut":
                text = "" if self._opens_thinking else text.partition(_THINK_OPEN)[0]
        return text.strip()

    def history(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The part of a reply that stays in its speaker's own later context, `[H]`.

        The end-of-turn token is left to the template; reasoning is dropped, as templates of thinking
        models do, where its closing mark is one token.
        """
        said = self._without_end(tokens)
        return said[self._behind_close(said) :]

    def thought(self, tokens: Sequence[int]) -> int:
        """How many of a reply's tokens, from the first on, are reasoning.

        Its closing mark and the white space behind it count too, so that `tokens[thought:]` is `history` and the
        end-of-turn token. All tokens of a reply cut inside its reasoning, and 0 without reasoning. A closing mark
        of several tokens is counted here, though `history` keeps it.

        Args:
            tokens: the reply as sampled, `[T]`.
        """
        said = self._without_end(tokens)
        if start := self._behind_close(said):
            return start
        text = self.codec.decode(tuple(tokens))
        match self._reasoning(text):
            case "closed":
                marks = text.count(_THINK_CLOSE)
                # The fewest tokens whose text holds every mark.
                lengths = range(len(said))
                start = bisect_left(lengths, marks, key=lambda n: self.codec.decode(said[:n]).count(_THINK_CLOSE))
                return self._skip_blanks(said, start)
            case "cut":
                return len(tokens)
            case "none":
                return 0

    def _reasoning(self, text: str) -> Literal["closed", "cut", "none"]:
        """What became of the reasoning in a reply's text."""
        if _THINK_CLOSE in text:
            return "closed"
        return "cut" if self._opens_thinking or _THINK_OPEN in text else "none"

    def _without_end(self, tokens: Sequence[int]) -> tuple[int, ...]:
        ended = bool(tokens) and tokens[-1] == self.end_token
        return tuple(tokens[:-1] if ended else tokens)

    def _behind_close(self, said: tuple[int, ...]) -> int:
        """Where what follows the last closing mark of one token begins; 0 without such a mark."""
        if self._think_close_token not in said:
            return 0
        return self._skip_blanks(said, len(said) - said[::-1].index(self._think_close_token))

    def _skip_blanks(self, said: tuple[int, ...], start: int) -> int:
        while start < len(said) and not self.tokenizer.decode([said[start]]).strip():
            start += 1
        return start

    @cached_property
    def _opens_thinking(self) -> bool:
        return self.text([Message("user", "?")]).rstrip().endswith(_THINK_OPEN)

    @cached_property
    def _think_close_token(self) -> int | None:
        tokens = self.codec.encode(_THINK_CLOSE)
        is_one = len(tokens) == 1 and self.tokenizer.decode(tokens).strip() == _THINK_CLOSE
        return tokens[0] if is_one else None

    def _find_end_token(self) -> int:
        """The token with which the template closes a reply; the tutor samples it and is trained on it."""
        talk = [Message("user", "?"), Message("assistant", tokens=())]
        tail = _MARKERS.split(self._render(talk, add_generation_prompt=False))[-1]
        tokens = self.codec.encode(tail)
        special = {*self.tokenizer.all_special_ids, self.tokenizer.eos_token_id}
        special.update(getattr(self.tokenizer, "added_tokens_decoder", {}))
        if not tokens or tokens[0] not in special:
            raise RenderingError(
                f"the chat template of {self.model_name!r} closes a reply with {tail!r}, which does not begin "
                "with a special token; without one, the tutor cannot learn where a turn ends"
            )
        return tokens[0]

    def _find_system_fault(self) -> str | None:
        """What the template does to a system message instead of writing it; None if it writes it."""
        messages = [Message("system", _SYSTEM_MARKER), Message("user", "?")]
        try:
            text = self._write(messages, add_generation_prompt=True)
        except _REFUSALS as error:
            return self._refusal(messages, error)
        return None if _SYSTEM_MARKER in text else f"the chat template of {self.model_name!r} drops the system message"

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        try:
            return self._write(messages, add_generation_prompt)
        except _REFUSALS as error:
            raise RenderingError(
                f"{self._refusal(messages, error)}; use a chat model whose template takes system, user and "
                "assistant messages"
            ) from error

    def _refusal(self, messages: Sequence[Message], error: Exception) -> str:
        roles = ", ".join(message.role for message in messages)
        return f"the chat template of {self.model_name!r} cannot render the roles ({roles}): {error}"

    def _write(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        count = 0
        contents = []
        for message in _merge_system(messages) if self._merges_system else messages:
            if message.text is None:
                content = _MARKER.format(count)
                count += 1
            else:
                content = message.text
            contents.append({"role": message.role, "content": content})
        return self.tokenizer.apply_chat_template(
            contents,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=self._enable_thinking,
        )


def _merge_system(messages: Sequence[Message]) -> list[Message]:
    """The system text before the first user message's, for a template without a system role."""
    if messages[0].role != "system":
        return list(messages)
    system, user, *rest = messages
    assert user.role == "user", f"a view is system, user, ..., not system, {user.role}"
    return [Message("user", f"{system.text}\n\n{user.text}"), *rest]


def _cuts(tokenizer: Any) -> re.Pattern[str]:
    """Finds the special tokens before which a text may be cut: those that do not look at what is before them."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    names = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    names -= {token.content for token in added if token.lstrip or token.single_word}
    # The longest first, as tokenizers match them; `(?!)` matches nowhere.
    return re.compile(f"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True))) or '(?!)'})")
