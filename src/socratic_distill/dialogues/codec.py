"""Text to tokens and back with a model's tokenizer. Messages of users and models never become special tokens.

A chat template writes role marks and messages into one text. An `<|im_end|>` in a message must not end the turn. So
`hide` replaces special tokens in a message by placeholders before the template gets it, and `encode` then spells them
out as plain text. Everything else is encoded in one piece, so that tokens may cross the borders of a message.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from socratic_distill.dialogues.reasoning import THINK_CLOSE, THINK_OPEN
from socratic_distill.errors import RenderingError

# Private-use characters: no template trims or rewrites them. `hide` removes them from messages.
PRIVATE = "\ue000\ue001\ue002\ue003\ue004\ue005"
_HIDDEN = re.compile("\ue004(\\d+)\ue005")
_PAIRS = 1 << 16  # cached pairs of a token and the one before it
_LONGEST_CHARACTER = 4  # bytes of a UTF-8 character, and so at most 4 tokens
# Some tokenizers put a blank before the start of a text. After one of these texts, another is encoded without it.
_BEFORE = ("\n", "a", "1")
_TRIED = 3  # number of special tokens whose other spellings are tested


class Codec:
    """A tokenizer with a cache: a dialogue's context grows by one text a turn, and the rest was encoded before.

    Texts are cut before special tokens, which every tokenizer splits at first. So the system prompt that a group
    shares, and the texts that tutor and teacher both read, are encoded once.
    """

    def __init__(self, tokenizer: Any, memory: int = 1024) -> None:
        """Starts with an empty cache.

        Args:
            tokenizer: has the interface of a Hugging Face tokenizer.
            memory: size of each cache: of pieces of text with their tokens, and of replies with their text.
        """
        self.tokenizer = tokenizer
        self.decode = lru_cache(memory)(self._decode)
        self.hide = lru_cache(memory)(self._hide)
        self._encode = lru_cache(memory)(self._encode_piece)
        self._text_after = lru_cache(_PAIRS)(self._decode_after)
        self._spell = lru_cache(memory)(self._spell_out)
        self._cuts = _cuts(tokenizer)
        marks = dict(_marks(tokenizer))
        self._mark_ids = frozenset(marks.values())
        # Texts that are hidden; a placeholder holds an index into this list.
        self._names = [*PRIVATE, *sorted(marks, key=len, reverse=True)]  # the longest first, as tokenizers match them
        self._indices = {name: index for index, name in enumerate(self._names)}
        self._hides = re.compile(f"[\ud800-\udfff]|{_any_of(self._names)}")
        self._folds = _finds_other_spellings(tokenizer, marks)
        self._first_characters = {_folded(name[0]) for name in marks}

    def _hide(self, text: str) -> str:
        """A message, made safe for a template: `encode` makes no special token of it.

        Special tokens in it, and the private characters that mark replies, become placeholders. A lone surrogate (half
        a character), which no tokenizer accepts, becomes U+FFFD.
        """
        hidden = self._hides.sub(lambda match: self._placeholder(match[0]), text)
        # The tokenizer may normalise other spellings to a special token. Then every character that may start one is
        # hidden by itself.
        if self._folds and any(
            mark in self._mark_ids for part in _HIDDEN.split(hidden)[::2] for mark in self._encode(part)
        ):
            return "".join(
                self._placeholder(character) if _folded(character) in self._first_characters else character
                for character in text
            )
        return hidden

    def encode_said(self, text: str) -> list[int]:
        """The tokens of a message, without any special token."""
        return self.encode(self.hide(text))

    def encode(self, text: str) -> list[int]:
        """The text's tokens, with none added at its ends; the placeholders of `hide` are spelled out."""
        head, *rest = _HIDDEN.split(text)
        tokens = self._encode_shown(head)
        for index, piece in zip(rest[::2], rest[1::2], strict=True):
            tokens += self._spell(self._names[int(index)])
            # Text up to the template's next special token continues the spelled-out text: no blank goes before it.
            said = self._cuts.split(piece, maxsplit=1)[0]
            tokens += self._encode_after(said)
            tokens += self._encode_shown(piece[len(said) :])
        return tokens

    def _placeholder(self, name: str) -> str:
        if "\ud800" <= name <= "\udfff":
            return "\ufffd"
        if name not in self._indices:
            self._indices[name] = len(self._names)
            self._names.append(name)
        return f"\ue004{self._indices[name]}\ue005"

    def _spell_out(self, name: str) -> tuple[int, ...]:
        """The tokens of a special token's name as plain text: cut, so that the tokenizer does not recognise it."""
        for pieces in ([name[:1], name[1:]], list(name)):
            tokens = tuple(token for piece in pieces for token in self._encode_after(piece))
            if not self._mark_ids.intersection(tokens):
                return tokens
        raise RenderingError(
            f"a text holds {name!r}, which the tokenizer cannot spell as plain text; remove it from the text"
        )

    def _encode_after(self, text: str) -> tuple[int, ...]:
        """Tokens of a text that continues another one, so that the tokenizer puts no blank before it."""
        if not text:
            return ()
        for before in _BEFORE:
            start, whole = self._encode(before), self._encode(before + text)
            if whole[: len(start)] == start:
                return whole[len(start) :]
        return self._encode(text)

    def _encode_shown(self, text: str) -> list[int]:
        head, *rest = self._cuts.split(text)
        tokens = list(self._encode(head)) if head else []
        for special, piece in zip(rest[::2], rest[1::2], strict=True):
            tokens += self._encode(special + piece)
        return tokens

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """The text of each token, also of special ones, `[T]`; "" for a token that ends inside a character."""
        texts, done = [], 0
        for end in range(1, len(tokens) + 1):
            text = self._text_after(tuple(tokens[max(done - 1, 0) : done]), tuple(tokens[done:end]))
            is_torn = text.endswith("\ufffd") and end - done < _LONGEST_CHARACTER and end < len(tokens)
            texts.append("" if is_torn else text)
            if not is_torn:
                done = end
        return texts

    def _decode_after(self, before: tuple[int, ...], tokens: tuple[int, ...]) -> str:
        """The text that tokens add after `before`; decoded alone, they would lose a leading blank."""
        whole = self.tokenizer.decode([*before, *tokens], skip_special_tokens=False)
        return whole[len(self.tokenizer.decode(list(before), skip_special_tokens=False)) :]

    def _encode_piece(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _decode(self, tokens: tuple[int, ...]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)


def _marks(tokenizer: Any) -> Iterator[tuple[str, int]]:
    """The tokens that a message must not become, with their ids.

    Added tokens that are not special count if they are in brackets, such as `<think>`. Added blanks and words do not,
    since models know them from plain text.
    """
    known = list(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    for number, token in getattr(tokenizer, "added_tokens_decoder", {}).items():
        if token.special or (token.content[:1], token.content[-1:]) in (("<", ">"), ("[", "]")):
            known.append((token.content, number))
    for mark in (THINK_OPEN, THINK_CLOSE):
        tokens = tokenizer.encode(mark, add_special_tokens=False)
        if len(tokens) == 1:
            known.append((mark, tokens[0]))
    # A single character cannot be cut, so it cannot be spelled out.
    return ((name, number) for name, number in known if len(name) > 1)


def _finds_other_spellings(tokenizer: Any, marks: Mapping[str, int]) -> bool:
    """Whether the tokenizer normalises texts in another case or width to special tokens."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    names = [token.content for token in added if token.normalized and token.content in marks]
    for name in islice(names if added else marks, _TRIED):
        wide = "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in name)
        for other in {name.swapcase(), wide} - {name}:
            if any(token in marks.values() for token in tokenizer.encode(other, add_special_tokens=False)):
                return True
    return False


def _folded(character: str) -> str:
    return unicodedata.normalize("NFKC", character).casefold()


def _any_of(names: Sequence[str]) -> str:
    """A pattern for any of these texts; the first in their order that matches wins."""
    if not names:
        return "(?!)"  # matches nowhere
    # Some models have thousands of them: the lookahead tests for a possible first character before trying each.
    firsts = "".join(re.escape(character) for character in sorted({name[0] for name in names}))
    return f"(?=[{firsts}])(?:{'|'.join(map(re.escape, names))})"


def _cuts(tokenizer: Any) -> re.Pattern[str]:
    """A pattern for the special tokens before which a text may be cut: matching them ignores the text before them."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    names = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    names -= {token.content for token in added if token.lstrip or token.single_word}
    return re.compile(
        f"({_any_of(sorted(names, key=len, reverse=True))})"
    )  # the longest first, as tokenizers match them
