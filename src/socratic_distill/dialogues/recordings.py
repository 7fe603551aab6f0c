"""Reads recorded dialogues from files and data sets.

The same files are read as for seeds (`reading.sources`). The keys of a file's first row show its format, and every
other row must have the same. Keys that are not listed here are ignored:

| kind | keys |
|---|---|
| `mathdial` | as a seed of MathDial's, and `conversation` |
| `run` | a row of a run's `dialogues.jsonl` or `dialogues.superseded.jsonl` |
| `messages` | `messages` with `role` and `content` |
| `sharegpt` | `conversations` with `from` and `value` |
| `prompt_completion` | `prompt` and `completion`, as texts or as messages |
| `socrateach` | `question`, `answer`, `dialogues` with `system` and `user` |
| `comta` | `data` as messages, `math_level` |
| chats | optional `question`, `expected_answer`, `answer_kind`, `initial_error`, `student_profile`, `id` |
| all | optional `fields`, `tags`, as in seeds files |

In every format, a recording begins with the student, and then the sides alternate.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.paths import is_no_path, resolved
from socratic_distill.config.trust import check_code, check_files
from socratic_distill.dialogues.reading.formats import Recogniser
from socratic_distill.dialogues.reading.packed import PathLike, Source
from socratic_distill.dialogues.reading.recording_formats import (
    CHATS,
    MathDialDialogue,
    RecordingRow,
    parse_conversation as parse_conversation,
)
from socratic_distill.dialogues.reading.run_rows import RunRow
from socratic_distill.dialogues.reading.seed_formats import Origin
from socratic_distill.dialogues.reading.shaping import Shape, mapped, relabelled
from socratic_distill.dialogues.reading.sources import rows_of
from socratic_distill.dialogues.reading.values import problem_of
from socratic_distill.dialogues.recording import Kind as Kind, RecordedTurn as RecordedTurn, Recording
from socratic_distill.errors import RecordingError
from socratic_distill.text import get_logger

_log = get_logger(__name__)

# In the order that they are tried.
_FORMATS: Sequence[type[RecordingRow]] = (MathDialDialogue, RunRow, *CHATS)


def load_recordings(
    files: Sequence[PathLike], columns: Mapping[str, str] | None = None, function: str | None = None
) -> tuple[Recording, ...]:
    """Reads recordings, in the order of files and rows.

    A chat keeps its own id. Other rows are named `<file stem>:<line>`, those of MathDial `<qid>:<line>`, those of
    SocraTeach `<problem>:<dialogue>` and those of a run `<seed>:<step>:<number>`. Two runs may have played the same
    dialogue, so a name that is taken gets `#2`, `#3` and so on at its end. Rows of a run are left out if they failed,
    hold no tutor turn or were recordings themselves; a log line for each file says how many.

    Args:
        files: the files, directories and data sets.
        columns: their column for each key of a format that has another name there. None: none has.
        function: 'module:name' of a function that makes a row of one of the formats of each row, or None to leave it
            out. None: rows are read as they are.

    Raises:
        ConfigError: there is no such function.
        DataExtraMissing: a file needs packages of the extra `data`.
        RecordingError: a file is given twice or cannot be read, or a line cannot be used; the message names file, line
            and reason.
    """
    if isinstance(files, str | bytes) or not files:
        raise RecordingError(f"the recordings files are {files!r}; expected a list of one or more JSONL files")
    if len({_place(file) for file in files}) < len(files):
        raise RecordingError(
            f"a file is given twice in {[str(file) for file in files]}; give it once, batches repeat it"
        )
    shape = _shape(columns, function)
    sources: dict[str, str] = {}  # file and line of each recording, by its id
    recordings = []
    for file in files:
        for source, has_id, recording in _read(file, shape, function):
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


def recordings_of(config: SocraticConfig) -> tuple[Recording, ...]:
    """The recordings of a config; none if it names none.

    Raises:
        RecordingError: they cannot be read.
        UntrustedConfig: the config was read from a run directory, and names files outside it, data sets on the hub or
            a function that was not allowed.
    """
    recordings = config.recordings
    if recordings is None:
        return ()
    check_files(config, "recordings")
    check_code(config, "seeds and recordings")
    return load_recordings(recordings.files, recordings.columns, recordings.map)


def _place(file: PathLike) -> str:
    """The same text for each way of naming one file."""
    text = os.fspath(file)
    return text if is_no_path(text) else str(Path(resolved(file)).resolve())


def _read(file: PathLike, shape: Shape | None, function: str | None) -> Iterator[tuple[str, bool, Recording]]:
    """The recordings of one file, each with its file and line for messages, and whether its row has an id."""
    source, count, skipped, unwanted = Source(file, "recording", RecordingError), 0, 0, 0
    recogniser = Recogniser(_FORMATS, None, "split the file", "messages")
    for row in rows_of(source):
        place = f"{source.name}, {row.place}"
        try:
            if row.problem is not None:
                raise row.problem
            values = row.values if shape is None else shape(row.values)
            if values is None:
                unwanted += 1
                continue
            kind = recogniser.format_of(values)
            if kind.leaves_out(values):
                skipped += 1
                continue
            parsed = _parse(kind, values)
            recordings = parsed.to_recordings(Origin(source.stem, row.number, os.fspath(file)))
        except (ValueError, OverflowError) as error:
            raise RecordingError(f"{place}: {error}") from None
        for recording in recordings:
            count += 1
            yield place, parsed.has_id, recording
    if skipped:
        _log.info(
            "%s: %d dialogues left out (failed, recorded, or without a tutor turn), %d kept",
            source.name, skipped, count,
        )  # fmt: skip
    if unwanted and not count + skipped:
        raise RecordingError(f"{source.name}: the function {function!r} left all of its {unwanted} rows out")
    if not count:
        expected = "a dialogue that the tutor played and that did not fail" if skipped else source.rows
        raise RecordingError(f"{source.name}: the file holds no recordings; expected {expected}")


def _shape(columns: Mapping[str, str] | None, function: str | None) -> Shape | None:
    if columns and function is not None:
        raise RecordingError("columns and a map function are both given; the function takes rows as they are")
    if function is not None:
        return mapped(function, "recording")
    return relabelled(columns) if columns else None


def _parse(kind: type[RecordingRow], values: dict[str, Any]) -> RecordingRow:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = problem_of(error)
    raise ValueError(problem)
