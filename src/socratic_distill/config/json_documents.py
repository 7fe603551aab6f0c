"""Reads JSON strictly, with the line of every key."""

import json
import re
from typing import Any

from socratic_distill.config.document_parts import MOST_DEPTH, Parts

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|[^\s"{}\[\]:,]+')


def read_json(text: str, source: str) -> Parts:
    """The value of a JSON text, and the lines of its keys.

    Args:
        text: the text.
        source: its name, for messages.

    Raises:
        ConfigError: it is not JSON, or has a key twice; the message names the line.
    """
    parts = Parts(source)
    try:
        json.loads(text, parse_int=str, parse_constant=str)  # these are refused below, with their lines
    except json.JSONDecodeError as error:
        parts.fail(error.lineno, f"it is not JSON: {error.msg}, column {error.colno}")
    except RecursionError:
        parts.fail(1, f"it is nested more than {MOST_DEPTH} levels deep")
    line, end = 1, 0
    # The text is known to be JSON, so that its tokens alone say everything.
    for token in _TOKEN.finditer(text):
        line += text.count("\n", end, token.start())
        end = token.start()
        match token[0]:
            case "{":
                parts.begin({}, line)
            case "[":
                parts.begin([], line)
            case "}" | "]":
                parts.end()
            case scalar:
                value = _scalar(parts, scalar, line)
                if parts.expects_key:
                    parts.take_key(value, line)
                else:
                    parts.take(value, line)
    return parts


def _scalar(parts: Parts, text: str, line: int) -> Any:
    if text in ("NaN", "Infinity", "-Infinity"):
        parts.fail(line, f"it is not JSON: {text} is no number")
    try:
        return json.loads(text)
    except ValueError:
        parts.fail(line, "it holds an integer of thousands of digits")
