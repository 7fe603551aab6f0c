"""Letters of choices in a text: which single letters are meant as one. Pure."""

import re

_WINDOW = 40  # characters before a letter that say what it is
_SINGLE = re.compile(r"(?<![^\W_])(?<!['\u2019\u02bc\\])(?P<letter>[A-Za-z])(?![^\W_]|['\u2019\u02bc-][^\W_])")
_LABEL = re.compile(
    r"\b(?:vitamin|point|type|group|team|plan|side|angle|line|class|grade|part|section|figure|hepatitis|phase|set|event|"
    r"box|step|row|column|city|town|person|player|car|train|bag|jar|machine|factory|line|node|vertex)\s\Z",
    re.IGNORECASE,
)
_NAMES_OPTION = re.compile(r"\b(?:option|choice|letter)s?[\s:*\"'(]{1,4}\Z", re.IGNORECASE)
_MARK = re.compile(
    r"""(?:\b|(?=[=\u2192]))(?: answer(?:['\u2019]?s)? | say | pick | choose | chose | guess | think
      | go(?:ing)?\ (?:with|for) | went\ with | be | is | was | it['\u2019]?s | that['\u2019]?s
      | therefore | so | final | gets? | gives | makes | equals? | [=\u2192] )
    (?: \s (?:is|was|be|it['\u2019]?s|it\ is|that) )?
    (?: \s (?:definitely|probably|clearly|actually|the|option|choice|letter) ){0,2}
    \s* [:=]? [\s*_"'\u201c(\[{]* (?:\\(?:boxed|text|textbf|mathrm|mathbf)\s?\{\s?){0,2} \Z""",
    re.VERBOSE | re.IGNORECASE,
)
_HEAD = re.compile(r"(?:^|\n)[\s>*_#(\[\"'-]*\Z")
_OPENING = re.compile(r"(?:^|[^\w)])\s?[(\[{]\s?\Z|\\(?:boxed|text|textbf|mathrm|mathbf)\s?\{\s?\Z")
_TAG = re.compile(r"<[a-z]{1,12}>\s?\Z", re.IGNORECASE)
_CLOSING = re.compile(r"\s?[)\]}]")
_AFTER_HEAD = re.compile(r"\s?[*_]{0,2}(?:[.):\]]|\s*(?:\n|\Z))")
_UNIT = re.compile(r"\d\s?\u00b0?\s?\Z")
_THINKS = re.compile(
    r",?\s(?:i\s(?:think|guess|believe|say)|maybe|probably|is\s(?:it|right|correct|the\sanswer))\b", re.IGNORECASE
)
_EQUATION = re.compile(r"\s?[=+^<>*/\u2264\u2265\u2260\u00d7\u00f7](?![*_])")
_END = re.compile(r"[\s*_\"'\u201d)\]}]*(?:\Z|[.,;:!?\n\u2014/])")
_NO_NOUN = re.compile(
    r"\s(?:or|and|because|since|as|but|so|is|isn['\u2019]?t|was|would|must|seems|looks|cannot|can['\u2019]?t|then|though)\b",
    re.IGNORECASE,
)


def letters_of(text: str, count: int) -> list[tuple[int, int, int]]:
    """The letters of the first choices in a text, in order: start, stop, number of the choice from 0.

    Args:
        text: the text.
        count: number of choices.
    """
    letters = []
    for match in _SINGLE.finditer(text):
        which = ord(match["letter"].upper()) - ord("A")
        if which < count and _is_choice(text, match.start(), match["letter"]):
            letters.append((match.start(), match.end(), which))
    return letters


def marks_answer(text: str, start: int) -> bool:
    """Whether the words before an index say that an answer follows, as in "the answer is", "I'd say"."""
    return _MARK.search(text, max(0, start - _WINDOW), start) is not None


def leads_line(text: str, start: int) -> bool:
    """Whether an index begins its line, but for brackets and marks of lists."""
    return _HEAD.search(text, max(0, start - _WINDOW), start) is not None


def _is_choice(text: str, start: int, letter: str) -> bool:
    """Whether the single letter at an index names a choice."""
    stop = start + 1
    first = max(0, start - _WINDOW)
    if _NAMES_OPTION.search(text, first, start):
        return True
    if _CLOSING.match(text, stop) and (_OPENING.search(text, first, start) or not text[start - 1 : start].strip()):
        return True
    if _LABEL.search(text, first, start) or (letter in "CFK" and _UNIT.search(text, first, start)):
        return False
    if _TAG.search(text, first, start):
        return True
    if _EQUATION.match(text, stop):
        return False
    if leads_line(text, start) and (
        _AFTER_HEAD.match(text, stop) or (letter not in "aiI" and _THINKS.match(text, stop))
    ):
        return True
    ends = _END.match(text, stop) is not None
    if letter in "aiI":
        return ends and marks_answer(text, start)
    if letter == "A":
        return ends or _NO_NOUN.match(text, stop) is not None
    return letter.isupper() or ((ends or _NO_NOUN.match(text, stop) is not None) and marks_answer(text, start))
