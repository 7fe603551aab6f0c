"""Seeds: the problems that dialogues start from, read from files, and which of them make a batch.

Three formats of JSONL are told apart by their keys:

| format | keys |
|---|---|
| our own | `question`, `expected_answer`, optional `initial_error`, `id`, `student_profile` |
| MathDial | `question`, `ground_truth`, `student_incorrect_solution`, and more |
| GSM8K | `question`, `answer` |
"""

import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from socratic_distill.answers import final_answer, parse_numbers
from socratic_distill.errors import SeedError

_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")
_FORMATS = (
    "ours (question, expected_answer), MathDial's (question, ground_truth, student_incorrect_solution) and "
    "GSM8K's (question, answer)"
)
_OWN_KEYS = {"question", "expected_answer", "initial_error", "id", "student_profile"}


@dataclass(frozen=True, slots=True)
class Seed:
    """What a dialogue starts from.

    Attributes:
        id: unique among a run's seeds.
        question: the problem.
        expected_answer: its answer; the last number in it counts.
        initial_error: the student's mistaken solution; None lets the student make an attempt of its own.
        student_profile: who the student is; None takes the config's.
    """

    id: str
    question: str
    expected_answer: str
    initial_error: str | None = None
    student_profile: str | None = None


def load_seeds(
    seeds_file: str | os.PathLike[str] | None = None,
    seeds_limit: int | None = None,
    seeds_files: Sequence[tuple[str | os.PathLike[str], int | None]] | None = None,
) -> tuple[Seed, ...]:
    """Reads seeds, in the order of files and lines.

    Args:
        seeds_file: one JSONL file.
        seeds_limit: number of seeds from the top of seeds_file; None takes all, as does a limit beyond its end.
        seeds_files: several (path, limit) instead. Neither: the built-in problems.

    Raises:
        SeedError: a file cannot be read, or a line cannot be used; names file, line and reason.
    """
    if seeds_file is not None and seeds_files is not None:
        raise SeedError("seeds_file and seeds_files are both given; keep one of them")
    if seeds_files is None and seeds_file is None:
        with as_file(files("socratic_distill") / "data" / "builtin_seeds.jsonl") as path:
            return tuple(seed for _, seed in _read(path, seeds_limit))
    sources = seeds_files if seeds_files is not None else [(seeds_file or "", seeds_limit)]
    places: dict[str, str] = {}
    seeds = []
    for path, limit in sources:
        for place, seed in _read(Path(path), limit):
            if seed.id in places:
                raise SeedError(f"{place}: id {seed.id!r} is taken by {places[seed.id]}; ids must be unique")
            places[seed.id] = place
            seeds.append(seed)
    return tuple(seeds)


def _read(path: Path, limit: int | None) -> Iterator[tuple[str, Seed]]:
    """The seeds of one file, each with the place that error messages name."""
    count = 0
    for number, line in enumerate(_lines(path), start=1):
        if limit is not None and count >= limit:
            return
        if line.strip():
            place = f"{path}, line {number}"
            try:
                yield place, _parse(_load_object(line), default_id=f"{path.stem}:{number}")
            except ValueError as error:
                raise SeedError(f"{place}: {error}") from None
            count += 1
    if not count:
        raise SeedError(f"{path}: the file holds no seeds; expected one JSON object a line")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SeedError(f"{path}, line {line}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    except OSError as error:
        raise SeedError(f"{path}: the seeds file cannot be read ({error.strerror or error})") from None


def _load_object(line: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(line, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno}); expected one object a line") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}; seeds files are JSONL")
    return value


def _parse(row: dict[str, Any], default_id: str) -> Seed:
    keys = row.keys()
    if {"question", "expected_answer"} <= keys:
        return _parse_own(row, default_id)
    if {"question", "ground_truth", "student_incorrect_solution"} <= keys:
        return _parse_mathdial(row, default_id)
    if {"question", "answer"} <= keys:
        return Seed(default_id, _text(row, "question"), final_answer(_text(row, "answer")))
    raise ValueError(f"keys {sorted(keys)} are of no known format; known are {_FORMATS}")


def _parse_own(row: dict[str, Any], default_id: str) -> Seed:
    if unknown := sorted(row.keys() - _OWN_KEYS):
        raise ValueError(f"unknown keys {unknown}; known are {sorted(_OWN_KEYS)}")
    answer = _text(row, "expected_answer", numbers=True)
    if len(parse_numbers(answer)) != 1:
        raise ValueError(f"expected_answer must hold exactly one number, which the student's is compared with: {answer!r}")
    return Seed(
        id=_text(row, "id", numbers=True) if row.get("id") is not None else default_id,
        question=_text(row, "question"),
        expected_answer=answer,
        initial_error=_optional(row, "initial_error"),
        student_profile=_optional(row, "student_profile"),
    )


def _parse_mathdial(row: dict[str, Any], default_id: str) -> Seed:
    """MathDial's `qid` names a problem, on which there are several dialogues, so the line makes the id."""
    return Seed(
        id=default_id,
        question=_text(row, "question"),
        expected_answer=final_answer(_text(row, "ground_truth")),
        initial_error=_text(row, "student_incorrect_solution"),
        student_profile=_optional(row, "student_profile"),
    )


def _optional(row: dict[str, Any], key: str) -> str | None:
    return None if row.get(key) is None else _text(row, key)


def _text(row: dict[str, Any], key: str, numbers: bool = False) -> str:
    value = row[key]
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{key} must be text, found {type(value).__name__}: {value!r}")
    text = _CALCULATOR_MARK.sub("", value).strip()
    if not text:
        raise ValueError(f"{key} is empty")
    return text


def steps_per_run(count: int, epochs: int, size: int) -> int:
    """Batches of `size` that `epochs` passes over `count` seeds take; the last one runs over."""
    return math.ceil(count * epochs / size)


def batch(seeds: Sequence[Seed], *, seed: int, step: int, size: int) -> list[Seed]:
    """The seeds of one batch, a pure function of its arguments.

    The epochs, each a shuffle of all seeds by (seed, epoch), stand one behind the other; a batch is places
    `[step * size, (step + 1) * size)` of that row. So nothing is dropped or repeated within an epoch, every
    batch has the same size, and one may lie across two epochs.
    """
    places = (divmod(place, len(seeds)) for place in range(step * size, (step + 1) * size))
    return [seeds[_shuffle(len(seeds), seed, epoch)[place]] for epoch, place in places]


@functools.lru_cache(maxsize=4)
def _shuffle(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of an epoch, by SHA-256: the same on every machine and version of Python."""

    def key(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{epoch}:{index}".encode()).digest()

    return tuple(sorted(range(count), key=key))
