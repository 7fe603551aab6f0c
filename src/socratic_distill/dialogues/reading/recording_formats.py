"""The formats of recordings, but for a run's own rows (`run_rows`).

In every format a recording begins with the student, and then the sides alternate. MathDial's conversations begin with
the tutor's reply to a solution, so that solution becomes the student's first turn. In SocraTeach it is the problem.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator

from socratic_distill.dialogues.answers.detection import detect
from socratic_distill.dialogues.dialogue import Role
from socratic_distill.dialogues.reading.answers import Answer, with_answer, worked_answer
from socratic_distill.dialogues.reading.chat_messages import heard, heard_sharegpt, in_turn, short
from socratic_distill.dialogues.reading.formats import Format
from socratic_distill.dialogues.reading.seed_formats import Expected, Origin
from socratic_distill.dialogues.reading.values import (
    Facts,
    Kind,
    OptionalText,
    OptionalTextOrNumber,
    Sentence,
    Tags,
    Text,
    Texts,
    as_text,
    from_json,
)
from socratic_distill.dialogues.recording import Kind as RecordingKind, RecordedTurn, Recording
from socratic_distill.dialogues.seed import Seed

_END_OF_TURN = "|EOM|"
# MathDial calls a student "Student" or by a first name. Digits are excluded, so that "at 3:30" is not a speaker.
_SPEAKER = re.compile(r"\s*(?P<name>[^\W\d_](?:[^\W\d_]|[ .'’-]){0,39}):(?P<text>.*)", re.DOTALL)
# Only MathDial's four moves, since a reply may begin with "(x + 2)".
_MOVE = re.compile(r"\A\s*\((?:focus|probing|telling|generic)\)", re.IGNORECASE)
# Who speaks in a round of SocraTeach, in this order.
_SOCRATEACH: tuple[tuple[str, Role], ...] = (("system", "tutor"), ("user", "student"))
_NO_TUTOR = "there is no turn of the tutor (Teacher, assistant) to learn from; leave the row out"

Turns = tuple[RecordedTurn, ...]


class RecordingRow(Format):
    """Base class of the formats of recordings."""

    kind: ClassVar[RecordingKind]
    preset = ""

    fields: Facts = ()
    tags: Tags = ()

    @classmethod
    def leaves_out(cls, row: dict[str, Any]) -> bool:
        """Whether a row is no dialogue to learn from."""
        return False

    @property
    def has_id(self) -> bool:
        """Whether the row has an id of its own, which must be unique."""
        return False

    def to_recordings(self, origin: Origin) -> list[Recording]:
        """The row's dialogues, one or more.

        Raises:
            ValueError: it cannot be used.
        """
        raise NotImplementedError

    def recording(self, name: str, seed: Seed, turns: Turns, origin: Origin, step: int | None = None) -> Recording:
        """A recording of this row.

        Raises:
            ValueError: the tutor says nothing.
        """
        seed = replace(seed, fields=self.fields, tags=self.tags, source=origin.source)
        recording = Recording(name, self.kind, seed, turns, step)
        if not recording.tutor_turns:
            raise ValueError(_NO_TUTOR)
        return recording


def _conversation(value: Any) -> Turns:
    text = as_text(value)
    try:
        return parse_conversation(text)
    except ValueError as error:
        raise Sentence(str(error)) from None


def parse_conversation(conversation: str) -> tuple[RecordedTurn, ...]:
    """The turns of a MathDial conversation, `Teacher: (move)text|EOM|Student: text|EOM|…`, without the moves.

    Every speaker except `Teacher` is the student, who often has a first name. Texts are trimmed, empty turns are
    dropped, and consecutive turns of one speaker are joined with a newline. Either side may be first.

    Raises:
        ValueError: a turn does not begin with its speaker.
    """
    turns = []
    for number, part in enumerate(conversation.split(_END_OF_TURN), start=1):
        if not part.strip():
            continue
        match = _SPEAKER.fullmatch(part)
        if match is None:
            expected = f"'Teacher: (move)text' or 'Student: text', with {_END_OF_TURN} between turns"
            raise ValueError(f"turn {number} has no speaker: {part.strip()[:60]!r}; expected {expected}")
        if match["name"].strip().casefold() == "teacher":
            turns.append(RecordedTurn("tutor", _MOVE.sub("", match["text"])))
        else:
            turns.append(RecordedTurn("student", match["text"]))
    return in_turn(turns)


class MathDialDialogue(RecordingRow):
    """A conversation of MathDial."""

    title, kind = "MathDial", "mathdial"
    keys = (("question", "ground_truth", "student_incorrect_solution", "conversation"),)

    question: Text
    ground_truth: Text
    student_incorrect_solution: Text
    qid: OptionalTextOrNumber = None
    student_profile: OptionalText = None
    conversation: Annotated[Turns, PlainValidator(_conversation)]

    def to_recordings(self, origin: Origin) -> list[Recording]:
        """The conversation, after the student's wrong solution."""
        seed = with_answer(
            worked_answer(self.ground_truth),
            None,
            id=f"{self.qid or origin.stem}:{origin.number}",
            question=self.question,
            initial_error=self.student_incorrect_solution,
            student_profile=self.student_profile,
        )
        turns = in_turn([RecordedTurn("student", self.student_incorrect_solution), *self.conversation])
        return [self.recording(seed.id, seed, turns, origin)]


class Chat(RecordingRow):
    """Base class of formats of chats, which may say on what problem they are."""

    question: OptionalText = None
    expected_answer: Expected = ()
    answer_kind: Kind = None
    choices: Texts = ()
    accepted_answers: Texts = ()
    rubric: OptionalText = None
    initial_error: OptionalText = None
    student_profile: OptionalText = None
    id: OptionalTextOrNumber = None

    @property
    def has_id(self) -> bool:
        """Whether the row has an id of its own."""
        return self.id is not None

    def turns_heard(self) -> Turns:
        """What both sides say, without reasoning."""
        raise NotImplementedError

    def to_recordings(self, origin: Origin) -> list[Recording]:
        """The chat; if the tutor begins it, the student's mistake comes first."""
        turns = self.turns_heard()
        if turns and turns[0].role == "tutor":
            if self.initial_error is None or self.question is None:
                advice = (
                    "put a user's message before it, or give question and initial_error, which the student then says"
                )
                raise ValueError(f"the assistant speaks first, but the student must; {advice}")
            turns = (RecordedTurn("student", self.initial_error), *turns)
        first, *others = self.expected_answer or ("",)
        accepted = (*others, *self.accepted_answers)
        seed = with_answer(
            Answer(first, self.answer_kind, None, self.choices, accepted, self.rubric),
            None,
            id=self.id or origin.name,
            question=self.question or next((turn.text for turn in turns), ""),
            initial_error=self.initial_error,
            student_profile=self.student_profile,
        )
        return [self.recording(seed.id, seed, in_turn(turns), origin)]


class MessagesRow(Chat):
    """An OpenAI-style conversation."""

    title, kind = "messages", "messages"
    keys = (("messages",),)

    messages: Annotated[Turns, PlainValidator(heard)]

    def turns_heard(self) -> Turns:
        """What both sides say."""
        return self.messages


class ShareGptRow(Chat):
    """A conversation of ShareGPT, with `from` and `value`."""

    title, kind = "ShareGPT", "sharegpt"
    keys = (("conversations",),)

    conversations: Annotated[Turns, PlainValidator(heard_sharegpt)]

    def turns_heard(self) -> Turns:
        """What both sides say."""
        return self.conversations


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _as_messages(role: str) -> Any:
    """A validator of one part of prompt and completion: messages, or a text that one side says."""

    def part(value: Any) -> Turns:
        messages = from_json(value)
        if not isinstance(messages, list) or (isinstance(value, str) and not all(map(_is_object, messages))):
            messages = [{"role": role, "content": as_text(value)}]
        return heard(messages)

    return PlainValidator(part)


class PromptCompletionRow(Chat):
    """A prompt and its completion, as TRL has them: texts, or messages."""

    title, kind = "prompt and completion", "prompt_completion"
    keys = (("prompt", "completion"),)

    prompt: Annotated[Turns, _as_messages("user")]
    completion: Annotated[Turns, _as_messages("assistant")]

    def turns_heard(self) -> Turns:
        """What both sides say."""
        return (*self.prompt, *self.completion)


class ComtaDialogue(Chat):
    """A dialogue of CoMTA, whose messages are in `data`."""

    title, kind = "CoMTA", "comta"
    keys = (("data", "math_level"),)

    data: Annotated[Turns, PlainValidator(heard)]

    def turns_heard(self) -> Turns:
        """What both sides say."""
        return self.data


def _taught(value: Any) -> dict[str, Turns]:
    """The dialogues of a problem of SocraTeach, by name."""
    value = from_json(value)
    if not isinstance(value, dict):
        raise ValueError(f"must be an object of dialogues by name, found {short(value)}")
    return {str(name): _rounds(str(name), rounds) for name, rounds in value.items()}


def _rounds(name: str, rounds: Any) -> Turns:
    """The turns of a dialogue: in each round the teacher speaks ("system"), then the student ("user")."""
    if not isinstance(rounds, list) or not all(isinstance(entry, dict) for entry in rounds):
        raise Sentence(f"dialogue {name!r} must be a list of objects with system and user, found {short(rounds)}")
    turns = []
    for number, entry in enumerate(rounds, start=1):
        for key, role in _SOCRATEACH:
            said = entry.get(key)
            if said is not None and not isinstance(said, str):
                raise Sentence(f"dialogue {name!r}, round {number}: {key} must be text, found {short(said)}")
            turns.append(RecordedTurn(role, said or ""))
    return tuple(turns)


class SocraTeachRow(RecordingRow):
    """A problem of SocraTeach and the dialogues on it; the student's first turn is the problem."""

    title, kind = "SocraTeach", "socrateach"
    keys = (("question", "answer", "dialogues"),)

    question: Text
    answer: Expected = ()
    dialogues: Annotated[dict[str, Turns], PlainValidator(_taught)]
    id: OptionalTextOrNumber = None

    def to_recordings(self, origin: Origin) -> list[Recording]:
        """The dialogues, in their order."""
        if not self.dialogues:
            raise ValueError("it holds no dialogues; leave the row out")
        first, *others = self.answer or ("",)
        answer = Answer(first, likely=detect(first, (), others) or "text", accepted=tuple(others))
        seed = with_answer(answer, None, id=self.id or origin.name, question=self.question)
        opening = RecordedTurn("student", self.question)
        return [
            self.recording(f"{seed.id}:{name}", seed, in_turn([opening, *turns]), origin)
            for name, turns in self.dialogues.items()
        ]


CHATS: Sequence[type[RecordingRow]] = (
    MessagesRow, ShareGptRow, PromptCompletionRow, SocraTeachRow, ComtaDialogue,
)  # fmt: skip
