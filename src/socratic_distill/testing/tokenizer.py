"""The toy tokenizer: a short word list over a byte fallback, with the surface of a Hugging Face one.

A word carries its leading space, digits are single tokens, and every other text goes byte by byte, so
`decode(encode(text)) == text` holds for any text.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, overload

ROLE_TOKENS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
END_TOKEN = "<|end|>"
SPECIAL_TOKENS = (*ROLE_TOKENS.values(), END_TOKEN)

_STARTERS = (
    "What How Why Which Can Could Let Look Think Try First So I You It The Then Maybe Is Does We Now Good No "
    "Yes Okay My Problem Your Help"
)
_FOLLOWERS = (
    "a the is are was it you I we my your of to in and or not that this with for from do did can think know "
    "get got add take find check see make would should if when what how why many much more less each all "
    "first next again step number answer problem question mistake student tutor math sum total half times "
    "plus minus equals part left right who"
)
STARTERS = tuple(_STARTERS.split())
FOLLOWERS = tuple(_FOLLOWERS.split())
DIGITS = tuple("0123456789")
ENDS = (".", "?", "!")
MARKS = (",", ":", "=", "+", "-", "*", "/", "(", ")", "'", " ", "\n")
# Each word and digit is a token with its leading space and one without it.
_WORDS = tuple(dict.fromkeys((*STARTERS, *FOLLOWERS, *DIGITS)))
_PIECES = (*_WORDS, *(f" {word}" for word in _WORDS), *ENDS, *MARKS)
_VOCAB = {
    name: number for number, name in enumerate((*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), *_PIECES))
}
_SPECIAL_PATTERN = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")
_PIECE_PATTERN = re.compile("|".join(map(re.escape, sorted(_PIECES, key=len, reverse=True))) + "|.", re.DOTALL)


class ToyTokenizer:
    """Text to token ids and back, with the chat template of the toy models.

    A rendered dialogue is, for each message, the role's special token, the content, `<|end|>` and a line
    break; `add_generation_prompt` ends it with the assistant's special token.

    Attributes:
        eos_token_id: id of `<|end|>`, which ends a turn.
        all_special_ids: ids of the role tokens and `<|end|>`.
    """

    def __init__(self) -> None:
        """Lays out the vocabulary: special tokens, bytes, frequent pieces."""
        self._vocab = _VOCAB
        raw = [bytes([byte]) for byte in range(256)]
        self._bytes = [
            *(name.encode() for name in SPECIAL_TOKENS),
            *raw,
            *(piece.encode() for piece in _PIECES),
        ]
        self.all_special_tokens = list(SPECIAL_TOKENS)
        self.all_special_ids = [self._vocab[name] for name in SPECIAL_TOKENS]
        self.eos_token = END_TOKEN
        self.eos_token_id = self._vocab[END_TOKEN]

    def __len__(self) -> int:
        """Size of the vocabulary."""
        return len(self._vocab)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the special ones included."""
        return len(self._vocab)

    def get_vocab(self) -> dict[str, int]:
        """Every token's name and id; bytes are named `<0x41>`."""
        return dict(self._vocab)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of the text; the text of a special token becomes its one id.

        Args:
            text: any text.
            add_special_tokens: accepted for its callers; nothing is ever added.
        """
        return list(_encode(text))

    def decode(self, token_ids: Sequence[int] | int, skip_special_tokens: bool = False) -> str:
        """The text of the ids; bytes that are no UTF-8 become U+FFFD.

        Args:
            token_ids: `[N]`, or one id.
            skip_special_tokens: leaves out role tokens and `<|end|>`.

        Raises:
            IndexError: an id outside the vocabulary.
        """
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        raw = b"".join(
            self._bytes[int(number)] for number in ids if not (skip_special_tokens and number in self.all_special_ids)
        )
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """The id of a token, or None where the vocabulary has no such.

        Args:
            token: its name, such as "<|end|>" or "<0x0A>".
        """
        return self._vocab.get(token)

    @overload
    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        tokenize: Literal[False],
        add_generation_prompt: bool = ...,
        **kwargs: Any,
    ) -> str: ...
    @overload
    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        tokenize: Literal[True] = ...,
        add_generation_prompt: bool = ...,
        **kwargs: Any,
    ) -> list[int]: ...
    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        tokenize: bool = True,
        add_generation_prompt: bool = False,
        **kwargs: Any,
    ) -> str | list[int]:
        """The messages in the toy models' form, as text or as token ids.

        Args:
            conversation: messages with `role` (system, user or assistant) and `content`.
            tokenize: False gives the text.
            add_generation_prompt: ends with the assistant's token, for the model to go on.
            **kwargs: template variables such as `enable_thinking`; this template knows none.

        Raises:
            ValueError: another role, or a system message that is not the first.
        """
        parts: list[str] = []
        for i, message in enumerate(conversation):
            role = message["role"]
            if role not in ROLE_TOKENS:
                raise ValueError(f"role {role!r} is unknown; give one of {', '.join(ROLE_TOKENS)}")
            if role == "system" and i:
                raise ValueError("a system message must be the first message")
            parts += [ROLE_TOKENS[role], message["content"], END_TOKEN, "\n"]
        if add_generation_prompt:
            parts.append(ROLE_TOKENS["assistant"])
        text = "".join(parts)
        return self.encode(text, add_special_tokens=False) if tokenize else text


@lru_cache(maxsize=4096)
def _encode(text: str) -> tuple[int, ...]:
    """Token ids of a text. Kept, since every dialogue begins with the same prompts."""
    ids: list[int] = []
    for part in _SPECIAL_PATTERN.split(text):
        if part in SPECIAL_TOKENS:
            ids.append(_VOCAB[part])
            continue
        for piece in _PIECE_PATTERN.findall(part):
            number = _VOCAB.get(piece)
            if number is None:
                ids.extend(len(SPECIAL_TOKENS) + byte for byte in piece.encode("utf-8", "surrogatepass"))
            else:
                ids.append(number)
    return tuple(ids)
