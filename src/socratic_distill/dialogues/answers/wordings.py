"""The rule of answers that are words, in one of several wordings."""

import re

from socratic_distill.dialogues.answers.claims import is_denied
from socratic_distill.dialogues.answers.words import Mention, Word, is_negated, mentions, wording, words_of
from socratic_distill.dialogues.seed import Seed

_WINDOW = 24  # characters before a mention
_OR_BEFORE = re.compile(
    r"(?<!,)\sor\s(?:(?:maybe|perhaps|it['\u2019]?s|the|an?)\s){0,2}[\"'\u201c*]{0,2}\Z", re.IGNORECASE
)
_OR_AFTER = re.compile(r"[\"'\u201d*]{0,2}\sor\b(?!\s(?:so|something|whatever|similar|not)\b)", re.IGNORECASE)
_EITHER = re.compile(r"\beither\b[^.!?\n]*\Z", re.IGNORECASE)
_COMMA_OR = re.compile(r"[\"'\u201d*]{0,2},\sor\b", re.IGNORECASE)

# "X. No wait, Y"; "I thought X, but Y". What Y says is not known, but it is not the answer.
_NO = re.compile(
    r"[\"'\u201d*]{0,2}[.,!?;\u2026\u2014-]{1,3}\s*(?:oh,?\s+|hmm+,?\s+)?(?:no\s*,|no\s+wait|nope|wait|scratch\s+that|sorry)[\s,.]*\w",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r"\b(?:thought|used\s+to|at\s+first|initially|(?:i|we)\s+(?:first\s+)?(?:said|guessed|wrote|had))\b[^.!?\n]*\Z",
    re.IGNORECASE,
)
_BUT = re.compile(r"[^.!?\n]{0,20}\bbut\b", re.IGNORECASE)


class TextRule:
    """A text says the answer if it has the words of `expected_answer` or of one of `accepted_answers`.

    Words are compared as `words` describes, and only whole words count: `ion` is not in `station`. Numbers within a
    wording are words like others. Articles may stand between a wording's words. What else a reply could name is not
    known: after "or", "no wait" or "I thought … but" it is taken for another answer.
    """

    def matches(self, reply: str, seed: Seed) -> bool:
        """Whether the reply's last mention of the answer stands.

        It does not if it is negated right before (`isn't X`), called wrong (`X is wrong`), one of two (`X or Y`), or
        taken back (`X. No wait, Y`).
        """
        words, said = _mentions(reply, seed)
        if not said or is_negated(reply, words, said[-1].first) or is_denied(reply, said[-1].stop):
            return False
        return not (_is_listed(reply, said) or _is_taken_back(reply, said[-1]))

    def reveals(self, turn: str, seed: Seed) -> bool:
        """Whether the turn says the answer anywhere, negated or not."""
        return bool(_mentions(turn, seed)[1])

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """All mentions."""
        return [(mention.start, mention.stop) for mention in _mentions(text, seed)[1]]

    def check(self, seed: Seed) -> None:
        """Returns if each wording has a word; raises `ValueError` if not."""
        if seed.choices:
            raise ValueError("choices are given with a text; leave them out, or write the answer as one of the choices")
        for name, text in (
            ("expected_answer", seed.expected_answer),
            *(("accepted_answers", text) for text in seed.accepted_answers),
        ):
            if not wording(text):
                raise ValueError(f"{name} has {text!r}, which has no word or number; write the words that count")


def _mentions(text: str, seed: Seed) -> tuple[list[Word], list[Mention]]:
    wanted = [wording(answer) for answer in (seed.expected_answer, *seed.accepted_answers)]
    words = words_of(text)
    return words, mentions(words, wanted)


def _is_listed(reply: str, said: list[Mention]) -> bool:
    """Whether "or" joins the last mention to something else that is not the answer."""
    last = said[-1]
    before = _OR_BEFORE.search(reply, max(0, last.start - _WINDOW), last.start)
    if before and not (len(said) > 1 and said[-2].stop >= before.start() - 1):
        return True
    if _EITHER.search(reply, max(0, last.start - _WINDOW), last.start) and _COMMA_OR.match(reply, last.stop):
        return True
    return _OR_AFTER.match(reply, last.stop) is not None


def _is_taken_back(reply: str, mention: Mention) -> bool:
    """Whether the speaker goes on to another answer."""
    if _NO.match(reply, mention.stop):
        return True
    before = _BEFORE.search(reply, max(0, mention.start - 2 * _WINDOW), mention.start)
    return before is not None and _BUT.match(reply, mention.stop) is not None
