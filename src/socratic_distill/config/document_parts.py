"""Puts the parts of a config document together: plain values, and the line of every key and list item."""

from dataclasses import dataclass, field
from typing import Any, NoReturn

from socratic_distill.errors import ConfigError

Location = tuple[str | int, ...]
"""Keys and list indexes from the top of a document to a value, such as `("teachers", 0, "weight")`."""
MOST_DEPTH = 32
"""Deepest nesting of mappings and lists. A config needs five."""


@dataclass
class _Open:
    """A mapping or list that is not closed yet."""

    container: dict[str, Any] | list[Any]
    location: Location
    key: str | None = None
    key_line: int = 0


@dataclass
class Parts:
    """Takes a document's parts in their order.

    Attributes:
        source: name of the document, for messages.
        value: the whole value, once its last part was taken.
        lines: the line of each key and list item, from 1.
        has_ended: whether the end of the document was taken.
    """

    source: str
    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    has_ended: bool = False
    _open: list[_Open] = field(default_factory=list)

    @property
    def expects_key(self) -> bool:
        """Whether the next part is a key."""
        return bool(self._open) and isinstance(self._open[-1].container, dict) and self._open[-1].key is None

    def take_key(self, key: str, line: int) -> None:
        """Takes a key of the innermost mapping.

        Raises:
            ConfigError: the mapping has that key already.
        """
        parent = self._open[-1]
        if key in parent.container:
            before = self.lines[(*parent.location, key)]
            self.fail(line, f"the key {key!r} is there twice, first in line {before}; keep one")
        parent.key, parent.key_line = key, line

    def take(self, value: Any, line: int) -> Location:
        """Takes a value, and gives its location."""
        if not self._open:
            self.value = value
            return ()
        parent = self._open[-1]
        if isinstance(parent.container, list):
            location = (*parent.location, len(parent.container))
            parent.container.append(value)
        else:
            assert parent.key is not None, "a value in a mapping follows its key"
            location, line = (*parent.location, parent.key), parent.key_line
            parent.container[parent.key] = value
            parent.key = None
        self.lines[location] = line
        return location

    def begin(self, container: dict[str, Any] | list[Any], line: int) -> None:
        """Takes the beginning of a mapping or a list.

        Raises:
            ConfigError: it is nested too deeply, or stands where a key is expected.
        """
        if self.expects_key:
            self.fail(line, "a mapping or a list is used as a key; expected a text")
        if len(self._open) >= MOST_DEPTH:
            self.fail(line, f"it is nested more than {MOST_DEPTH} levels deep")
        self._open.append(_Open(container, self.take(container, line)))

    def end(self) -> None:
        """Takes the end of the innermost mapping or list."""
        self._open.pop()

    def fail(self, line: int, problem: str) -> NoReturn:
        """Raises the error of a line.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.source}:{line}: {problem}")
