"""Reads YAML as plain values, by the core schema of YAML 1.2: `off` and `yes` are texts, `1e-5` is a number."""

import re
from typing import TYPE_CHECKING, Any

from socratic_distill.config.document_parts import Parts
from socratic_distill.errors import ConfigError

if TYPE_CHECKING:
    from ruamel.yaml.events import ScalarEvent

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# Ends of lines in YAML 1.1 and not in 1.2; ruamel would fold them into spaces.
_ODD_BREAK = re.compile("[\x85\u2028\u2029]")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_yaml(text: str, source: str) -> Parts:
    """The value of a YAML text, and the lines of its keys.

    Anchors, aliases, tags, directives and merge keys are refused: a config needs none, and readers of a file should
    see what it says. Keys are texts, whatever they look like.

    Args:
        text: one document.
        source: name of the text, for messages.

    Raises:
        ConfigError: it is not YAML, holds one of these, or has a key twice; the message names the line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    parts = Parts(source)
    line = 1
    if odd := _ODD_BREAK.search(text):
        number = text.count("\n", 0, odd.start()) + 1
        parts.fail(
            number, f'the character U+{ord(odd[0]):04X} is not read; in double quotes write "\\u{ord(odd[0]):04x}"'
        )
    try:
        # Only the events are used: ruamel builds no object, and resolves no value.
        for event in YAML(typ="safe", pure=True).parse(text):
            line = event.start_mark.line + 1
            _take(parts, event, line)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f" {error.context}" if error.context else ""
        parts.fail(mark.line + 1 if mark else line, f"it is not YAML: {error.problem}{context}")
    except ConfigError:
        raise
    # OverflowError and ValueError: an escape such as "\UFFFFFFFF" names no character.
    except (YAMLError, OverflowError, ValueError) as error:
        parts.fail(line, f"it is not YAML: {' '.join(str(error).split())}")
    return parts


def plain_scalar(text: str) -> Any:
    """The value of a text without quotes, by the core schema of YAML 1.2.

    >>> [plain_scalar(text) for text in ("off", "1e-5", "0x10", "null", "07", "2026-01-01")]
    ['off', 1e-05, 16, None, 7, '2026-01-01']

    Raises:
        ValueError: an integer has thousands of digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "", 1)) if _NOT_FINITE.fullmatch(text) else text


def _take(parts: Parts, event: Any, line: int) -> None:
    """Takes one event of ruamel's parser."""
    kind = type(event).__name__
    if kind == "AliasEvent" or getattr(event, "anchor", None) is not None:
        parts.fail(line, "anchors (&name) and aliases (*name) are not read; write the value out, or put it in quotes")
    if getattr(event, "tag", None) is not None:
        parts.fail(line, "tags (!name) are not read; leave the tag out, or put the value in quotes")
    if kind == "DocumentStartEvent":
        if parts.has_ended:
            parts.fail(line, "a second document begins; expected one")
        if event.version or event.tags:
            parts.fail(line, "directives (%YAML, %TAG) are not read; leave them out")
    elif kind == "DocumentEndEvent":
        parts.has_ended = True
    elif kind == "MappingStartEvent":
        parts.begin({}, line)
    elif kind == "SequenceStartEvent":
        parts.begin([], line)
    elif kind in ("MappingEndEvent", "SequenceEndEvent"):
        parts.end()
    elif kind == "ScalarEvent":
        _take_scalar(parts, event, line)


def _take_scalar(parts: Parts, event: "ScalarEvent", line: int) -> None:
    is_plain = event.style is None
    if parts.expects_key:
        if is_plain and event.value == "<<":
            parts.fail(line, "merge keys (<<) are not read; write the values out")
        parts.take_key(event.value, line)
        return
    try:
        parts.take(plain_scalar(event.value) if is_plain else event.value, line)
    except ValueError:
        parts.fail(line, "it holds an integer of thousands of digits")
