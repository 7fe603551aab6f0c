"""Measures how much a tutor repeats itself. Pure."""

from collections.abc import Iterable
from itertools import chain

WORDS = 4


def repetition(texts: Iterable[str], words: int = WORDS) -> float | None:
    """Share of word n-grams that occurred before: seq-rep-n, 1 - |different n-grams| / |n-grams|.

    Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020, measure it on a continuation's
    tokens. Here the n-grams are of words in lower case, so that models with different vocabularies are comparable. All
    texts are counted together, but no n-gram spans two texts.

    Args:
        texts: the texts, one for each turn.
        words: n, the number of words in an n-gram.

    Returns:
        The share; None if no text has that many words.

    >>> repetition(["What is 5 plus 7?", "What is 5 plus 7?"]), repetition(["Why?"])
    (0.5, None)
    """
    runs = list(chain.from_iterable(_runs(text.lower().split(), words) for text in texts))
    return 1.0 - len(set(runs)) / len(runs) if runs else None


def _runs(text: list[str], words: int) -> Iterable[tuple[str, ...]]:
    return zip(*(text[start:] for start in range(words)), strict=False)  # not strict: ends with the last full n-gram
