"""One line of `checkpoints.jsonl`.

The format is tinker-cookbook's: `name`, `batch`, `state_path`, `sampler_path`, optionally `epoch` and `final`.
The other keys are ours; a reader that knows only the cookbook's passes over them, and keys that we do not know
are kept.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

_DECODER = json.JSONDecoder()
_BEFORE_A_VALUE, _AFTER_A_VALUE = re.compile(r'["[{:]'), re.compile(r"\s*[,\]}]")
_BEGINNING = re.compile(r'\{(?=\s*"[^"\\]{0,100}(?:\\|"\s*:))')
# Nothing begins so that a record is: objects of objects of objects.
_NESTED = re.compile(r'(?:\{\s*"[^"\\]{0,100}"\s*:\s*(?:\[\s*)?){8}')
# How often a line may be read in search of its records, and how much of a short one.
_MOST_READINGS, _LEAST_READ = 8, 1 << 16
_WINDOW, _LONGEST_WORD, _LEAST_COST = 1 << 10, 16, 32
Kind = Literal["sampler", "periodic", "rolling", "interrupted", "final"]


class _Ours:
    """Marks a key of ours: another tool may use it for something else, and its record is still a record."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_default_schema(handler(source), default=None, on_error="default")


class CheckpointRecord(BaseModel):
    """One line of the journal.

    Attributes:
        name: name of the save on the service.
        batch: next batch to run from here; None where another tool left it out.
        state_path: training state, weights and optimizer; None for a save of sampler weights alone.
        sampler_path: weights to sample from; None for a save of a state alone.
        epoch: as tinker-cookbook writes it; None elsewhere.
        final: whether the run ended here.
        version: optimizer steps that led to the weights; None if another tool wrote the record.
        kind: what the save is for: "sampler" (weights to sample the next batch with), "periodic", "rolling"
            (replaced by the next), "interrupted" (a signal, or an error of the dialogues) or "final".
        created_at: when it was asked for.
        expires_at: when the service may delete it; None is never.
        config_digest: digest of what the config means, at the time of the save.
        adopted: true where the save was found on the service, without a record of its own.
        resumed_at: set on a line that a run appends when it goes on from here: it supersedes the lines above
            it that are of later batches.
        deleted_path: set on a line that says that this path was deleted on the service.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    batch: int | None = None
    state_path: str | None = None
    sampler_path: str | None = None
    epoch: int | None = None
    final: bool | None = None
    version: Annotated[int | None, _Ours()] = None
    kind: Annotated[Kind | None, _Ours()] = None
    created_at: Annotated[AwareDatetime | None, _Ours()] = None
    expires_at: Annotated[AwareDatetime | None, _Ours()] = None
    config_digest: Annotated[str | None, _Ours()] = None
    adopted: Annotated[bool | None, _Ours()] = None
    resumed_at: Annotated[AwareDatetime | None, _Ours()] = None
    deleted_path: Annotated[str | None, _Ours()] = None

    @property
    def resumable(self) -> bool:
        """Whether a run can continue from here: a state, and the batch to go on with."""
        return self.state_path is not None and self.batch is not None and self.batch >= 0

    @property
    def paths(self) -> tuple[str, ...]:
        """What the record names on the service."""
        return tuple(path for path in (self.state_path, self.sampler_path) if path is not None)

    def to_line(self) -> str:
        """The record as one line of JSON, unset keys left out."""
        return json.dumps(self.model_dump(exclude_none=True), default=datetime.isoformat) + "\n"


_VALIDATOR = TypeAdapter(CheckpointRecord).validator


def parse_line(line: bytes) -> CheckpointRecord:
    """One record.

    Raises:
        ValueError: the line is no JSON object with a `name`, or a key of tinker-cookbook's has a value of
            another type.
    """
    try:
        return _VALIDATOR.validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"key {key!r}: {first['msg'].lower()}" if key else first["msg"].lower()) from None


def salvage(line: bytes) -> tuple[bytes, list[tuple[bytes, CheckpointRecord]]]:
    """What a line that is no record still holds: its bad bytes, and its whole records with their bytes.

    After a crash cut a line off, a writer may have put its next record right after it. So a record is looked for at
    every brace outside of the records before. A whole JSON value that is no record holds none. The time is linear in
    the line's length: a line of nested objects is given up once it has been read several times.
    """
    text, bad, good = line.decode("utf-8", "surrogateescape"), [], []
    end = position = 0  # the end of the last record, and of what was read
    try:
        json.loads(text)
        position = len(text)
    except (ValueError, RecursionError):
        pass
    budget = _Budget(_MOST_READINGS * len(text) + _LEAST_READ)
    while budget.left > 0 and (brace := _BEGINNING.search(text, position)) is not None:
        start = brace.start()
        position, record = _record_at(text, start, budget)
        if record is not None and not _may_be_nested(text, end, start, position):
            bad.append(text[end:start])
            good.append((_bytes(text[start:position]), record))
            end = position
    rest = _bytes("".join([*bad, text[end:]]))
    return rest if rest.strip() else b"", good


@dataclass
class _Budget:
    """How many characters may still be read."""

    left: int


def _record_at(text: str, start: int, budget: _Budget) -> tuple[int, CheckpointRecord | None]:
    """The record that begins at a brace, if one does, and where to go on: after the JSON object, or after the brace."""
    budget.left -= _LEAST_COST
    if _NESTED.match(text, start):
        return start + 1, None
    size = _WINDOW
    while budget.left > 0:
        # A part of its own: an error counts the newlines before it, from the text's beginning.
        part = text[start : start + size]
        try:
            _, stop = _DECODER.raw_decode(part)
        except json.JSONDecodeError as error:
            budget.left -= error.pos + 1
            if start + size >= len(text) or not _may_go_on(error, part):
                return start + 1, None
        except (ValueError, RecursionError):
            budget.left -= len(part)
            return start + 1, None
        else:
            try:
                return start + stop, parse_line(_bytes(part[:stop]))
            except ValueError:
                return start + stop, None
        size *= 8
    return start + 1, None


def _may_go_on(error: json.JSONDecodeError, part: str) -> bool:
    """Whether a JSON value may only have been cut off by the end of a part."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(part) - _LONGEST_WORD


def _may_be_nested(text: str, end: int, start: int, stop: int) -> bool:
    """Whether an object may be a value within a larger one that a crash tore.

    Args:
        text: the line.
        end: end of the record before it.
        start: start of the object.
        stop: end of the object.
    """
    return _BEFORE_A_VALUE.search(text, end, start) is not None and _AFTER_A_VALUE.match(text, stop) is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


What = Literal["state_path", "sampler_path"]


def deletion(record: CheckpointRecord, path: str | None) -> CheckpointRecord:
    """The record that says that a path of another one was deleted on the service."""
    now = datetime.now(UTC).replace(microsecond=0)
    return CheckpointRecord(name=record.name, batch=record.batch, kind=record.kind, created_at=now, deleted_path=path)
