"""The kind of an answer in a file that does not state it. Pure."""

import re
from collections.abc import Sequence

from socratic_distill.dialogues.answers.numbers import check_answer
from socratic_distill.dialogues.seed import AnswerKind

_SIGNS = re.compile(r"[\\$^=\u221a\u03c0\u221e\u2264\u2265\u222a]")
_WORD = re.compile(r"[^\W\d_]{2,}")
# A small letter as a factor or next to a sign; not the letters of a label or of a formula of chemistry, such as H2O.
_VARIABLE = re.compile(r"(?<=[\d.)])\s?[a-z](?![A-Za-z\d])|(?<![A-Za-z\d])[a-z]\s?[-+*/<>\u2212(]")
_GLUED = re.compile(r"^[^\d]*[^\W\d_]\d")  # a number that ends a word, as in H2O
_DIGIT = re.compile(r"[0-9]")
_GROUP = re.compile(r"\s*[(\[{][^()\[\]{}]*,[^()\[\]{}]*[)\]}]\s*")
_JOINT = re.compile(r"\b(?:and|or)\b")
_FUNCTION = re.compile(r"\b(?:sqrt|sin|cos|tan|log|ln|exp|pi)\b")


def detect(answer: str, choices: Sequence[str] = (), accepted: Sequence[str] = ()) -> AnswerKind | None:
    r"""The kind of an answer where it is plain, or None: then the file must state it.

    Choices make a "choice", and accepted answers a "text". One number, by `check_answer`, is a "number". An
    "expression" has LaTeX or signs of algebra (`\`, `$`, `^`, `=`, `√`), or no words but a variable and digits, or is
    a set, an interval or a tuple of numbers.

    Args:
        answer: the answer as the file has it.
        choices: the file's choices for it.
        accepted: the file's other wordings for it.

    >>> detect("12 eggs"), detect("2x + 1"), detect("[0, 3)"), detect("B", ["yes", "no"]), detect("Paris")
    ('number', 'expression', 'expression', 'choice', None)
    """
    if choices:
        return "choice"
    if accepted:
        return "text"
    try:
        check_answer(answer)
    except ValueError:
        return "expression" if _is_expression(answer) else None
    return None if _GLUED.search(answer) else "number"


def _is_expression(answer: str) -> bool:
    if re.search(r"[\\$]", answer):
        return True
    if _WORD.search(_JOINT.sub(" ", _FUNCTION.sub(" ", answer))):
        return False
    return bool(
        _SIGNS.search(answer)
        or (_DIGIT.search(answer) and (_VARIABLE.search(answer) or _FUNCTION.search(answer)))
        or (_DIGIT.search(answer) and _GROUP.fullmatch(answer))
    )
