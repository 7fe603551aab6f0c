"""Reads seeds, the problems that dialogues start from, from users' files and data sets.

`reading.sources` says which files are read, and `reading.formats` which format a row has. All rows of a file must have
the format of its first row:

| format | keys |
|---|---|
| our own | `question`, and those of `SeedColumn`; no others |
| MathDial | `question`, `ground_truth`, `student_incorrect_solution`, optional `qid` |
| MathTutorBench | `problem`, `reference_solution`, `dialog_history` |
| Bridge | `lesson_topic`, `c_h` |
| CoMTA | `data`, `math_level` |
| MMLU-Pro | `question`, `options`, `answer_index` |
| ARC | `question`, `choices`, `answerKey` |
| ASDiv | `body`, `question`, `answer` |
| SVAMP | `Body`, `Question`, `Answer` |
| MATH-500 | `problem`, `solution`, `answer` |
| MATH | `problem`, `solution` |
| GSM8K | `question`, `answer` |
| all | optional `student_profile`, `fields`, `tags` |

`fields` are private facts for the teachers' prompts, such as `{"hint": "Draw it.", "steps": 3}`; they replace `{hint}`
and `{steps}` in a prompt. `tags`, such as `["algebra", "short"]` or a single text, decide which of several teachers
takes the seed.

The published formats have more keys (a conversation, ratings), which are ignored. Nothing is left out silently.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from typing import Any, NamedTuple

from pydantic import ValidationError

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.parts import SeedsFile
from socratic_distill.config.seed_sources import as_seeds_file
from socratic_distill.config.trust import check_code, check_files
from socratic_distill.config.values import AnswerKind
from socratic_distill.dialogues.reading.benchmark_formats import SEED_FORMATS
from socratic_distill.dialogues.reading.formats import Recogniser
from socratic_distill.dialogues.reading.packed import PathLike, Source
from socratic_distill.dialogues.reading.seed_formats import OWN_KEYS, Origin, SeedRow
from socratic_distill.dialogues.reading.shaping import Shape, mapped, renamed
from socratic_distill.dialogues.reading.sources import rows_of
from socratic_distill.dialogues.reading.values import problem_of
from socratic_distill.dialogues.seed import Seed
from socratic_distill.errors import SeedError

GivenFile = PathLike | SeedsFile | Mapping[str, Any]
WithLimit = tuple[PathLike, int | None]
_NO_FILES = "seeds_files is {!r}; expected one or more (path, limit), limit None for all"


def load_seeds(
    seeds_file: GivenFile | None = None,
    seeds_limit: int | None = None,
    seeds_files: Sequence[WithLimit | SeedsFile | Mapping[str, Any]] | None = None,
    answer_kind: AnswerKind | None = None,
) -> tuple[Seed, ...]:
    """Reads seeds, in the order of files and rows.

    A seed without an id gets `<file stem>:<line>`; a seed of MathDial gets `<qid>:<line>`, since its `qid` names a
    problem on which there are several dialogues. Outside JSONL the number is that of the row.

    Args:
        seeds_file: one file or data set: its path or name, or a `SeedsFile`, which may be given as a dict.
        seeds_limit: number of seeds from the top of seeds_file. None takes all, and so does a limit larger than the
            file.
        seeds_files: several (path, limit) pairs or `SeedsFile`s instead. With neither, the built-in problems are used.
        answer_kind: the kind of answers for which neither the row nor its file states one. None: as each looks.

    Raises:
        SeedError: a file cannot be read, or a row cannot be used; the message names file, line and reason. Or the
            arguments contradict each other.
        ConfigError: a `SeedsFile` has an invalid value, or names a function that cannot be imported.
        DataExtraMissing: a file needs packages of the extra `data`.
    """
    if seeds_file is not None and seeds_files is not None:
        raise SeedError("seeds_file and seeds_files are both given; keep one of them")
    if seeds_limit is not None and seeds_file is None:
        raise SeedError(f"seeds_limit={seeds_limit} needs a seeds_file; give seeds_file with it")
    if seeds_files is not None:
        return _all_of(_listed(seeds_files), answer_kind)
    if seeds_file is not None:
        return _all_of([as_seeds_file(_built(seeds_file), seeds_limit)], answer_kind)
    with as_file(files("socratic_distill.dialogues") / "builtin_seeds.jsonl") as path:
        return tuple(replace(seed, source=None) for seed in _all_of([as_seeds_file(path)], None))


def seeds_of(config: SocraticConfig) -> tuple[Seed, ...]:
    """The seeds of a config.

    Raises:
        SeedError: they cannot be read.
        UntrustedConfig: the config was read from a run directory, and names files outside it, data sets on the hub or
            functions that were not allowed.
    """
    check_files(config, "seeds")
    check_code(config, "seeds and recordings")
    return load_seeds(config.seeds_file, config.seeds_limit, config.seeds_files, config.answer_kind)


class Scanned(NamedTuple):
    """What became of a row.

    Attributes:
        place: file and line, for messages.
        title: the format of its file; "" if none was recognised so far.
        seed: the row as a seed, or why it is none.
    """

    place: str
    title: str
    seed: Seed | ValueError


def scan(sources: Sequence[SeedsFile], answer_kind: AnswerKind | None = None) -> Iterator[Scanned]:
    """Every row of the files, also those that cannot be used.

    Args:
        sources: the files.
        answer_kind: the kind of answers for which neither the row nor its file states one.

    Raises:
        SeedError: a file cannot be read further.
    """
    places: dict[str, str] = {}  # file and line of each seed, by its id
    for source in sources:
        for row in _scan_one(source, source.answer_kind or answer_kind):
            seed = row.seed
            if isinstance(seed, Seed):
                if seed.id in places:
                    taken = ValueError(
                        f"id {seed.id!r} is taken by {places[seed.id]}; make the ids unique, and give each "
                        "file only once (seeds without an id are named after their file)"
                    )
                    yield row._replace(seed=taken)
                    continue
                places[seed.id] = row.place
            yield row


def _all_of(sources: Sequence[SeedsFile], answer_kind: AnswerKind | None) -> tuple[Seed, ...]:
    seeds = []
    for row in scan(sources, answer_kind):
        if not isinstance(row.seed, Seed):
            raise SeedError(f"{row.place}: {row.seed}") from row.seed.__cause__
        seeds.append(row.seed)
    return tuple(seeds)


def _scan_one(file: SeedsFile, stated: AnswerKind | None) -> Iterator[Scanned]:
    source = Source(file.path, "seed", SeedError, file.split)
    if file.limit is not None and file.limit < 1:
        raise SeedError(f"{source.name}: the limit is {file.limit}; expected at least 1, or None for all seeds")
    recogniser = Recogniser(
        SEED_FORMATS,
        file.format or ("own" if file.columns or file.map else None),
        "split the file and give both in seeds_files",
    )
    shape, given = _shape(file), os.fspath(file.path)
    count, rows = 0, 0
    for row in rows_of(source):
        if count == file.limit:
            return
        place = f"{source.name}, {row.place}"
        rows += 1
        try:
            if row.problem is not None:
                raise row.problem
            values = row.values if shape is None else shape(row.values)
            if values is None:
                continue
            kind = recogniser.format_of(values)
            seed: Seed | ValueError = _parse(kind, values, Origin(source.stem, row.number, given), stated)
        except ValueError as problem:
            seed = problem
        count += 1
        yield Scanned(place, recogniser.first.title if recogniser.first else "", seed)
    if not rows:
        raise SeedError(f"{source.name}: the file holds no seeds; expected {source.rows}")
    if not count:
        raise SeedError(f"{source.name}: the function {file.map!r} left all of its {rows} rows out")


def _parse(kind: type[SeedRow], values: dict[str, Any], origin: Origin, stated: AnswerKind | None) -> Seed:
    try:
        row = kind.model_validate(values)
    except ValidationError as error:
        problem = problem_of(error, OWN_KEYS)
    else:
        return row.to_seed(origin, stated)
    raise ValueError(problem)


def _shape(file: SeedsFile) -> Shape | None:
    if file.map is not None:
        return mapped(file.map, "seed")
    return renamed(file.columns, OWN_KEYS) if file.columns else None


def _built(file: GivenFile) -> PathLike | SeedsFile:
    return SeedsFile(**file) if isinstance(file, Mapping) else file


def _listed(sources: Sequence[WithLimit | SeedsFile | Mapping[str, Any]]) -> list[SeedsFile]:
    if not sources or not all(isinstance(source, tuple | list | SeedsFile | Mapping) for source in sources):
        raise SeedError(_NO_FILES.format(sources))
    return [_one_of(source, sources) for source in sources]


def _one_of(source: Any, sources: object) -> SeedsFile:
    if isinstance(source, SeedsFile | Mapping):
        return as_seeds_file(_built(source))
    if len(source) != 2:
        raise SeedError(_NO_FILES.format(sources))
    return as_seeds_file(*source)
