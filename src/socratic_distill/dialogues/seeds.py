"""Reads seeds, the problems that dialogues start from.

Seeds files are JSONL, one object a line. The keys of a file's first line show which of three formats it has, and every
other line must have the same format:

| format | keys |
|---|---|
| our own | `question`, `expected_answer`, optional `initial_error`, `id`; no others |
| MathDial | `question`, `ground_truth`, `student_incorrect_solution`, optional `qid` |
| GSM8K | `question`, `answer`, optional `initial_error`, `id` |
| all | optional `student_profile`, `fields`, `tags` |

`fields` are private facts for the teachers' prompts, such as `{"hint": "Draw it.", "steps": 3}`; they replace `{hint}`
and `{steps}` in a prompt. `tags`, such as `["algebra", "short"]` or a single text, decide which of several teachers
takes the seed.

The published formats have more keys (a conversation, ratings), which are ignored. Blank lines between seeds are
allowed; every other line must be a seed.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeVar

from socratic_distill.config.paths import resolved
from socratic_distill.dialogues.answers.numbers import check_answer, final_answer
from socratic_distill.dialogues.jsonl import as_text, lines, load_object, optional, text
from socratic_distill.dialogues.seed import Seed
from socratic_distill.errors import SeedError

T = TypeVar("T")


PathLike = str | os.PathLike[str]

# Fields that prompts can use on every seed, in addition to its private fields.
SHARED_FIELDS = ("question", "expected_answer", "initial_error", "student_profile")
# Lower-case words only, so that LaTeX such as \frac{1}{2} in a prompt is left unchanged.
FIELD_NAME = re.compile(r"[a-z_]+")

_CALCULATOR_MARK = re.compile(r"<<[^<>\n]*>>")
_OWN_KEYS = ("question", "expected_answer", "initial_error", "id", "student_profile", "fields", "tags")
_FORMATS = {  # in the order they are tried
    "our own": ("question", "expected_answer"),
    "MathDial": ("question", "ground_truth", "student_incorrect_solution"),
    "GSM8K": ("question", "answer"),
}


def load_seeds(
    seeds_file: PathLike | None = None,
    seeds_limit: int | None = None,
    seeds_files: Sequence[tuple[PathLike, int | None]] | None = None,
) -> tuple[Seed, ...]:
    """Reads seeds, in the order of files and lines.

    A seed without an id gets `<file stem>:<line>`; a seed of MathDial gets `<qid>:<line>`, since its `qid` names a
    problem on which there are several dialogues.

    Args:
        seeds_file: one JSONL file.
        seeds_limit: number of seeds from the top of seeds_file. None takes all, and so does a limit larger than the
            file.
        seeds_files: several (path, limit) pairs instead. With neither, the built-in problems are used.

    Raises:
        SeedError: a file cannot be read, or a line cannot be used; the message names file, line and reason. Or the
            arguments contradict each other.
    """
    if seeds_file is not None and seeds_files is not None:
        raise SeedError("seeds_file and seeds_files are both given; keep one of them")
    if seeds_limit is not None and seeds_file is None:
        raise SeedError(f"seeds_limit={seeds_limit} needs a seeds_file; give seeds_file with it")
    if seeds_files is not None:
        return _read_all(seeds_files)
    if seeds_file is not None:
        return _read_all([(seeds_file, seeds_limit)])
    with as_file(files("socratic_distill.dialogues") / "builtin_seeds.jsonl") as path:
        return tuple(replace(seed, source=None) for seed in _read_all([(path, None)]))


def _read_all(sources: Sequence[tuple[PathLike, int | None]]) -> tuple[Seed, ...]:
    if not sources or any(isinstance(source, str) or len(source) != 2 for source in sources):
        raise SeedError(f"seeds_files is {sources!r}; expected one or more (path, limit), limit None for all")
    lines_of: dict[str, str] = {}  # file and line of each seed, by its id
    seeds = []
    for path, limit in sources:
        if limit is not None and limit < 1:
            raise SeedError(f"{path}: the limit is {limit}; expected at least 1, or None for all seeds")
        for file_line, seed in _read(path, limit):
            if seed.id in lines_of:
                raise SeedError(
                    f"{file_line}: id {seed.id!r} is taken by {lines_of[seed.id]}; make the ids unique, and give each "
                    "file only once (seeds without an id are named after their file)"
                )
            lines_of[seed.id] = file_line
            seeds.append(seed)
    return tuple(seeds)


def _read(source: PathLike, limit: int | None) -> Iterator[tuple[str, Seed]]:
    """The seeds of one file, each with its file and line for messages."""
    path, count, file_format = Path(source), 0, None
    for number, line in enumerate(lines(Path(resolved(source)), "seed", SeedError), start=1):
        if count == limit:
            return
        if not line.strip():
            continue
        file_line = f"{path}, line {number}"
        try:
            row = load_object(line, "seed")
            file_format = _check_format(row, file_format)
            seed = parse_seed(row, file_format, path.stem, number)
            seed = replace(seed, fields=private_fields(row), tags=tags_of(row), source=os.fspath(source))
        except ValueError as error:
            raise SeedError(f"{file_line}: {error}") from None
        count += 1
        yield file_line, seed
    if not count:
        raise SeedError(f"{path}: the file holds no seeds; expected one JSON object a line")


def _check_format(row: dict[str, Any], file_format: str | None) -> str:
    """The format of a line, which must be the file's format; `file_format` is None for the first line."""
    row_format = next((name for name, keys in _FORMATS.items() if row.keys() >= set(keys)), None)
    if row_format is None:
        known = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in _FORMATS.items())
        raise ValueError(f"keys {sorted(row)} are of no known format; expected the keys of one ({known})")
    if file_format is not None and row_format != file_format:
        raise ValueError(
            f"keys {sorted(row)} are of the format {row_format}, the file's first line is of {file_format}; "
            "split the file and give both in seeds_files"
        )
    return row_format


def parse_seed(row: dict[str, Any], file_format: str, stem: str, line: int) -> Seed:
    """A row as a seed, without `fields`, `tags` and `source`.

    Raises:
        ValueError: the row is not a valid seed.
    """
    if file_format == "MathDial":
        return Seed(
            id=f"{optional(row, 'qid', numbers=True) or stem}:{line}",
            question=text(row, "question"),
            expected_answer=final_answer(text(row, "ground_truth")),
            initial_error=text(row, "student_incorrect_solution"),
            student_profile=optional(row, "student_profile"),
        )
    own = file_format == "our own"
    return Seed(
        id=optional(row, "id", numbers=True) or f"{stem}:{line}",
        question=text(row, "question"),
        expected_answer=_own_answer(row) if own else _gsm8k_answer(row),
        initial_error=optional(row, "initial_error"),
        student_profile=optional(row, "student_profile"),
    )


def private_fields(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """A row's private facts, as (name, value), sorted by name."""
    facts = row.get("fields")
    if facts is None:
        return ()
    if not isinstance(facts, dict):
        raise ValueError(f'fields must be an object such as {{"hint": "..."}}, found {type(facts).__name__}: {facts!r}')
    for name in facts:
        if not FIELD_NAME.fullmatch(name):
            raise ValueError(f"fields has the name {name!r}; expected lower-case letters and underscores")
        if name in SHARED_FIELDS:
            raise ValueError(f"fields has the name {name!r}, which is reserved for the seed's {name}; use another name")
    return tuple((name, as_text(f"fields.{name}", facts[name], numbers=True)) for name in sorted(facts))


def tags_of(row: dict[str, Any]) -> tuple[str, ...]:
    """A row's tags."""
    value = row.get("tags")
    if value is None:
        return ()
    if isinstance(value, str):
        return (as_text("tags", value),)
    if not isinstance(value, list):
        raise ValueError(f"tags must be a list of texts, or one text, found {type(value).__name__}: {value!r}")
    tags = tuple(as_text(f"tags[{index}]", tag) for index, tag in enumerate(value))
    if twice := sorted({tag for tag in tags if tags.count(tag) > 1}):
        raise ValueError(f"tags holds {twice[0]!r} more than once; keep one")
    return tags


def _own_answer(row: dict[str, Any]) -> str:
    if unknown := sorted(row.keys() - set(_OWN_KEYS)):
        raise ValueError(f"unknown keys {unknown}; known are {', '.join(_OWN_KEYS)}")
    answer = text(row, "expected_answer", numbers=True)
    check_answer(answer)
    return answer


def _gsm8k_answer(row: dict[str, Any]) -> str:
    """The answer of a GSM8K solution; calculator marks such as `<<9*2=18>>` are not part of its text."""
    return final_answer(_CALCULATOR_MARK.sub("", text(row, "answer")))
