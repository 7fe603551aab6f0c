"""The rows of a run's `dialogues.jsonl` as recordings, with the tokens that were sampled."""

import math
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from socratic_distill.dialogues.dialogue import Role, StoredScores
from socratic_distill.dialogues.reading.chat_messages import short
from socratic_distill.dialogues.reading.recording_formats import RecordingRow
from socratic_distill.dialogues.reading.seed_formats import Origin
from socratic_distill.dialogues.reading.values import Kind, OptionalText, Sentence, Text, Texts, as_text
from socratic_distill.dialogues.recording import RecordedTurn, Recording
from socratic_distill.dialogues.seed import Seed
from socratic_distill.service.numbers import HIGHEST, LOWEST


def _question(value: Any) -> str:
    return as_text(_as_written(value))


def _as_written(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is missing or not a text; early versions did not write it, add it from the seeds")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"must be a whole number from 0 on, found {short(value)}")
    return value


def _turns(value: Any) -> tuple[RecordedTurn, ...]:
    if not isinstance(value, list):
        raise ValueError(f"must be a list, found {short(value)}")
    # In a run with opening="tutor" the tutor begins.
    tutor_begins = bool(value) and isinstance(value[0], dict) and value[0].get("role") == "tutor"
    roles: tuple[Role, Role] = ("tutor", "student") if tutor_begins else ("student", "tutor")
    return tuple(_turn(turn, index, roles[index % 2]) for index, turn in enumerate(value))


def _turn(turn: Any, index: int, role: Role) -> RecordedTurn:
    """A turn as the run wrote it. Its text is not trimmed, since it must match its tokens."""
    try:
        if not isinstance(turn, dict) or turn.get("role") != role:
            raise ValueError(f"expected the {role}'s, found {short(turn)}; both sides alternate")
        if not isinstance(turn.get("text"), str):
            raise ValueError(f"text must be text, found {short(turn.get('text'))}")
        return RecordedTurn(role, turn["text"]) if role == "student" else _tutor_turn(turn)
    except ValueError as error:
        raise Sentence(f"turn {index + 1}: {error}; keep rows as the run wrote them") from None


def _tutor_turn(turn: dict[str, Any]) -> RecordedTurn:
    tokens, logprobs, reason = turn.get("tokens"), turn.get("tutor_logprobs"), turn.get("stop_reason")
    if not isinstance(tokens, list) or not all(_is_number(token, int) and token >= 0 for token in tokens):
        raise ValueError(f"tokens must be a list of token ids, found {short(tokens)}")
    if not isinstance(logprobs, list) or not all(_is_number(value, int | float) for value in logprobs):
        raise ValueError(f"tutor_logprobs must be a list of numbers, found {short(logprobs)}")
    if len(logprobs) != len(tokens):
        raise ValueError(f"there are {len(tokens)} tokens, but {len(logprobs)} tutor_logprobs; expected one a token")
    if reason not in ("stop", "length"):
        raise ValueError(f"stop_reason must be 'stop' or 'length', found {short(reason)}")
    try:
        version = _count(turn.get("version"))
    except ValueError as error:
        raise ValueError(f"version {error}") from None
    scores = _scores(turn, len(tokens))
    return RecordedTurn(
        "tutor",
        turn["text"],
        tuple(tokens),
        tuple(map(float, logprobs)),
        version,
        reason,
        scores,
        _name(turn.get("by")),
    )


def _name(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _scores(turn: dict[str, Any], count: int) -> StoredScores | None:
    """The scores of a tutor turn; None if it has none for each token. The teacher is then asked."""
    digest, logprobs, top = turn.get("scored_as"), turn.get("teacher_logprobs"), turn.get("teacher_top")
    if not isinstance(digest, str) or not isinstance(logprobs, list) or not _are_numbers(logprobs, count):
        return None
    own = tuple(map(float, logprobs))  # of averaged teachers they may be above 0
    if not isinstance(top, list) or len(top) != count or not all(map(_is_pairs, top)):
        return StoredScores(digest, own)
    ids = tuple(tuple(int(token) for token, _ in row) for row in top)
    return StoredScores(digest, own, ids, tuple(tuple(float(value) for _, value in row) for row in top))


def _are_numbers(values: list[Any], count: int) -> bool:
    """Whether these are `count` numbers of the size of log-probabilities."""
    return len(values) == count and all(_is_number(value, int | float) and abs(value) <= -LOWEST for value in values)


def _is_pairs(row: Any) -> bool:
    """Whether these are pairs of a token and its log-probability."""
    if not isinstance(row, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in row):
        return False
    return all(_is_number(token, int) and 0 <= token < 2**31 and _is_logprob(value) for token, value in row)


def _is_logprob(value: Any) -> bool:
    return _is_number(value, int | float) and LOWEST <= value <= HIGHEST


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


Count = Annotated[int, PlainValidator(_count)]


class RunRow(RecordingRow):
    """A dialogue of a run."""

    title, kind = "run", "run"
    keys = (("step", "seed", "number", "ending", "turns"),)

    seed: Text
    question: Annotated[str, PlainValidator(_question)] = Field(None, validate_default=True)  # pyright: ignore
    expected_answer: Annotated[str, PlainValidator(_as_written)] = Field(None, validate_default=True)  # pyright: ignore
    step: Count
    number: Count
    turns: Annotated[tuple[RecordedTurn, ...], PlainValidator(_turns)]
    initial_error: OptionalText = None
    student_profile: OptionalText = None
    answer_kind: Kind = None
    choices: Texts = ()
    accepted_answers: Texts = ()

    @classmethod
    def leaves_out(cls, row: dict[str, Any]) -> bool:
        """Whether it failed, ended before the tutor spoke, or was a recording itself."""
        turns = row["turns"]
        is_short = isinstance(turns, list) and not any(
            isinstance(turn, dict) and turn.get("role") == "tutor" for turn in turns[:2]
        )
        return isinstance(turns, list) and (row["ending"] == "failed" or is_short or row.get("recording") is not None)

    def to_recordings(self, origin: Origin) -> list[Recording]:
        """The dialogue, with its answer as it is."""
        seed = Seed(
            id=self.seed,
            question=self.question,
            expected_answer=self.expected_answer,
            answer_kind=self.answer_kind or ("number" if self.expected_answer else "none"),
            initial_error=self.initial_error,
            student_profile=self.student_profile,
            choices=self.choices,
            accepted_answers=self.accepted_answers,
        )
        return [self.recording(f"{seed.id}:{self.step}:{self.number}", seed, self.turns, origin, step=self.step)]
