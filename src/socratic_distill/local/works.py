"""What a batch does: prompts, the replies to sample after them, and the questions about them."""

from dataclasses import dataclass
from typing import Any

from socratic_distill.local.draws import Row
from socratic_distill.local.prefill import Prompt
from socratic_distill.local.scoring import ScoreRequest, Scores


@dataclass(eq=False)
class Work:
    """One prompt, with the replies to sample and the question to answer on it.

    Attributes:
        tokens: the prompt, `[P]`.
        rows: replies to sample; the prompt is read once for all of them.
        question: what is asked about the prompt's own tokens.
        scores: the answer to the question; None before it is there.
    """

    tokens: tuple[int, ...]
    rows: list[Row]
    question: ScoreRequest
    scores: Scores | None = None

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key of the content alone."""
        return (len(self.tokens), self.tokens, self.question.first, [row.order for row in self.rows])

    @property
    def prompt(self) -> Prompt:
        """The tokens to read, and the first position whose output is needed."""
        return Prompt(self.tokens, self.question.first)

    @property
    def width(self) -> int:
        """Positions needed for the prompt and its longest reply; the last token of a reply is never read."""
        longest = max((row.max_tokens for row in self.rows), default=1)
        return len(self.tokens) + max(longest - 1, 0)
