"""The text of a reply while its tokens come in: what is certain to stay, and where a stop text ends it."""

from collections.abc import Sequence

from socratic_distill.dialogues.reasoning import THINK_CLOSE, THINK_OPEN
from socratic_distill.dialogues.rendering import Renderer

_TORN = "\ufffd"  # what a decoder writes for a part of a character


class Speech:
    """One reply.

    Attributes:
        text: what the student has heard so far.
        length: tokens up to which a stop text was complete; None before one is.
    """

    def __init__(self, renderer: Renderer, stops: Sequence[str]) -> None:
        """Nothing is said yet.

        Args:
            renderer: of the tutor's model.
            stops: texts that end the reply, and are no part of it.
        """
        self._renderer = renderer
        self._stops = tuple(stops)
        self._marks = (*stops, THINK_OPEN, THINK_CLOSE)
        self.text = ""
        self.length: int | None = None

    def take(self, tokens: Sequence[int]) -> str:
        """What can be said after some more tokens; "" once a stop text has ended the reply.

        Text that may yet turn out to be the beginning of a stop text, of reasoning or of a character is held back.

        Args:
            tokens: all of the reply so far, `[T]`.
        """
        if self.length is not None:
            return ""
        visible = self._renderer.visible_text(tokens)
        # A torn character is not yet the character that a stop text may hold.
        if (end := self._end_of(visible.rstrip(_TORN))) is not None:
            self.length = len(tokens)
            return self._say(visible[:end])
        return self._say(visible[: len(visible) - self._held(visible)])

    def finish(self, tokens: Sequence[int]) -> str:
        """What remains to be said when no more tokens come."""
        if self.length is not None:
            return ""
        visible = self._renderer.visible_text(tokens)
        end = self._end_of(visible)
        if end is not None:
            self.length = len(tokens)
        return self._say(visible if end is None else visible[:end])

    def _end_of(self, visible: str) -> int | None:
        """Where the first stop text begins."""
        places = [index for stop in self._stops if (index := visible.find(stop)) >= 0]
        return min(places, default=None)

    def _held(self, visible: str) -> int:
        """Length of the end of a text that is not certain yet."""
        whole = visible.rstrip(_TORN)
        lengths = range(1, min(len(whole) + 1, max(map(len, self._marks))))
        begun = [n for n in lengths if any(n < len(mark) and mark.startswith(whole[-n:]) for mark in self._marks)]
        return len(visible) - len(whole) + max(begun, default=0)

    def _say(self, visible: str) -> str:
        if not visible.startswith(self.text):  # reasoning after speech: what was heard cannot be taken back
            return ""
        new, self.text = visible[len(self.text) :], visible
        return new
