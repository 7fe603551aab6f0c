"""One line of `checkpoints.jsonl`.

The format is tinker-cookbook's: `name`, `batch`, `state_path`, `sampler_path`, optionally `epoch` and `final`.
The other keys are ours; a reader that knows only the cookbook's passes over them, and keys that we do not know
are kept.
"""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

_DECODER = json.JSONDecoder()
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
        version: optimizer steps behind the weights; None where another tool wrote the record.
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


def parse_line(line: bytes) -> CheckpointRecord:
    """One record.

    Raises:
        ValueError: the line is no JSON object with a `name`, or a key of tinker-cookbook's has a value of
            another type.
    """
    try:
        return CheckpointRecord.model_validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"key {key!r}: {first['msg'].lower()}" if key else first["msg"].lower()) from None


def salvage(line: bytes) -> tuple[bytes, list[tuple[bytes, CheckpointRecord]]]:
    """What a line that is no record still holds: its bad bytes, and its whole records with their bytes.

    A writer that does not end a line that a crash cut off puts its next record right behind it: a record is
    looked for at every brace outside of those found before. A whole JSON value that is no record holds none.
    """
    text, bad, good = line.decode("utf-8", "surrogateescape"), [], []
    end = place = 0  # of the last record, and of what was looked at
    try:
        json.loads(text)
        place = len(text)
    except (ValueError, RecursionError):
        pass
    while (start := text.find("{", place)) >= 0:
        place, record = _record_at(text, start)
        if record is not None and not _may_be_nested(text[end:start], text[place:]):
            bad.append(text[end:start])
            good.append((_bytes(text[start:place]), record))
            end = place
    rest = _bytes("".join([*bad, text[end:]]))
    return rest if rest.strip() else b"", good


def _record_at(text: str, start: int) -> tuple[int, CheckpointRecord | None]:
    """The record that begins at a brace, if one does, and where to look on: behind the JSON object, or the brace."""
    try:
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return start + 1, None
    try:
        return end, parse_line(_bytes(text[start:end]))
    except ValueError:
        return end, None


def _may_be_nested(before: str, behind: str) -> bool:
    """Whether an object between two parts of a line goes on as a value of a larger one would, which a crash tore."""
    return re.search(r'["[{:]', before) is not None and behind.lstrip()[:1] in (",", "]", "}")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
