"""Messages to tokens by a model's own chat template, and reply tokens to text.

A viewer's own replies enter its context as the tokens that were sampled: the template is rendered with
a marker in each reply's place, the text between the markers is encoded, and the sampled tokens are set
in where the markers stood. Nothing is ever decoded and encoded again.
"""

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import jinja2

from socratic_distill.dialogue import Message
from socratic_distill.errors import RenderingError

# Private-use characters: no template trims or rewrites them, and no text that people write holds them.
_MARKER = "\ue000{}\ue001"
_MARKERS = re.compile("\ue000(\\d+)\ue001")
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"


class Codec:
    """A tokenizer that remembers: a dialogue's context grows by one text a turn, and the rest was encoded before.

    Texts are cut before special tokens, which every tokenizer looks for before anything else: so the system prompt
    that a group shares, and what tutor and teacher both read, are encoded once.

    Args:
        tokenizer: with the surface of a Hugging Face one.
        memory: pieces of text whose tokens are remembered, and replies whose text is.
    """

    def __init__(self, tokenizer: Any, memory: int = 1024) -> None:
        self.tokenizer = tokenizer
        self.decode = lru_cache(memory)(self._decode)
        self._encode = lru_cache(memory)(self._encode_piece)
        self._cuts = _cuts(tokenizer)

    def encode(self, text: str) -> list[int]:
        """The text's tokens, none added to them."""
        head, *rest = self._cuts.split(text)
        tokens = list(self._encode(head)) if head else []
        for special, piece in zip(rest[::2], rest[1::2], strict=True):
            tokens += self._encode(special + piece)
        return tokens

    def _encode_piece(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _decode(self, tokens: tuple[int, ...]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)


class Renderer:
    """Renders for one model.

    Args:
        codec: the client's tokenizer. Models of one tokenizer may share what it remembers.
        model_name: for error messages.
        enable_thinking: handed to the chat template, which may ignore it.

    Raises:
        RenderingError: the tokenizer has no chat template, or one that cannot serve.
    """

    def __init__(self, codec: Codec, model_name: str, enable_thinking: bool = False) -> None:
        self.codec = codec
        self.tokenizer = codec.tokenizer
        self.model_name = model_name
        self._enable_thinking = enable_thinking
        if getattr(codec.tokenizer, "chat_template", True) in (None, ""):
            raise RenderingError(
                f"the model {model_name!r} has no chat template, so it was hardly trained to talk; use its chat or "
                "instruct variant, or put a chat_template.jinja beside its tokenizer"
            )
        self.end_token = self._find_end_token()

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Tokens of the messages, ready for the viewer's next reply, `[P]`."""
        replies = [message.tokens for message in messages if message.tokens is not None]
        parts = _MARKERS.split(self._render(messages, add_generation_prompt=True))
        marks = [int(mark) for mark in parts[1::2]]
        if marks != list(range(len(replies))):
            raise RenderingError(
                f"the chat template of {self.model_name!r} does not keep every reply of a dialogue once and in "
                f"order (kept {marks} of {len(replies)}); multi-turn dialogues need a template that does"
            )
        tokens = self.codec.encode(parts[0])
        for reply, text in zip(replies, parts[2::2], strict=True):
            tokens += reply
            tokens += self.codec.encode(text)
        return tuple(tokens)

    def visible_text(self, tokens: Sequence[int]) -> str:
        """What a reply says to the other side: decoded, without reasoning and special tokens.

        A reply cut inside its reasoning says nothing.
        """
        text = self.codec.decode(tuple(tokens))
        if _THINK_CLOSE in text:
            text = text.rpartition(_THINK_CLOSE)[2]
        elif self._opens_thinking:
            text = ""
        else:
            text = text.partition(_THINK_OPEN)[0]
        return text.strip()

    def history(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The part of a reply that stays in its speaker's own later context, `[H]`.

        The end-of-turn token is left to the template; reasoning is dropped, as templates of thinking
        models do, where its closing mark is one token.
        """
        kept = list(tokens)
        if kept and kept[-1] == self.end_token:
            kept.pop()
        if self._think_close_token in kept:
            start = len(kept) - kept[::-1].index(self._think_close_token)
            while start < len(kept) and not self.tokenizer.decode([kept[start]]).strip():
                start += 1
            kept = kept[start:]
        return tuple(kept)

    @cached_property
    def _opens_thinking(self) -> bool:
        text = self._render([Message("user", "?")], add_generation_prompt=True).rstrip()
        return text.endswith(_THINK_OPEN)

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

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        count = 0
        contents = []
        for message in messages:
            if message.text is None:
                content = _MARKER.format(count)
                count += 1
            else:
                content = message.text
            contents.append({"role": message.role, "content": content})
        try:
            return self.tokenizer.apply_chat_template(
                contents,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=self._enable_thinking,
            )
        except (ValueError, jinja2.TemplateError) as error:
            roles = ", ".join(message.role for message in messages)
            raise RenderingError(
                f"the chat template of {self.model_name!r} cannot render the roles ({roles}): {error}; "
                "use a chat model whose template takes system, user and assistant messages"
            ) from error


def _cuts(tokenizer: Any) -> re.Pattern[str]:
    """Finds the special tokens before which a text may be cut: those that do not look at what is before them."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    names = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    names -= {token.content for token in added if token.lstrip or token.single_word}
    # The longest first, as tokenizers match them; `(?!)` matches nowhere.
    return re.compile(f"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True))) or '(?!)'})")


def check_same_tokens(tutor: Renderer, teacher: Renderer) -> None:
    """Refuses a teacher that would read the tutor's token ids as other text.

    Raises:
        RenderingError: a token of the tutor has another id at the teacher, or they end turns differently.
    """
    if tutor.tokenizer is not teacher.tokenizer:
        ours, theirs = tutor.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
        differing = [token for token, number in ours.items() if theirs.get(token) != number]
        if differing:
            examples = ", ".join(repr(token) for token in differing[:3])
            raise RenderingError(
                f"{len(differing)} tokens of the tutor {tutor.model_name!r} mean something else to the teacher "
                f"{teacher.model_name!r}, among them {examples}; the teacher scores the tutor's token ids, so "
                "choose two models of one family"
            )
    if tutor.end_token != teacher.end_token:
        raise RenderingError(
            f"the tutor {tutor.model_name!r} ends its turns with token {tutor.end_token}, the teacher "
            f"{teacher.model_name!r} with {teacher.end_token}; choose two models with one way to end a turn"
        )
