r"""A row's answer: which kind it is, and what of a worked solution is the answer.

A kind comes from the row, else from the file or the config, else from the format or from how the answer looks. A worked
solution's answer is the text after its last `####`, else in its last `\boxed{}`, else its last line.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from socratic_distill.config.values import AnswerKind
from socratic_distill.dialogues.answers.boxes import boxes_of, has_box
from socratic_distill.dialogues.answers.detection import detect
from socratic_distill.dialogues.answers.kinds import RULES
from socratic_distill.dialogues.answers.numbers import check_answer, final_answer, last_line
from socratic_distill.dialogues.seed import BY_VERDICT, Seed

_WORDS = re.compile(r"\\(?:text|textbf|textrm|mbox|mathrm)\s*\{([^{}]*)\}\.?")
# Kinds that need no answer to compare with.
_WITHOUT_ANSWER: tuple[AnswerKind, ...] = (*BY_VERDICT, "none")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a row says of its answer.

    Attributes:
        text: the answer; "" if there is none.
        kind: its kind, if the row states it.
        likely: its kind, if neither the row nor the file states one. None: as the answer looks.
        choices: the options of a choice.
        accepted: other wordings that count as well.
        rubric: what a judge goes by.
        compares_units: whether the unit counts.
    """

    text: str = ""
    kind: AnswerKind | None = None
    likely: AnswerKind | None = None
    choices: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    rubric: str | None = None
    compares_units: bool = False


def with_answer(answer: Answer, stated: AnswerKind | None, **problem: Any) -> Seed:
    """A seed whose answer can be compared.

    Args:
        answer: what its row says.
        stated: kind that the file or the config states; the row's own counts first.
        **problem: the other fields of the seed.

    Raises:
        ValueError: the kind is not stated and cannot be seen, or the answer is none of its kind.
    """
    kind = answer.kind or stated
    if not answer.text and kind not in _WITHOUT_ANSWER:
        if answer.kind is not None:
            raise ValueError(f"answer_kind is {kind!r}, but there is no expected_answer; give it or leave out the kind")
        kind = "none"
    is_seen = kind is None and answer.likely is None
    kind = kind or answer.likely or _detected(answer)
    seed = Seed(
        expected_answer=answer.text,
        answer_kind=kind,
        choices=answer.choices,
        accepted_answers=answer.accepted,
        rubric=answer.rubric,
        compares_units=answer.compares_units,
        **problem,
    )
    rule = RULES.get(kind)
    if rule is None or (is_seen and kind == "number" and not seed.compares_units):  # seen by the same check
        return seed
    try:
        rule.check(seed)
    except ValueError:
        if kind != "expression" or "expression" in (answer.kind, stated) or answer.likely is None:
            raise
        # A published set has a few answers in LaTeX that no library reads; they are compared as words.
        seed = replace(seed, answer_kind="text")
        RULES["text"].check(seed)
    return seed


def _detected(answer: Answer) -> AnswerKind:
    kind = detect(answer.text, answer.choices, answer.accepted)
    if kind is not None:
        return kind
    try:
        check_answer(answer.text)
    except ValueError as problem:
        raise ValueError(
            f'{problem}; or state the kind: answer_kind "text", "judged" or "expression", in the row or for the file'
        ) from None
    return "number"


def worked_answer(solution: str, stated: AnswerKind | None = None) -> Answer:
    """The answer of a worked solution, a number if no other kind is stated.

    Args:
        solution: the solution.
        stated: kind that the file or the config states.

    Raises:
        ValueError: it is no number, and none other is stated.
    """
    if stated in (None, "number"):
        return Answer(final_answer(solution), likely="number")
    return Answer(_last_part(solution))


def boxed_answer(solution: str) -> Answer:
    r"""The answer in the last `\boxed{}` of a solution.

    Raises:
        ValueError: it has none.
    """
    box = last_box(solution)
    if box is None:
        raise ValueError(r"the solution has no \boxed{…} around its answer; add one, or give the column of the answer")
    return latex_answer(box)


def latex_answer(text: str) -> Answer:
    r"""An answer that is written in LaTeX: a number, words in `\text{}`, or else an expression.

    An expression that cannot be read is a text.
    """
    text = text.strip()
    try:
        check_answer(text)
    except ValueError:
        words = _WORDS.fullmatch(text)
        if words is not None and words[1].strip():
            return Answer(words[1].strip(), likely="text")
        return Answer(text, likely="text" if text.isalpha() and len(text) > 2 else "expression")
    return Answer(text, likely="number")


def plain_or_worked(text: str) -> tuple[str, AnswerKind | None]:
    r"""An answer as it stands, or as `####` or `\boxed{}` marks it in a worked solution; and its likely kind.

    Raises:
        ValueError: the box is not closed.
    """
    if "####" not in text and not has_box(text):
        return text, None
    try:
        check_answer(text)
    except ValueError:
        if "####" in text:
            return _last_part(text), None
        answer = boxed_answer(text)
        return answer.text, answer.likely
    return text, None


def _last_part(solution: str) -> str:
    if "####" in solution:
        return solution.rpartition("####")[2].strip().partition("\n")[0].strip()
    if (box := last_box(solution)) is not None:
        return box.strip()
    return last_line(solution)


def last_box(solution: str) -> str | None:
    r"""What stands in the last `\boxed{}` that is not in another; None if there is none, or it is not closed."""
    content = None
    for box in boxes_of(solution):
        if box.stop is None:
            return None
        content = solution[box.start : box.stop]
    return content
