"""The formats of question sets: GSM8K, MATH, SVAMP, ASDiv, MMLU-Pro and ARC."""

import re
import string
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AliasChoices, Field, PlainValidator, model_validator

from socratic_distill.config.values import AnswerKind
from socratic_distill.dialogues.answers.numbers import check_answer
from socratic_distill.dialogues.reading.answers import Answer, boxed_answer, latex_answer, worked_answer
from socratic_distill.dialogues.reading.seed_formats import TUTORING, Origin, OwnRow, Problem, SeedRow
from socratic_distill.dialogues.reading.values import (
    OptionalText,
    OptionalTextOrNumber,
    Text,
    TextOrNumber,
    Texts,
    from_json,
)

_CALCULATOR_MARK = re.compile(r"<<[^<>\n]*>>")
_UNIT = re.compile(r"\s*\(([^()]*)\)\s*$")
_WHOLE = re.compile(r"^(-?\d+)\.0+$")
LETTERS = string.ascii_uppercase


class QuestionRow(SeedRow):
    """Base class of the question sets, to which users may also add an id and the student's mistake."""

    id: OptionalTextOrNumber = None
    initial_error: OptionalText = None

    def problem(self, origin: Origin) -> Problem:
        """What a dialogue on it is about."""
        return Problem(self.id or origin.name, self.asked(), self.initial_error)

    def asked(self) -> str:
        """The question."""
        raise NotImplementedError


class Gsm8kRow(QuestionRow):
    """A row of GSM8K, plain or socratic: the answer is a worked solution."""

    title, preset = "GSM8K", "gsm8k"
    keys = (("question", "answer"),)

    question: Text
    worked: Text = Field(validation_alias="answer")

    def asked(self) -> str:
        """The question."""
        return self.question

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The answer of the solution; calculator marks such as `<<9*2=18>>` are not part of its text."""
        return worked_answer(_CALCULATOR_MARK.sub("", self.worked), stated)


class MathRow(QuestionRow):
    r"""A row of MATH: the answer is in the `\boxed{}` of the solution."""

    title, preset = "MATH", "math"
    keys = (("problem", "solution"),)

    question: Text = Field(validation_alias="problem")
    solution: Text

    def asked(self) -> str:
        """The question."""
        return self.question

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The boxed answer."""
        return boxed_answer(self.solution)


class Math500Row(QuestionRow):
    """A row of MATH-500, which has the answer in addition to the solution."""

    title, preset = "MATH-500", "math-500"
    keys = (("problem", "solution", "answer"),)

    question: Text = Field(validation_alias="problem")
    final: TextOrNumber = Field(validation_alias="answer")

    def asked(self) -> str:
        """The question."""
        return self.question

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The answer as it stands."""
        return latex_answer(self.final)


class SvampRow(QuestionRow):
    """A row of SVAMP: a story, a question about it, and a number."""

    title, preset = "SVAMP", "svamp"
    keys = (("Body", "Question", "Answer"),)

    body: Text = Field(validation_alias=AliasChoices("Body", "body"))
    question: Text = Field(validation_alias=AliasChoices("Question", "question"))
    final: TextOrNumber = Field(validation_alias=AliasChoices("Answer", "answer"))

    def asked(self) -> str:
        """The story and the question."""
        stop = "." if self.body[-1].isalnum() and self.question[0].isupper() else ""
        return f"{self.body}{stop} {self.question}"

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The number; tables write 51 as 51.0."""
        return Answer(_WHOLE.sub(r"\1", self.final))


class AsdivRow(SvampRow):
    """A row of ASDiv: as SVAMP, but the answer may have a unit in parentheses, or be no number, such as a ratio."""

    title, preset = "ASDiv", "asdiv"
    keys = (("body", "question", "answer"), ("Body", "Question", "Answer", "Solution-Type"))

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The number with its unit; other answers are texts."""
        text = _UNIT.sub(r" \1", self.final).strip()
        try:
            check_answer(text)
        except ValueError:
            return Answer(self.final, likely="text")
        return Answer(text, likely="number")


def _index(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():  # a cell of a table
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be a whole number, found {type(value).__name__}: {value!r}")
    return value


class MmluProRow(QuestionRow):
    """A row of MMLU-Pro: a question, up to ten options, and the index of the right one."""

    title, preset = "MMLU-Pro", "mmlu-pro"
    keys = (("question", "options", "answer_index"),)

    question: Text
    options: Texts
    answer_index: Annotated[int, PlainValidator(_index)]

    def asked(self) -> str:
        """The question, without its options."""
        return self.question

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The letter of the right option."""
        return _choice(tuple(self.options), self.answer_index, "answer_index", self.answer_index)


class ArcRow(QuestionRow):
    """A row of ARC: a question, options with labels A to E or 1 to 5, and the label of the right one."""

    title, preset = "ARC", "arc"
    keys = (("question", "answerKey"),)

    question: Text
    options: Texts
    labels: Texts
    key: TextOrNumber = Field(validation_alias="answerKey")

    @model_validator(mode="before")
    @classmethod
    def _flattened(cls, row: Any) -> Any:
        """Brings both published shapes into one: columns of texts and labels, or objects below the question."""
        question, choices = row.get("question"), row.get("choices")
        nested = from_json(question)
        if isinstance(nested, dict):
            question, choices = nested.get("stem"), nested.get("choices")
        choices = from_json(choices)
        if isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
            choices = {key: [choice.get(key) for choice in choices] for key in ("text", "label")}
        if not isinstance(choices, dict) or not {"text", "label"} <= choices.keys():
            raise ValueError(f'choices must be an object such as {{"text": […], "label": […]}}, found {choices!r:.60}')
        return row | {"question": question, "options": choices["text"], "labels": choices["label"]}

    def asked(self) -> str:
        """The question, without its options."""
        return self.question

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The letter of the right option."""
        labels = list(self.labels)
        if len(labels) != len(self.options):
            raise ValueError(f"choices has {len(self.options)} texts, but {len(labels)} labels; expected one a text")
        index = labels.index(self.key) if self.key in labels else -1
        return _choice(tuple(self.options), index, "answerKey", self.key)


def _choice(options: tuple[str, ...], index: int, field: str, given: object) -> Answer:
    if len(options) > len(LETTERS):
        raise ValueError(f"there are {len(options)} options; expected at most {len(LETTERS)}")
    if not 0 <= index < len(options):
        raise ValueError(f"{field} is {given!r}, which is none of the {len(options)} options")
    return Answer(LETTERS[index], likely="choice", choices=options)


# They are tried in this order: a format stands before those whose keys it has too.
SEED_FORMATS: Sequence[type[SeedRow]] = (
    OwnRow, *TUTORING, MmluProRow, ArcRow, AsdivRow, SvampRow, Math500Row, MathRow, Gsm8kRow,
)  # fmt: skip
