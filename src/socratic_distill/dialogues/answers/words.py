"""The words of a text, as wordings of answers are compared. Pure.

Two texts have the same words if they differ in these only: case and Unicode form (NFKC, casefold), white space,
punctuation and hyphens, points of initials (`U.S.A.`), apostrophes (`Newton's` is `newtons`), and the articles a, an,
the. Accents are kept, since in many languages they make another word: give the other spelling among the accepted
answers. `+` and `#` at the end of a word are kept (`Na+`, `C#`). In scripts without blanks between words (Chinese,
Japanese, Thai, …), and in Korean, whose particles touch the word, each character is a word.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

ARTICLES = frozenset(("a", "an", "the"))
_SEPARATE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_APOSTROPHE = "'\u2019\u02bc"
_MARK = "\u0001"  # stands for combining characters, which are parts of words, in a copy of the text
# Characters that are not seen: soft hyphen, joiners, byte order mark.
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200c\u200d\u2060\ufeff"))
_TOKEN = re.compile(
    rf"(?<![^\W_])(?:[^\W\d_]\.)+[^\W\d_](?![^\W_])"  # U.S.A
    rf"|[{_SEPARATE}]{_MARK}*"
    rf"|(?:(?![{_SEPARATE}])[^\W_]|{_MARK})+(?:[{_APOSTROPHE}](?:(?![{_SEPARATE}])[^\W_]|{_MARK})+)*(?:[+#\u207a]+(?![^\W_]))?"
)
_IN_TOKEN = re.compile(r"[^\W_]+[+#]*|[+#]+")
_OWN = re.compile(rf"[{_APOSTROPHE}]s\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text.

    Attributes:
        text: the word, normalised.
        start: index of its first character in the text.
        stop: index after its last character in the text; without a possessive `'s`, if `owner` is given.
        owner: for a word with a possessive `'s`, the word without it.
    """

    text: str
    start: int
    stop: int
    owner: str | None = None

    def is_(self, text: str) -> bool:
        """Whether it is the given normalised word, or its possessive form."""
        return text in (self.text, self.owner)


def words_of(text: str) -> list[Word]:
    """The words of a text, in order, with articles."""
    words = []
    for match in _TOKEN.finditer(_without_marks(text)):
        start, stop = match.span()
        token = text[start:stop]
        own = _OWN.search(token)
        owner = _normalised(token[: own.start()]) if own else None
        whole = _normalised(token)
        if owner is not None and len(owner) == 1 and len(whole) == 1:
            words.append(Word(whole[0], start, start + (own.start() if own else 0), owner[0]))
        else:
            words += [Word(part, start, stop) for part in whole]
    return words


def _without_marks(text: str) -> str:
    """A text of the same length in which combining characters are marks, so that a pattern can find words."""
    if text.isascii():
        return text
    return "".join(
        _MARK
        if ord(character) > 127 and (ord(character) in _UNSEEN or unicodedata.category(character)[0] == "M")
        else character
        for character in text.replace(_MARK, " ")
    )


def _normalised(token: str) -> list[str]:
    """A token's words: Unicode may write several as one character, such as a fraction."""
    if token[1:2] == ".":  # U.S.A
        token = token.replace(".", "")
    seen = token if token.isascii() else token.translate(_UNSEEN)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    for sign in _APOSTROPHE:
        folded = folded.replace(sign, "")
    if folded.isascii():
        return _IN_TOKEN.findall(folded)
    return "".join(character if _is_in_word(character) else " " for character in folded).split()


def _is_in_word(character: str) -> bool:
    return character.isalnum() or character in "+#" or unicodedata.category(character)[0] == "M"


@lru_cache(maxsize=4096)
def wording(text: str) -> tuple[str, ...]:
    """A wording's words, normalised, without articles; an article at the end, as in `vitamin A`, is kept."""
    words = [word.text for word in words_of(text)]
    return tuple(word for index, word in enumerate(words) if word not in ARTICLES or index == len(words) - 1)


@dataclass(frozen=True, slots=True)
class Mention:
    """Where a text says a wording.

    Attributes:
        start: index of its first character.
        stop: index after its last character.
        first: number of its first word in the text's words.
        which: number of the wording among those that were looked for.
    """

    start: int
    stop: int
    first: int
    which: int


def mentions(words: Sequence[Word], wordings: Sequence[tuple[str, ...]]) -> list[Mention]:
    """Where words say one of several wordings, in order, not overlapping; the longest wording wins.

    Args:
        words: a text's words.
        wordings: normalised words of each wording; one without words is nowhere.
    """
    by_first: dict[str, list[int]] = {}
    for which in sorted(range(len(wordings)), key=lambda which: -len(wordings[which])):
        if wordings[which]:
            by_first.setdefault(wordings[which][0], []).append(which)
    matched: list[Mention] = []
    index = 0
    while index < len(words):
        word = words[index]
        candidates = [*by_first.get(word.text, ()), *(by_first.get(word.owner, ()) if word.owner else ())]
        for which in sorted(candidates, key=lambda which: -len(wordings[which])):
            last = _last_word(words, index, wordings[which])
            if last is not None:
                matched.append(Mention(word.start, words[last].stop, index, which))
                index = last
                break
        index += 1
    return matched


def _last_word(words: Sequence[Word], index: int, wanted: tuple[str, ...]) -> int | None:
    """Number of the last word of a wording that begins at a word; None if it does not. Articles between are skipped."""
    for count, text in enumerate(wanted):
        if count:
            index += 1
            if index < len(words) and not words[index].is_(text) and words[index].text in ARTICLES:
                index += 1
        if index >= len(words) or not words[index].is_(text):
            return None
    return index


_CONTRACTED = frozenset((
    "cant", "isnt", "arent", "wasnt", "werent", "dont", "doesnt", "didnt", "wont", "wouldnt", "couldnt", "shouldnt",
    "aint",
))  # fmt: skip
_NEGATORS = _CONTRACTED | {"not", "never", "no", "without", "neither", "nor", "non", "cannot", "eliminate", "exclude"}
_INSTEAD = (("rather", "than"), ("instead", "of"), ("other", "than"), ("rule", "out"), ("ruled", "out"))
# "not (B)", "anything but B"
_REJECTED = re.compile(
    r"(?:\b(?:not|never|is\s?n['\u2019]?t)\s[(\[*\"'\u201c]{1,2}|\b(?<!be\s)(?:anything|everything|all|any)\s+but\s+(?:the\s|an?\s)?)\Z",
    re.IGNORECASE,
)
_STOP = re.compile(r"[.,;:!?\n\u2014()]")
_OPINIONS = frozenset(("think", "believe", "say", "guess", "suppose"))
# Words between an opinion and what it is about: "I don't think that the answer is X".
_LINKS = frozenset(("it", "its", "is", "was", "be", "that", "thats", "this", "answer"))
_REJECTED_WINDOW = 24  # characters
_FARTHEST = 7  # words before a word that are read


def is_negated(text: str, words: Sequence[Word], first: int) -> bool:
    """Whether a word is negated right before.

    One of the two words before it is a negation (`not X`, `isn't really X`, `instead of X`), or an opinion is denied
    (`I don't think that it is X`, `I doubt it's X`). Articles and "to" are left out; punctuation and "but" end what is
    read. "No" must touch the word (`no X`, but not `no it's X`). These say X: "not only X", "not sure X", and the
    question "isn't it X".
    """
    start = words[first].start
    if _REJECTED.search(text, max(0, start - _REJECTED_WINDOW), start):
        return True
    before = _words_before(text, words, first)
    last, earlier = [*before, "", ""][:2]
    if (earlier, last) in _INSTEAD:
        return True
    if last in ("only", "just", "sure", "certain"):
        return False
    if last in _NEGATORS or (earlier in _NEGATORS and earlier != "no"):
        return not (earlier in _CONTRACTED and last in ("it", "that", "this"))
    index = next((index for index, word in enumerate(before) if word not in _LINKS), len(before))
    opinion, denial = [*before[index:], "", ""][:2]
    if opinion == "doubt":
        return denial not in _NEGATORS
    return opinion in _OPINIONS and denial in _NEGATORS


def _words_before(text: str, words: Sequence[Word], first: int) -> list[str]:
    """The words that may negate a word, the nearest first."""
    stop, index = words[first].start, first - 1
    before: list[str] = []
    while index >= 0 and len(before) < _FARTHEST:
        word = words[index]
        if word.text == "but" or _STOP.search(text, word.stop, stop):
            break
        if word.text not in ARTICLES and word.text != "to":
            before.append(word.text)
        stop, index = word.start, index - 1
    return before
