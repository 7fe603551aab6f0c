"""Untrusted data inside an HTML page: JSON that no parser of HTML takes for markup. Pure."""

import json
import re

# No "<" opens a tag or a comment, no "&" an entity; the separators end a line of older JavaScript; half a character
# (a lone surrogate) cannot be written as UTF-8.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def to_json(value: object) -> bytes:
    """A value as compact JSON in UTF-8, safe inside a script element.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def printable(text: object) -> str:
    """A value as text that can be written as UTF-8."""
    return str(text).encode("utf-8", "replace").decode()
