"""Choices that a text names by their position: `the second one`, `the 2nd option`, `option 2`, `the last one`. Pure."""

import re

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_POSITION = re.compile(
    rf"""\bthe\s+(?: (?P<word>{"|".join(_ORDINALS)}) | (?P<digits>\d{{1,2}})(?:st|nd|rd|th) | (?P<last>last) )
      (?: \s+(?:one|option|choice|answer)\b (?!\s+(?:to|that|which|who|where|i|you|we|in|on|of|with|from)\b)
        | (?=\s*(?:[.!,;]|\Z|(?:or|and|is)\b)) )
    | \b(?:option|choice)\s+(?P<number>\d{{1,2}})\b (?![.,]\d)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def positions_of(text: str, count: int) -> list[tuple[int, int, int]]:
    """Where a text names choices by position, in order: start, stop, number of the choice from 0.

    Args:
        text: the text.
        count: number of choices.
    """
    named = []
    for match in _POSITION.finditer(text):
        if match["last"]:
            which = count - 1
        elif match["word"]:
            which = _ORDINALS.index(match["word"].lower())
        else:
            which = int(match["digits"] or match["number"]) - 1
        if 0 <= which < count:
            named.append((match.start(), match.end(), which))
    return named
