"""Replies in channels, as harmony has them (gpt-oss): the model itself writes which part of a reply is speech.

Such a template opens a reply with less than it writes before a past one. What is missing, such as
`<|channel|>final<|message|>`, the model samples: before it stand other channels, which are reasoning; after it stands
what the other side hears.
"""

from collections.abc import Sequence
from typing import Self

from socratic_distill.dialogues.codec import Codec


class Channels:
    """The header of speech, as tokens."""

    def __init__(self, header: Sequence[int]) -> None:
        """Takes the header.

        Args:
            header: tokens that the model samples before its speech, `[H]`, at least one.
        """
        self.header = tuple(header)

    @classmethod
    def of(cls, codec: Codec, in_history: str, in_prompt: str) -> Self | None:
        """The channels of a template; None where it writes the whole header itself.

        Args:
            codec: the model's.
            in_history: text before a past reply.
            in_prompt: text before a new reply.
        """
        sampled = in_history.removeprefix(in_prompt) if in_history.startswith(in_prompt) else ""
        return cls(codec.encode(sampled)) if "<|channel|>" in sampled else None

    def speech(self, reply: Sequence[int]) -> int | None:
        """Index of the first token of a reply's last speech; None for a reply that was cut before it.

        Args:
            reply: as sampled, without its end token, `[T]`.
        """
        size = len(self.header)
        for end in range(len(reply), size - 1, -1):
            if tuple(reply[end - size : end]) == self.header:
                return end
        return None
