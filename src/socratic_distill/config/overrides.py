"""`key=value` of the command line: changes of a config document, by dotted keys into its parts."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from socratic_distill.config.document_parts import Location
from socratic_distill.config.yaml_documents import read_yaml
from socratic_distill.errors import ConfigError

_KEY = re.compile(r'(?:[^."=\s]+|"[^"]*")(?:\.(?:[^."=\s]+|"[^"]*"))*')
_PART = re.compile(r'"([^"]*)"|([^."]+)')


@dataclass(frozen=True)
class Override:
    """One `key=value`.

    Attributes:
        text: as it was given.
        keys: the parts of the key.
        value: the value, read as YAML.
    """

    text: str
    keys: tuple[str, ...]
    value: Any


def parse_override(text: str) -> Override:
    """Reads a `key=value`, such as `objective.beta=0.3` or `rewards='[{kind: solved}]'`.

    A key with a dot in it is put in double quotes: `prices."Qwen/Qwen3-1.7B".train=0.4`.

    Args:
        text: the key, `=`, and the value as YAML; nothing after `=` is None.

    Raises:
        ConfigError: there is no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if '"' in key and (match := re.match(_KEY.pattern + "(?==)", text)):
        key, equals, value = match[0], "=", text[match.end() + 1 :]
    if not equals or not _KEY.fullmatch(key):
        raise ConfigError(f"{text!r} is no key=value; expected one such as learning_rate=1e-4 or objective.beta=0.3")
    try:
        read = read_yaml(value, key).value
    except ConfigError as error:
        problem = str(error).removeprefix(f"{key}:1: ")
        raise ConfigError(
            f"override {text!r}: {problem}. A text with special characters needs quotes: '{key}=\"…\"'"
        ) from None
    if re.search(r"(^|\s)#", value) and not any("#" in part for part in texts_in(read)):
        raise ConfigError(f"override {text!r}: '#' begins a comment; put the text in quotes: '{key}=\"…\"'")
    return Override(text, tuple(quoted or plain for quoted, plain in _PART.findall(key)), read)


def apply(values: dict[str, Any], overrides: Sequence[Override]) -> dict[Location, str]:
    """Changes the values of a document in place.

    A part that is missing on the way is made. A list can be given one entry more than it has. A kind that is written
    as a text counts as a part with that `kind`.

    Args:
        values: the fields.
        overrides: the changes; later ones win.

    Returns:
        The text of each override, by the location of its value.

    Raises:
        ConfigError: a key leads into a value without parts, or past the end of a list.
    """
    places: dict[Location, str] = {}
    for override in overrides:
        location: Location = ()
        node: Any = values
        for number, key in enumerate(override.keys):
            index = _index(node, key, override, location)
            location = (*location, index)
            if number == len(override.keys) - 1:
                _put(node, index, override.value)
            else:
                node = _part(node, index, override.keys[number + 1])
        places = {key: text for key, text in places.items() if key[: len(location)] != location}
        places[location] = override.text
    return places


def texts_in(value: Any) -> Iterator[str]:
    """The texts in a value, keys left out."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_in(part)


def _index(node: Any, key: str, override: Override, location: Location) -> str | int:
    where = ".".join(map(str, location))
    if isinstance(node, dict):
        return key
    if not isinstance(node, list):
        raise ConfigError(f"override {override.text!r}: {where} is {node!r}, which has no parts; set {where} itself")
    if not re.fullmatch("[0-9]{1,6}", key) or int(key) > len(node):
        raise ConfigError(
            f"override {override.text!r}: {where} has {len(node)} entries, the first is {where}.0; {key!r} is none"
        )
    return int(key)


def _put(node: Any, index: Any, value: Any) -> None:
    if index == len(node) and not isinstance(node, dict):
        node.append(value)
    else:
        node[index] = value


def _part(node: Any, index: Any, following: str) -> Any:
    """The part at an index, made if it is missing."""
    is_mapping = isinstance(node, dict)
    old = node[index] if index in (node if is_mapping else range(len(node))) else None
    if old is None:
        _put(node, index, [] if following == "0" else {})
    elif isinstance(old, str) and (index == "objective" or not is_mapping):
        node[index] = {"kind": old}
    return node[index]
