r"""Finds the contents of `\boxed{}` and `\fbox{}` in a text. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a text.

    Attributes:
        opening: index of its first character, the backslash.
        start: index of the first character in it.
        stop: index after the last character in it; None if it is not closed.
    """

    opening: int
    start: int
    stop: int | None


def has_box(text: str) -> bool:
    """Whether a box begins in a text."""
    return _BOX.search(text) is not None


def boxes_of(text: str, longest: int | None = None) -> Iterator[Box]:
    """The boxes of a text, in order, without the boxes in closed ones.

    Args:
        text: the text.
        longest: number of characters after which a box counts as not closed; None: none. With it the time to read all
            boxes grows with the text's length and not faster.
    """
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue
        stop = _closing_brace(text, match.end(), len(text) if longest is None else match.end() + longest)
        if stop is not None:
            end = stop
        yield Box(match.start(), match.end(), stop)


def _closing_brace(text: str, start: int, limit: int) -> int | None:
    depth = 1
    for brace in _BRACE.finditer(text, start, limit):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            return brace.start()
    return None
