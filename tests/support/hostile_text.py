"""A text that would steer a terminal, and the test of whether one does."""

import unicodedata

HOSTILE = "\x1b]52;c;ZXZpbA==\x07\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u202c\u2067x\ud800\rover"
_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_safe(text: str) -> bool:
    """Whether no character steers a terminal, by Unicode's own tables rather than by ours."""
    return all(
        (unicodedata.category(one) not in ("Cc", "Cs", "Zl", "Zp") or one in "\n\t")
        and unicodedata.bidirectional(one) not in _BIDI
        and one not in "\u200e\u200f\u061c"
        for one in text
    )
