"""Reads recorded dialogues from files.

Recordings files are JSONL. The keys of a file's first line show which of three formats it has, and every other line
must have the same format. Keys that are not listed here are ignored:

| kind | keys |
|---|---|
| `mathdial` | as a seed of MathDial's, and `conversation` |
| `run` | a row of a run's `dialogues.jsonl` or `dialogues.superseded.jsonl` |
| `messages` | `messages`, optional `question`, `expected_answer`, `initial_error`, `student_profile`, `id` |
| all | optional `fields`, `tags`, as in seeds files |

In every format, a recording begins with the student, and then the sides alternate. MathDial's conversations begin with
the tutor's reply to a solution, so that solution becomes the student's first turn.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from socratic_distill.config.paths import resolved
from socratic_distill.dialogues.answers.numbers import check_answer
from socratic_distill.dialogues.dialogue import Role, StopReason
from socratic_distill.dialogues.jsonl import lines, load_object, optional, text
from socratic_distill.dialogues.reasoning import spoken
from socratic_distill.dialogues.seeds import PathLike, Seed, parse_seed, private_fields, tags_of
from socratic_distill.errors import RecordingError
from socratic_distill.text import get_logger

_log = get_logger(__name__)


Kind = Literal["mathdial", "run", "messages"]

_FORMATS: dict[Kind, tuple[str, ...]] = {
    "mathdial": ("question", "ground_truth", "student_incorrect_solution", "conversation"),
    "run": ("step", "seed", "number", "ending", "turns"),
    "messages": ("messages",),
}
_END_OF_TURN = "|EOM|"
# MathDial calls a student "Student" or by a first name. Digits are excluded, so that "at 3:30" is not a speaker.
_SPEAKER = re.compile(r"\s*(?P<name>[^\W\d_](?:[^\W\d_]|[ .'’-]){0,39}):(?P<text>.*)", re.DOTALL)
# Only MathDial's four moves, since a reply may begin with "(x + 2)".
_MOVE = re.compile(r"\A\s*\((?:focus|probing|telling|generic)\)", re.IGNORECASE)
_SPEAKERS: dict[str, Role] = {"user": "student", "assistant": "tutor"}
_UNHEARD = ("system", "developer")
_UNSAID_CHANNELS = ("analysis", "commentary")
_TEXT_PARTS = ("text", "input_text", "output_text")
_REASONING_PARTS = ("reasoning", "reasoning_text", "summary_text", "thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """One turn of a recording. Only tutor turns of a run have more than role and text.

    Attributes:
        role: who speaks.
        text: the text that the other side hears.
        tokens: sampled tokens, `[T]`; else empty.
        logprobs: the tutor's log-probability of each of `tokens`, nats, `[T]`; else empty.
        version: optimizer steps in that run that led to the weights that sampled it; else None.
        stop_reason: "stop" at the end-of-turn token, "length" if it was cut at the token limit; else None.
    """

    role: Role
    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    version: int | None = None
    stop_reason: StopReason | None = None


@dataclass(frozen=True)
class Recording:
    """A recorded dialogue.

    Attributes:
        id: unique among all recordings that were loaded together.
        kind: format of its file.
        seed: problem, answer and mistake. An unknown answer is "": then no turn tells it or solves it.
        turns: turns of student and tutor, alternating, the student's first; at least one is the tutor's.
        step: batch of its run in which it was played; None for other kinds.
    """

    id: str
    kind: Kind
    seed: Seed
    turns: tuple[RecordedTurn, ...]
    step: int | None = None

    @property
    def tutor_turns(self) -> tuple[RecordedTurn, ...]:
        """The tutor's turns, in order."""
        return self.turns[1::2]


def load_recordings(files: Sequence[PathLike]) -> tuple[Recording, ...]:
    """Reads recordings, in the order of files and lines.

    A row of `messages` keeps its own id. Other rows are named `<file stem>:<line>`, those of MathDial `<qid>:<line>`
    and those of a run `<seed>:<step>:<number>`. Two runs may have played the same dialogue, so a name that is taken
    gets `#2`, `#3` and so on at its end. Rows of a run are left out if they failed, hold no tutor turn or were
    recordings themselves; a log line for each file says how many.

    Raises:
        RecordingError: a file is given twice or cannot be read, or a line cannot be used; the message names file, line
            and reason.
    """
    if isinstance(files, str | bytes) or not files:
        raise RecordingError(f"the recordings files are {files!r}; expected a list of one or more JSONL files")
    if len({Path(resolved(file)).resolve() for file in files}) < len(files):
        raise RecordingError(
            f"a file is given twice in {[str(file) for file in files]}; give it once, batches repeat it"
        )
    sources: dict[str, str] = {}  # file and line of each recording, by its id
    recordings = []
    for file in files:
        for source, has_id, recording in _read(file):
            if has_id and recording.id in sources:
                taken = f"{source}: id {recording.id!r} is taken by {sources[recording.id]}"
                raise RecordingError(f"{taken}; make the ids unique, or leave them out")
            recording = _renamed(recording, sources)
            sources[recording.id] = source
            recordings.append(recording)
    return tuple(recordings)


def _renamed(recording: Recording, taken: dict[str, str]) -> Recording:
    """The recording with an id that is not taken; its seed is renamed with it unless the seed is a run's."""
    name, count = recording.id, 1
    while name in taken:
        count += 1
        name = f"{recording.id}#{count}"
    seed = recording.seed if recording.kind == "run" else replace(recording.seed, id=name)
    return replace(recording, id=name, seed=seed)


def _read(file: PathLike) -> Iterator[tuple[str, bool, Recording]]:
    """The recordings of one file, each with its file and line for messages, and whether its row has an id."""
    path, kind, count, skipped = Path(file), None, 0, 0
    for number, line in enumerate(lines(Path(resolved(file)), "recording", RecordingError), start=1):
        if not line.strip():
            continue
        source = f"{path}, line {number}"
        try:
            row = load_object(line, "recording")
            kind = _check_kind(row, kind)
            recording = _PARSERS[kind](row, path.stem, number)
            fields, tags = private_fields(row), tags_of(row)
            if recording and not recording.tutor_turns:
                raise ValueError("there is no turn of the tutor (Teacher, assistant) to learn from; leave the row out")
        except (ValueError, OverflowError) as error:
            raise RecordingError(f"{source}: {error}") from None
        if recording is None:
            skipped += 1
        else:
            count += 1
            seed = replace(recording.seed, fields=fields, tags=tags, source=os.fspath(file))
            yield source, kind == "messages" and row.get("id") is not None, replace(recording, seed=seed)
    if skipped:
        _log.info(
            "%s: %d dialogues left out (failed, recorded, or without a tutor turn), %d kept", path, skipped, count
        )
    if not count:
        expected = "a dialogue that the tutor played and that did not fail" if skipped else "one JSON object a line"
        raise RecordingError(f"{path}: the file holds no recordings; expected {expected}")


def _check_kind(row: dict[str, Any], kind: Kind | None) -> Kind:
    """The kind of a line, which must be the file's kind; `kind` is None for the first line."""
    row_kind: Kind | None = next((name for name, keys in _FORMATS.items() if row.keys() >= set(keys)), None)
    if row_kind is None:
        known = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in _FORMATS.items())
        raise ValueError(f"keys {sorted(row)} are of no known format; expected the keys of one ({known})")
    if kind is not None and row_kind != kind:
        raise ValueError(
            f"keys {sorted(row)} are of {row_kind}, those of the file's first line of {kind}; split the file"
        )
    return row_kind


def _mathdial(row: dict[str, Any], stem: str, line: int) -> Recording:
    seed = parse_seed(row, "MathDial", stem, line)
    opening = RecordedTurn("student", seed.initial_error or "")
    return Recording(seed.id, "mathdial", seed, _in_turn([opening, *parse_conversation(text(row, "conversation"))]))


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
    return _in_turn(turns)


def _in_turn(turns: Iterable[RecordedTurn]) -> tuple[RecordedTurn, ...]:
    """Trims texts, drops empty turns, and joins consecutive turns of one speaker."""
    result: list[RecordedTurn] = []
    for turn in turns:
        text = turn.text.strip()
        if text and result and result[-1].role == turn.role:
            text = f"{result.pop().text}\n{text}"
        if text:
            result.append(RecordedTurn(turn.role, text))
    return tuple(result)


def _run(row: dict[str, Any], stem: str, line: int) -> Recording | None:
    """A dialogue of a run; None if it failed, ended before the tutor spoke, or was a recording itself."""
    if not isinstance(row["turns"], list):
        raise ValueError(f"turns must be a list, found {_short(row['turns'])}")
    if row["ending"] == "failed" or len(row["turns"]) < 2 or row.get("recording") is not None:
        return None
    for key in ("question", "expected_answer"):
        if not isinstance(row.get(key), str):
            raise ValueError(f"{key} is missing or not a text; early versions did not write it, add it from the seeds")
    seed = Seed(
        id=text(row, "seed"),
        question=text(row, "question"),
        expected_answer=row["expected_answer"],
        answer_kind="number" if row["expected_answer"] else "none",
        initial_error=optional(row, "initial_error"),
        student_profile=optional(row, "student_profile"),
    )
    step, number = _count(row, "step"), _count(row, "number")
    turns = tuple(_run_turn(turn, index) for index, turn in enumerate(row["turns"]))
    return Recording(f"{seed.id}:{step}:{number}", "run", seed, turns, step)


def _run_turn(turn: Any, index: int) -> RecordedTurn:
    """A turn as the run wrote it. Its text is not trimmed, since it must match its tokens."""
    role: Role = "tutor" if index % 2 else "student"
    try:
        if not isinstance(turn, dict) or turn.get("role") != role:
            raise ValueError(f"expected the {role}'s, found {_short(turn)}; the student begins, then both alternate")
        if not isinstance(turn.get("text"), str):
            raise ValueError(f"text must be text, found {_short(turn.get('text'))}")
        return RecordedTurn(role, turn["text"]) if role == "student" else _tutor_turn(turn)
    except ValueError as error:
        raise ValueError(f"turn {index + 1}: {error}; keep rows as the run wrote them") from None


def _tutor_turn(turn: dict[str, Any]) -> RecordedTurn:
    tokens, logprobs, reason = turn.get("tokens"), turn.get("tutor_logprobs"), turn.get("stop_reason")
    if not isinstance(tokens, list) or not all(_is_number(token, int) and token >= 0 for token in tokens):
        raise ValueError(f"tokens must be a list of token ids, found {_short(tokens)}")
    if not isinstance(logprobs, list) or not all(_is_number(value, int | float) for value in logprobs):
        raise ValueError(f"tutor_logprobs must be a list of numbers, found {_short(logprobs)}")
    if len(logprobs) != len(tokens):
        raise ValueError(f"there are {len(tokens)} tokens, but {len(logprobs)} tutor_logprobs; expected one a token")
    if reason not in ("stop", "length"):
        raise ValueError(f"stop_reason must be 'stop' or 'length', found {_short(reason)}")
    return RecordedTurn(
        "tutor", turn["text"], tuple(tokens), tuple(map(float, logprobs)), _count(turn, "version"), reason
    )


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _count(row: dict[str, Any], key: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} must be a whole number from 0 on, found {_short(value)}")
    return value


def _short(value: Any) -> str:
    return json.dumps(value)[:60]


def _messages(row: dict[str, Any], stem: str, line: int) -> Recording:
    """An OpenAI-style conversation: the user is the student, the assistant the tutor.

    System messages are left out, since the tutor gets the run's own prompt instead. So is reasoning, which the student
    does not hear: `<think>` parts, fields such as `reasoning_content`, parts of type `reasoning`, the analysis channel.
    """
    if not isinstance(row["messages"], list):
        raise ValueError(f"messages must be a list, found {_short(row['messages'])}")
    parsed = (_message(message, number) for number, message in enumerate(row["messages"], start=1))
    heard = [turn for turn in parsed if turn and turn.text]
    error = optional(row, "initial_error")
    if heard and heard[0].role == "tutor":
        if error is None or row.get("question") is None:
            advice = "put a user's message before it, or give question and initial_error, which the student then says"
            raise ValueError(f"the assistant speaks first, but the student must; {advice}")
        heard.insert(0, RecordedTurn("student", error))
    name = optional(row, "id", numbers=True) or f"{stem}:{line}"
    answer = _answer(row)
    seed = Seed(
        id=name,
        question=optional(row, "question") or next((turn.text for turn in heard), ""),
        expected_answer=answer,
        answer_kind="number" if answer else "none",
        initial_error=error,
        student_profile=optional(row, "student_profile"),
    )
    return Recording(name, "messages", seed, _in_turn(heard))


def _answer(row: dict[str, Any]) -> str:
    if row.get("expected_answer") in (None, ""):
        return ""
    answer = text(row, "expected_answer", numbers=True)
    check_answer(answer)
    return answer


def _message(message: Any, number: int) -> RecordedTurn | None:
    """A message as a turn; None for a message that neither side says."""
    try:
        if not isinstance(message, dict):
            raise ValueError(f"expected an object with role and content, found {_short(message)}")
        role = str(message.get("role"))
        if role in _UNHEARD:
            return None
        if role not in _SPEAKERS:
            raise ValueError(
                f"role is {_short(message.get('role'))}; expected one of {', '.join((*_UNHEARD, *_SPEAKERS))}"
            )
        if message.get("tool_calls") or message.get("function_call"):
            raise ValueError("it calls a tool, but a tutor here has no tools; leave the row out")
        if message.get("weight") not in (None, 1):
            raise ValueError("its weight is not 1, but the tutor learns from every reply; leave the row out")
        if (channel := message.get("channel")) not in (None, "final"):
            if channel in _UNSAID_CHANNELS:
                return None
            known = ", ".join(("final", *_UNSAID_CHANNELS))
            raise ValueError(f"channel is {_short(channel)}; expected one of {known}, or none")
        return RecordedTurn(_SPEAKERS[role], _said(message))
    except ValueError as error:
        raise ValueError(f"message {number}: {error}") from None


def _said(message: dict[str, Any]) -> str:
    """The text of a message without reasoning."""
    content = _content(message)
    if "<|channel|>" in content:
        raise ValueError("its content holds '<|channel|>', so reasoning and reply cannot be separated; keep the reply")
    return spoken(content).strip()


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if not isinstance(content, list):
        return _trimmed(message, "content")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXT_PARTS:
            texts.append(_trimmed(part, "text"))
        elif kind not in _REASONING_PARTS:
            raise ValueError(f'content holds {_short(part)}; expected only parts {{"type": "text", "text": "…"}}')
    return "\n".join(text for text in texts if text)


def _trimmed(row: dict[str, Any], key: str) -> str:
    """A row's trimmed text at a key; unlike in `text`, it may be missing or empty."""
    value = row.get(key)
    return "" if isinstance(value, str) and not value.strip() else text({key: value}, key)


_PARSERS = {"mathdial": _mathdial, "run": _run, "messages": _messages}
