"""The rule of answers that are one of several choices.

A text names a choice by its letter, by its text or by its position (`the second one`, `option 2`). Letters are what
nobody would read as a word: `B`, `(b)`, `b)`, `option b`, `Answer: b`, a letter that begins a line as in
`b. Mitochondria`. "A" counts if no noun can follow it (`A.`, `A or B`, `A is right`, but not `A cell is`), "I" only if
it is marked (`(I)`, `option I`), small letters only after words such as "answer" or "say". Letters of labels
(`vitamin C`, `point B`) and of equations (`B = 3`) are none.

A choice is not named as an answer if it is negated (`not B`, `B is wrong`), or stands in a list with others (`A, B or
C`). Of what is left in the last clause that names one, the last choice counts, but one that is marked (`I'd say C
because B is a plant`) or begins the line (`C because B is a plant`) comes first.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from string import ascii_uppercase as LETTERS

from socratic_distill.dialogues.answers.claims import TAKEN_BACK
from socratic_distill.dialogues.answers.letters import leads_line, letters_of, marks_answer
from socratic_distill.dialogues.answers.ordinals import positions_of
from socratic_distill.dialogues.answers.words import Word, is_negated, mentions, wording, words_of
from socratic_distill.dialogues.seed import Seed

_ONE_LETTER = re.compile(r"[(\[]?([A-Za-z])(?:[)\].:]|$)\s*(.*)", re.DOTALL)
# Numbers, and signs that change what an option means, so that its words alone do not tell it from others.
_MATHS = re.compile(
    r"\A\W*\d[\d,]*(?:\s?[^\W\d]+)?\W*\Z|[=+*^<>\\$|\u00b1\u00d7\u00f7\u00b2\u00b3\u03c0\u221a\u221e\u2264\u2265]|[-\u2212\u2013]\s?\d|\d[./]\d|%"
)
_CLAUSE = re.compile(r"[.!?;\n]+(?:\s|$)|\b(?:but|actually|however|wait|nope|sorry|i\s+mean|no(?=[,.!]))\b", re.I)
# Wider than for numbers (`claims`): whatever a choice is said not to be, a speaker who says so rejects it.
_DENIED = re.compile(
    r"""[\s*"')\]]{0,3}\s (?: (?:is|are|was|were)(?:n['\u2019]?t\b | \s+(?:not|wrong|incorrect|false|out)\b)
      | can(?:['\u2019]?t|not|\ not)\b | couldn['\u2019]?t\b
      | do(?:es)?(?:n['\u2019]?t|\ not)\s+(?:make\ sense|fit|work)\b )""",
    re.VERBOSE | re.IGNORECASE,
)
_BETWEEN_LISTED = re.compile(
    r"""(?! [^\n]*[.!?]\s )  # no end of a sentence
    (?: [^\w=]* (?:or|and|also|plus|vs|versus|either|option|choice|letter|the|an?|is|it|maybe|perhaps)\b )* [^\w=]*""",
    re.VERBOSE | re.IGNORECASE,
)

_HEAD = re.compile(r"[\s>*_#(\[\"'$-]*")
_LETTER = re.compile(r"[A-Za-z](?![^\W_])")
_LONGEST_JOINT = 60  # characters between two members of a list


@dataclass(frozen=True, slots=True)
class _Named:
    """A choice that a text names.

    Attributes:
        start: index of its first character.
        stop: index after its last character.
        which: number of the choice, from 0.
        marked: whether words before it say that an answer follows.
        leads: whether it begins its line.
        negated: whether the text says that it is not the answer.
        denied: whether the words after it say so.
        listed: whether it is in a list with others.
    """

    start: int
    stop: int
    which: int
    marked: bool
    leads: bool
    negated: bool
    denied: bool
    listed: bool = False


class ChoiceRule:
    """A text says the answer if it names the right choice, and no other in the same way."""

    def matches(self, reply: str, seed: Seed) -> bool:
        """Whether the last choice that the reply names as an answer is the right one."""
        given = _given(reply, seed)
        return given is not None and given.which == answer_index(seed)

    def reveals(self, turn: str, seed: Seed) -> bool:
        """Whether the turn names the right choice alone, or marks it; a list of choices reveals nothing."""
        return bool(_revealing(turn, seed))

    def spans(self, text: str, seed: Seed) -> list[tuple[int, int]]:
        """The mentions that reveal the right choice; if there is none, the one that a reply gives as its answer."""
        named = _revealing(text, seed)
        if not named and (given := _given(text, seed)) is not None and given.which == answer_index(seed):
            named = [given]
        return [(mention.start, mention.stop) for mention in named]

    def check(self, seed: Seed) -> None:
        """Returns if the choices differ and the answer is one of them; raises `ValueError` if not."""
        count = len(seed.choices)
        if not 2 <= count <= len(LETTERS):
            raise ValueError(f"choices holds {count}; give 2 to {len(LETTERS)} of them, in the order of their letters")
        first: dict[object, str] = {}
        for letter, choice, key in zip(LETTERS, seed.choices, _keys(seed.choices), strict=False):
            if not key:
                raise ValueError(f"choice {letter} is {choice!r}, which has no word or number; write what it says")
            if key in first:
                raise ValueError(f"the choices {first[key]!r} and {choice!r} are the same; make them differ")
            first[key] = choice
            other = LETTERS.find(choice.strip().upper()) if len(choice.strip()) == 1 else -1
            if 0 <= other < count and other != LETTERS.index(letter):
                raise ValueError(f"choice {letter} is {choice!r}, the letter of another choice; reorder the choices")
        if answer_index(seed) is None:
            last = LETTERS[count - 1]
            raise ValueError(
                f"the answer {seed.expected_answer!r} is none of the choices; write a letter, A to {last}, or the text "
                "of a choice"
            )


def answer_index(seed: Seed) -> int | None:
    """Number of the right choice, from 0; None if the answer is none of them."""
    return _index(seed.expected_answer, seed.choices)


@lru_cache(maxsize=1024)
def _index(answer: str, choices: tuple[str, ...]) -> int | None:
    keys = _keys(choices)
    same = [index for index, key in enumerate(keys) if key and key == _key(answer, _is_literal(choices))]
    if same:
        return same[0]
    match = _ONE_LETTER.fullmatch(answer.strip())
    index = LETTERS.find(match[1].upper()) if match else -1
    if match is None or not 0 <= index < len(choices):
        return None
    return index if not match[2] or _key(match[2], _is_literal(choices)) == keys[index] else None


def _is_literal(choices: tuple[str, ...]) -> bool:
    """Whether choices are compared sign by sign, because signs such as a minus make them different."""
    return any(_MATHS.search(choice) for choice in choices)


def _key(choice: str, literal: bool) -> object:
    """What a choice has in common with all ways to write it; empty if there is nothing to compare."""
    return "".join(choice.split()).casefold() if literal else wording(choice)


@lru_cache(maxsize=1024)
def _keys(choices: tuple[str, ...]) -> tuple[object, ...]:
    literal = _is_literal(choices)
    return tuple(_key(choice, literal) for choice in choices)


@lru_cache(maxsize=1024)
def _literals(choices: tuple[str, ...]) -> re.Pattern[str]:
    """Finds choices sign by sign, with any white space, the longest first; the group's name is the choice's number."""
    patterns = []
    for index in sorted(range(len(choices)), key=lambda index: -len(choices[index])):
        signs = "".join(choices[index].split())
        if signs:
            before = (
                r"(?<![\w.,\u2212\u2013-])(?<![+*/\u00d7\u00f7]\s)(?<![+*/\u00d7\u00f7])"
                if signs[0].isalnum()
                else r"(?<![\w)])(?<![\d)]\s)"
            )
            body = r"\s*".join(re.escape(sign) for sign in signs)
            patterns.append(rf"{before}(?P<c{index}>{body})(?!\w|[.,]\d|\s?[+*/^\u2212]\s?[\w(])")
    return re.compile("|".join(patterns) or r"(?!)", re.IGNORECASE)


def _named(text: str, seed: Seed) -> list[_Named]:
    """The choices that a text names, in order; neighbours that name the same choice are one mention."""
    words = words_of(text)
    starts = [word.start for word in words]
    texts = list(_by_text(text, words, seed.choices))
    signs = [*letters_of(text, len(seed.choices)), *positions_of(text, len(seed.choices))]
    spans = sorted([*texts, *(sign for sign in signs if not _inside(sign, texts))])
    named: list[_Named] = []
    for start, stop, which in spans:
        first = bisect_left(starts, start)
        denied = _DENIED.match(text, stop) is not None
        negated = denied or (first < len(words) and is_negated(text, words, first))
        choice = _Named(start, stop, which, marks_answer(text, start), leads_line(text, start), negated, denied)
        if named and named[-1].which == which and not re.search(r"\w", text[named[-1].stop : start]):
            choice = _joined(named.pop(), choice)
        named.append(choice)
    return _with_lists(text, named)


def _joined(first: _Named, second: _Named) -> _Named:
    """One mention of two neighbours, such as a letter and the text of the same choice."""
    return replace(
        second,
        start=first.start,
        marked=first.marked or second.marked,
        leads=first.leads,
        negated=first.negated or second.negated,
    )


def _by_text(text: str, words: list[Word], choices: tuple[str, ...]) -> Iterator[tuple[int, int, int]]:
    """Where a text has the text of a choice: start, stop, number of the choice."""
    if _is_literal(choices):
        for match in _literals(choices).finditer(text):
            yield match.start(), match.end(), int((match.lastgroup or "c0")[1:])
    else:
        for mention in mentions(words, [wording(choice) for choice in choices]):
            yield mention.start, mention.stop, mention.which


def _inside(letter: tuple[int, int, int], spans: list[tuple[int, int, int]]) -> bool:
    """Whether a letter belongs to one of the spans, which are in order."""
    index = bisect_right(spans, (letter[0], 1 << 62, 0)) - 1
    return index >= 0 and letter[0] < spans[index][1]


def _with_lists(text: str, named: list[_Named]) -> list[_Named]:
    """The same, with `listed` for members of a list of different choices; a list is denied as its last member is."""
    joined = [
        first.which != second.which
        and second.start - first.stop < _LONGEST_JOINT
        and _BETWEEN_LISTED.fullmatch(text, first.stop, second.start) is not None
        for first, second in pairwise(named)
    ]
    members = list(named)
    for index in reversed(range(len(joined))):  # "A and C are wrong"
        if joined[index] and members[index + 1].denied and not members[index].negated:
            members[index] = replace(members[index], negated=True, denied=True)
    listed: set[int] = set()
    for index, is_joined in enumerate(joined):
        if is_joined and not (members[index].negated or members[index + 1].negated):
            listed |= {index, index + 1}
    return [replace(mention, listed=index in listed) for index, mention in enumerate(members)]


def _given(text: str, seed: Seed) -> _Named | None:
    """The choice that a text gives as its answer."""
    named = [mention for mention in _named(text, seed) if not mention.negated and not mention.listed]
    if not named:
        return None
    if _holds(text, named):
        return named[0]
    clauses = [match.start() for match in _CLAUSE.finditer(text)]
    last = bisect_right(clauses, named[-1].start)
    clause = [mention for mention in named if bisect_right(clauses, mention.start) == last]
    marked = [mention for mention in clause if mention.marked]
    leading = [mention for mention in clause if mention.leads]
    return (marked or leading or clause)[-1]


def _holds(text: str, named: list[_Named]) -> bool:
    """Whether the first choice begins the text and is no longer in question: `C. Because A is breathed.`."""
    first, *others = named
    if not others or not _HEAD.fullmatch(text, 0, first.start) or any(other.marked or other.leads for other in others):
        return False
    between = text[first.stop : others[0].start]
    return _CLAUSE.search(between) is not None and TAKEN_BACK.search(between) is None


def _leads_alone(text: str, named: list[_Named]) -> bool:
    """Whether the first mention is a letter that begins its line, no other does, and nothing takes it back."""
    first = named[0]
    if not first.leads or _LETTER.match(text, first.start) is None or any(other.leads for other in named[1:]):
        return False
    return len(named) < 2 or TAKEN_BACK.search(text, first.stop, named[1].start) is None


def _revealing(text: str, seed: Seed) -> list[_Named]:
    """The mentions of the right choice that give it away: alone in the text, or marked as the answer."""
    answer = answer_index(seed)
    named = [mention for mention in _named(text, seed) if not mention.negated]
    alone = {mention.which for mention in named} == {answer}
    head = named[0] if named and _leads_alone(text, named) else None
    right = [mention for mention in named if mention.which == answer and not mention.listed]
    return [mention for mention in right if alone or mention.marked or mention is head]
