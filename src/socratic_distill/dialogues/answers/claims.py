"""Which of the numbers or formulas of a text its speaker gives as the answer. Pure.

It is the last one, but for those that the speaker does not claim:

- one that is negated or called wrong: `13, not 12`; `12 is wrong`;
- those of a reason: `12 because 5 + 7`;
- those that the caller leaves out, such as the operands of `12 = 5 + 7`.

What stands before these is an answer if it says so (`it's 13, not 12`, `I get 12 = 5 + 7`) or begins its sentence. An
answer that ends its sentence (`The answer is 12.`, `It's 12.`, or `12.` alone) also holds against numbers of later
sentences that are not said to be one (`I added 5 and 7.`), unless the speaker takes it back (`No`, `wait`, `but`).
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Sequence

from socratic_distill.dialogues.answers.words import is_negated, words_of

_WINDOW = 48  # characters before a claim that say what it is
_CLAIM = re.compile(
    r"""(?: [=\u2248:\u2192\u21d2] | [=-]> | \b(?:
        answer | result | total | sum | is | are | was | be | it['\u2019]?s | that['\u2019]?s | get | got | gives?
        | makes? | equals? | say | think | guess | so | therefore | then | now | wait | no | actually | maybe
        | probably )\b )
    [\s,*_$(\["'\u201c]{0,4}
    (?: (?:about|around|maybe|probably|definitely|exactly|just|only|the|a|it['\u2019]?s) \s ){0,2}
    [\s*_$(\[]{0,3} \Z""",
    re.VERBOSE | re.IGNORECASE,
)
_HEAD = re.compile(r"(?:\A|[\n.!?])[\s>*_#(\[\"'\u201c$-]{0,8}\Z")
_ANNOUNCED = re.compile(
    r"""(?<!thought\ the\ ) (?<!said\ the\ ) \banswer \s? (?:\s is\b | [:=]) \s?(?:\s?about\b)?
    [\s*_$(\["'\u201c]{0,5} \Z""",
    re.VERBOSE | re.IGNORECASE,
)
_ITS = re.compile(r"\b(?:it['\u2019]?s|it\s+is|that['\u2019]?s|that\s+is|i\s+g[eo]t)\s[\s*_$(\[]{0,4}\Z", re.IGNORECASE)
_START = re.compile(
    r"\A(?:(?:yes|yeah|ok|okay|right|great|ah|aha|oh)[,.!\s]{1,3})?[\s>*_#(\[\"'\u201c$-]{0,8}\Z", re.IGNORECASE
)
# A unit stands between only before what the speaker did: "12 cups. I added 5 and 7.", not "4 cups. 3 take 12 cups."
_ALONE = re.compile(
    r"""[\s*_)\]"'\u201d$%]{0,5}
    (?: [.!](?:\s|\Z) | \n | (?:[^\W\d]{1,20})? (?: [.!]\s{1,3} | \s[-\u2013\u2014]\s ) (?=(?:I|[Ww]e|[Yy]ou)\b) )""",
    re.VERBOSE,
)
_CONCLUDED = re.compile(r"\b(?:so|therefore|thus|hence|altogether|in\s+total)\b", re.IGNORECASE)
TAKEN_BACK = re.compile(
    r"\b(?:wait|no|not|oops|but|actually|mistake|wrong|forgot|hmm+|sorry|now|then|next|oh|see|mean|meant|should|must)\b",
    re.IGNORECASE,
)
_OTHER = re.compile(rf"{TAKEN_BACK.pattern}|\bor\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)|\n|\s[-\u2013\u2014]\s")
_REASON = re.compile(
    r"""\b(?:because|since|cause|cuz|check(?!\s+(?:it\s+)?again)|using|(?:by|after)\s+[a-z]+ing)\b
    | \b(?:when|if)\s+(?:i|you|we|they|he|she)\b
    | \b(?:which|that)(?:\s+is|['\u2019]s)\s+(?=[$]?[\d.,]+\s+(?:[^\W\d]+\s+)?(?:more|less|fewer|times)\s+(?:than|as)\b)
    | \bas\b(?!\s+(?:well|many|much|an?|the|[a-z]+\s+as)\b)""",
    re.VERBOSE | re.IGNORECASE,
)
# What stands in brackets after a claim explains it: "12 apples (5 red, 7 green)".
_IN_BRACKETS = re.compile(r"[\s*$]{0,3}(?:[^\W\d]{2,20}\s){0,2}\((?P<inside>[^()\n]{1,80})\)")
_REASON_END = re.compile(
    r"[.!?](?=\s|\Z)|\n|\b(?:so|therefore|thus|hence|then|but|wait|which|making|now|actually|it['\u2019]s|it\s+is|the\s+answer|i\s+g[eo]t)\b|[=-]>|[\u2192\u21d2]",
    re.IGNORECASE,
)
_PAST = re.compile(r"\b(?:was|had|thought|said|first)\b[^.!?\n]*\Z", re.IGNORECASE)
_BEFORE_REASON = re.compile(
    r"(?!.*\b(?:more|less|fewer|times|of|out|other|and|or|plus|minus|than|wait|no|but|oops|hmm+|actually)\b)\W{0,4}(?:[^\W\d]+\W{1,3}){0,3}",
    re.IGNORECASE,
)
_RESULT_OF = re.compile(
    r"""[\s*_$)\]]{0,4} [=\u2248(] [\s$(\[]{0,4}
    | (?:\s[^\W\d]+){0,3} \s (?: out\sof (?:\sthe)? | of\s (?:the|these|those|my|his|her|their) ) \s+""",
    re.VERBOSE | re.IGNORECASE,
)
_AND = re.compile(r"(?:\s[^\W\d]+)?\s+and\b", re.IGNORECASE)
# What parts an answer from what it is not: "13, not 12", "13 eggs rather than 12".
_CONTRAST = re.compile(
    r"""(?: \s (?!and\b) [^\W\d]+ ){0,2} [\s,;(\u2014\u2013$)*-]{1,4}
    (?: (?:it|that|this|is|it['\u2019]?s|that['\u2019]?s|definitely|certainly|surely) \s+ )*
    (?: not | never | is(?:n['\u2019]?t|\s+not) | rather\s+than | instead\s+of ) \s+ (?:the\s+)? [$(*\\]{0,3}""",
    re.VERBOSE | re.IGNORECASE,
)
_WRONG = r"(?:wrong|incorrect|false|too\s(?:big|small|much|high|low))\b"
_RIGHT = r"(?:it|right|correct|true|possible|what\b.*|the\s+(?:right\s|correct\s)?(?:answer|solution|one|result))"
_DENIED = re.compile(
    rf"""[\s*"')\]$}}]{{0,3}} (?:\s[^\W\d]+)?                                  # "12", "12 eggs"
    (?: \s | ,?\s (?:but\s (?:that|it) | that | which) (?: \s | (?=['\u2019]s\b) ) )  # "12, but that"
    (?: (?:is|was|are|were|seems?|looks?|sounds?|['\u2019]s) \s+ {_WRONG}
      | (?:is|was|are|were) (?:n['\u2019]?t|\s+not) (?:\s+{_RIGHT})? \s* (?:[.,;!?\n]|\Z)
      | (?:can['\u2019]?t|cannot|can\ not|couldn['\u2019]?t|won['\u2019]?t|doesn['\u2019]?t)
        \s+ (?:be|work|fit|make\ssense)\b )""",
    re.VERBOSE | re.IGNORECASE,
)


def is_denied(text: str, stop: int) -> bool:
    """Whether the words after an index call what ends there wrong, as in "12 is wrong", "12 can't be"."""
    return _DENIED.match(text, stop, stop + _WINDOW) is not None


class Claims:
    """Says of spans of a text which of them its speaker gives as the answer."""

    def __init__(self, text: str, spans: Sequence[tuple[int, int]]) -> None:
        """Takes the text and the spans `[start, stop)` of its numbers or formulas, in order."""
        self._text = text
        self._spans = spans
        self._words = words_of(text)
        self._starts = [word.start for word in self._words]

    def denies(self, start: int, stop: int) -> bool:
        """Whether what stands in a span is negated or called wrong."""
        first = bisect_left(self._starts, start)
        negated = first < len(self._words) and is_negated(self._text, self._words, first)
        return negated or is_denied(self._text, stop)

    def final(self, without: Collection[int] = ()) -> int | None:
        """Number of the span that is the answer; None if there is none.

        Args:
            without: numbers of spans that are no answer.
        """
        reasons = self._reasons()
        last: int | None = None
        for index in reversed(range(len(self._spans))):
            denied = self.denies(*self._spans[index])
            if denied or index in without or index in reasons:
                last = index
            elif last is None:
                return self._announced(index)
            else:
                return index if self._holds_before(index, last) else None
        return None

    def is_claimed(self, index: int) -> bool:
        """Whether a span is an equation, begins its sentence, or follows words such as "it's" or "I get"."""
        return self._is_said(index) or self._leads(index)

    def _is_said(self, index: int) -> bool:
        start, stop = self._spans[index]
        return "=" in self._text[start:stop] or self._follows(_CLAIM, start)

    def _leads(self, index: int) -> bool:
        return self._follows(_HEAD, self._spans[index][0])

    def _follows(self, pattern: re.Pattern[str], start: int) -> bool:
        return pattern.search(self._text, max(0, start - _WINDOW), start) is not None

    def _holds_before(self, index: int, last: int) -> bool:
        """Whether a span is a claim, though the ones from the next to `last` are none: `13, not 12`, `12 (5 + 7)`."""
        if self._is_said(index):
            return True
        stop = self._spans[index][1]
        gap = self._text[stop : min(self._spans[index + 1][0], stop + _WINDOW)]
        if self._leads(index) and _AND.match(gap) is None:
            return True
        pattern = _CONTRAST if self.denies(*self._spans[last]) else _RESULT_OF
        return pattern.fullmatch(gap) is not None

    def _announced(self, index: int) -> int:
        """The last announced answer before a span that is not said to be one, or else the span."""
        if self.is_claimed(index):
            return index
        for earlier in reversed(range(max(0, index - 8), index)):
            start, stop = self._spans[earlier]
            between = self._text[stop : self._spans[index][0]]
            if len(between) > 400 or TAKEN_BACK.search(between):
                break
            if _SENTENCE_END.search(between) and self._announces(start, stop, between):
                return earlier
        return index

    def _announces(self, start: int, stop: int, after: str) -> bool:
        """Whether a span is announced as the answer, given the text up to the last one."""
        if self.denies(start, stop):
            return False
        if self._follows(_ANNOUNCED, start):
            return True
        if _ALONE.match(self._text, stop) is None or _CONCLUDED.search(after) is not None:
            return False
        return self._follows(_ITS, start) or (start < _WINDOW and _START.match(self._text, 0, start) is not None)

    def _reasons(self) -> set[int]:
        """Numbers of the spans that only give the reason of a claim right before."""
        starts = [start for start, _ in self._spans]
        reasons: set[int] = set()
        end = 0
        for match in _REASON.finditer(self._text):
            index = bisect_left(starts, match.start()) - 1
            if match.start() < end or index < 0 or not self._is_claim_before(index, match.start()):
                continue
            closing = _REASON_END.search(self._text, match.end())
            end = closing.start() if closing else len(self._text)
            reasons |= set(range(index + 1, bisect_left(starts, end)))
        for index, (_, stop) in enumerate(self._spans[:-1]):
            match = _IN_BRACKETS.match(self._text, stop)
            if match is not None and self.is_claimed(index) and not _OTHER.search(match["inside"]):
                reasons |= set(range(index + 1, bisect_left(starts, match.end())))
        return reasons

    def _is_claim_before(self, index: int, reason: int) -> bool:
        start, stop = self._spans[index]
        gap = self._text[stop : min(reason, stop + _WINDOW)]
        if reason - stop > _WINDOW or _BEFORE_REASON.fullmatch(gap) is None:
            return False
        if index and self.denies(start, stop) and _CONTRAST.fullmatch(self._text, self._spans[index - 1][1], start):
            return self.is_claimed(index - 1)  # "13, not 12, because"
        return self.is_claimed(index) and not self._follows(_PAST, start) and not self.denies(start, stop)
