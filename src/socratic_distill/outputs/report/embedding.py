"""Untrusted data inside an HTML page: JSON that no parser of HTML takes for markup. Pure."""

import json
import re

# No "<" opens a tag or a comment, no "&" an entity; the separators end a line of older JavaScript; half a character
# (a lone surrogate) cannot be written as UTF-8.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")

# These reverse the direction of the text after them, so that it reads differently. Shown as escapes they do nothing.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def to_json(value: object) -> bytes:
    """A value as compact JSON in UTF-8, safe inside a script element.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(_escape, _TURNING.sub(lambda match: "\\" + _escape(match), text)).encode()


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
