"""The formats of seeds: our own, and those of tutoring data. `benchmark_formats` has those of question sets."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from socratic_distill.config.parts import SeedColumn
from socratic_distill.config.values import AnswerKind
from socratic_distill.dialogues.reading.answers import Answer, plain_or_worked, with_answer, worked_answer
from socratic_distill.dialogues.reading.formats import Format
from socratic_distill.dialogues.reading.values import (
    Facts,
    Kind,
    OptionalText,
    OptionalTextOrNumber,
    Switch,
    Tags,
    Text,
    Texts,
    as_text_or_number,
    from_json,
)
from socratic_distill.dialogues.seed import Seed

OWN_KEYS: tuple[str, ...] = get_args(SeedColumn)
_UNKNOWN = ("", "not available", "n/a", "none")


class Origin(NamedTuple):
    """Where a row is from.

    Attributes:
        stem: name of its file, without directory and suffixes.
        number: its number in the file.
        source: the file, as it was given.
    """

    stem: str
    number: int
    source: str

    @property
    def name(self) -> str:
        """The id of a row that has none."""
        return f"{self.stem}:{self.number}"


class Problem(NamedTuple):
    """What a dialogue is about.

    Attributes:
        name: the seed's id.
        question: the problem.
        initial_error: the student's wrong solution, if there is one.
    """

    name: str
    question: str
    initial_error: str | None = None


class SeedRow(Format):
    """Base class of the formats of seeds. The published ones ignore other keys."""

    student_profile: OptionalText = None
    fields: Facts = ()
    tags: Tags = ()

    def to_seed(self, origin: Origin, stated: AnswerKind | None) -> Seed:
        """The row as a seed.

        Args:
            origin: where it is from.
            stated: kind of answer that the file or the config states.

        Raises:
            ValueError: its answer cannot be used.
        """
        problem = self.problem(origin)
        return with_answer(
            self.answer(stated),
            stated,
            id=problem.name,
            question=problem.question,
            initial_error=problem.initial_error,
            student_profile=self.student_profile,
            fields=self.fields,
            tags=self.tags,
            source=origin.source,
        )

    def problem(self, origin: Origin) -> Problem:
        """What a dialogue on it is about."""
        raise NotImplementedError

    def answer(self, stated: AnswerKind | None) -> Answer:
        """What the row says of its answer."""
        raise NotImplementedError


def _expected(value: Any) -> tuple[str, ...]:
    """The answers of a row: the first, and other wordings that count as well; empty if it has none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if isinstance(value, list | tuple):
        return tuple(as_text_or_number(answer) for answer in value)
    return (as_text_or_number(value),)


Expected = Annotated[tuple[str, ...], PlainValidator(_expected)]


class OwnRow(SeedRow):
    """A row of our own format."""

    model_config = ConfigDict(extra="forbid")
    title, preset = "our own", "own"
    keys = (("question", "expected_answer"),)

    question: Text
    expected_answer: Expected = ()
    initial_error: OptionalText = None
    id: OptionalTextOrNumber = None
    answer_kind: Kind = None
    choices: Texts = ()
    accepted_answers: Texts = ()
    rubric: OptionalText = None
    compares_units: Switch = False

    @classmethod
    def fits(cls, row: dict[str, Any]) -> bool:
        """Whether a row has a question and an answer, or a question and only keys of ours."""
        return super().fits(row) or ("question" in row and all(key in OWN_KEYS for key in row))

    def problem(self, origin: Origin) -> Problem:
        """What a dialogue on it is about."""
        return Problem(self.id or origin.name, self.question, self.initial_error)

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The answer as it stands, or as a worked solution marks it."""
        first, *others = self.expected_answer or ("",)
        text, likely = plain_or_worked(first)
        accepted = (*others, *self.accepted_answers)
        return Answer(text, self.answer_kind, likely, self.choices, accepted, self.rubric, self.compares_units)


class MathDialRow(SeedRow):
    """A row of MathDial. Its `qid` names a problem, on which there are several dialogues."""

    title, preset = "MathDial", "mathdial"
    keys = (("question", "ground_truth", "student_incorrect_solution"),)

    question: Text
    ground_truth: Text
    student_incorrect_solution: Text
    qid: OptionalTextOrNumber = None

    def problem(self, origin: Origin) -> Problem:
        """What a dialogue on it is about."""
        return Problem(f"{self.qid or origin.stem}:{origin.number}", self.question, self.student_incorrect_solution)

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The answer of the worked solution."""
        return worked_answer(self.ground_truth, stated)


class Spoken(BaseModel):
    """A turn of MathTutorBench and of Bridge."""

    text: str
    user: str

    @property
    def is_student(self) -> bool:
        """Whether the student says it."""
        return self.user.strip().casefold() == "student"


def _joined_steps(value: Any) -> Any:
    """A solution as one text, which a file may give as a list of steps."""
    value = from_json(value)
    return "\n".join(map(str, value)) if isinstance(value, list) else value


Turns = Annotated[list[Spoken], BeforeValidator(from_json)]


def _texts_of(turns: Sequence[Spoken], by_student: bool) -> list[str]:
    """What one side says, without empty turns."""
    return [turn.text.strip() for turn in turns if turn.is_student == by_student and turn.text.strip()]


class MathTutorBenchRow(SeedRow):
    """A row of MathTutorBench: a problem, its solution and the beginning of a dialogue, with the tutor's reply last.

    Rows from Bridge state neither problem nor answer; they are read as Bridge's.
    """

    title, preset = "MathTutorBench", "mathtutorbench"
    keys = (("problem", "reference_solution", "dialog_history"),)

    stated_problem: str | None = Field(validation_alias="problem")
    reference_solution: str | None = None
    dialog_history: Turns
    topic: str | None = None
    student_incorrect_solution: Annotated[OptionalText, BeforeValidator(_joined_steps)] = None

    def problem(self, origin: Origin) -> Problem:
        """What a dialogue on it is about; the student's mistake is its first turn, in a row of Bridge its last."""
        said = _texts_of(self.dialog_history, by_student=True)
        if self.stated_problem and self.stated_problem.strip():
            return Problem(
                origin.name, self.stated_problem.strip(), said[0] if said else self.student_incorrect_solution
            )
        if not self.topic or not self.topic.strip():
            raise ValueError("problem and topic are empty; give one of them")
        return _from_lesson(origin, self.topic.strip(), self.dialog_history[:-1])

    def answer(self, stated: AnswerKind | None) -> Answer:
        """The answer of the worked solution, if there is one."""
        solution = (self.reference_solution or "").strip()
        return Answer() if solution.casefold() in _UNKNOWN else worked_answer(solution, stated)


class BridgeRow(SeedRow):
    """A row of Bridge: the topic of a lesson, and the turns before a tutor's remark.

    It states neither problem nor answer: the question is the topic and what the tutor said, and the student's last turn
    is the mistake.
    """

    title, preset = "Bridge", "bridge"
    keys = (("lesson_topic", "c_h"),)

    lesson_topic: Text
    c_h: Turns

    def problem(self, origin: Origin) -> Problem:
        """What a dialogue on it is about."""
        return _from_lesson(origin, self.lesson_topic, self.c_h)

    def answer(self, stated: AnswerKind | None) -> Answer:
        """No answer."""
        return Answer()


def _from_lesson(origin: Origin, topic: str, turns: Sequence[Spoken]) -> Problem:
    mistakes = _texts_of(turns, by_student=True)
    question = "\n".join([topic, *_texts_of(turns, by_student=False)])
    return Problem(origin.name, question, mistakes[-1] if mistakes else None)


class Message(BaseModel):
    """A message of CoMTA."""

    role: str
    content: str


class ComtaRow(SeedRow):
    """A row of CoMTA: a dialogue that a student begins with a question, which has no stated answer."""

    title, preset = "CoMTA", "comta"
    keys = (("data", "math_level"),)

    data: Annotated[list[Message], BeforeValidator(from_json)]

    def problem(self, origin: Origin) -> Problem:
        """What a dialogue on it is about: the student's first message."""
        said = (turn.content.strip() for turn in self.data if turn.role == "user" and turn.content.strip())
        question = next(said, None)
        if question is None:
            raise ValueError("data holds no message of the user; leave the row out")
        return Problem(origin.name, question)

    def answer(self, stated: AnswerKind | None) -> Answer:
        """No answer."""
        return Answer()


TUTORING: Sequence[type[SeedRow]] = (MathDialRow, MathTutorBenchRow, BridgeRow, ComtaRow)
