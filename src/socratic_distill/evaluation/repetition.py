"""How much a tutor repeats itself. Pure."""

from collections.abc import Iterable
from itertools import chain

WORDS = 4


def repetition(texts: Iterable[str], words: int = WORDS) -> float | None:
    """Share of a text's runs of words that came before: seq-rep-n, 1 - |different n-grams| / |n-grams|.

    Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020, measure it on a continuation's
    tokens. Here the n-grams are of words, without regard to case, so that models with other vocabularies compare, and
    of all of the texts together; none reaches from one text into the next.

    Args:
        texts: what was said, a turn each.
        words: n.

    Returns:
        The share; None where no text has so many words.

    >>> repetition(["What is 5 plus 7?", "What is 5 plus 7?"]), repetition(["Why?"])
    (0.5, None)
    """
    runs = list(chain.from_iterable(_runs(text.lower().split(), words) for text in texts))
    return 1.0 - len(set(runs)) / len(runs) if runs else None


def _runs(said: list[str], words: int) -> Iterable[tuple[str, ...]]:
    return zip(*(said[start:] for start in range(words)), strict=False)  # they end with the last whole run
