"""The fields that say which problems and recorded dialogues a run uses."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Discriminator, Field, Tag

from socratic_distill.config.messages import UNNAMED
from socratic_distill.config.parts import Judge, Recordings, SeedsFile, SolvedRange
from socratic_distill.config.shorthand import FilesAlone, ModelAlone, PathsWithLimits
from socratic_distill.config.values import AnswerKind, Count, FunctionPath, PathText, Section

_PLAIN, _WITH_OPTIONS = UNNAMED


def _form(value: Any) -> str:
    """The form of a seeds file: a path, or with options."""
    return _WITH_OPTIONS if isinstance(value, Mapping | BaseModel) else _PLAIN


_OneFile = Annotated[
    Annotated[PathText, Tag(_PLAIN)] | Annotated[SeedsFile, Tag(_WITH_OPTIONS)],
    Discriminator(_form),
]
_OneOfSeveral = Annotated[
    Annotated[tuple[PathText, Count | None], Tag(_PLAIN)] | Annotated[SeedsFile, Tag(_WITH_OPTIONS)],
    Discriminator(_form),
]
GivenSeeds = str | os.PathLike[str] | SeedsFile


class Seeds(Section):
    """The problems, and recorded dialogues on problems."""

    seeds_file: _OneFile | None = Field(
        None,
        description="File of seeds, or a `SeedsFile`, which also says how the file is read. None: seeds_files, or the "
        "built-in problems.",
    )
    seeds_limit: Count | None = Field(None, description="Number of seeds taken from the top of seeds_file. None: all.")
    seeds_files: PathsWithLimits[tuple[_OneOfSeveral, ...] | None] = Field(
        None,
        description="Several (path, limit) pairs or `SeedsFile`s, read in order; limit None, or a path alone, takes "
        "all. None: seeds_file instead.",
    )
    answer_kind: AnswerKind | None = Field(
        None,
        description="The kind of all seeds' answers, where neither a row nor its `SeedsFile` states one. None: as each "
        "answer looks; words need a kind, such as 'text' or 'judged'.",
    )
    answer_function: FunctionPath | None = Field(
        None,
        description="'module:name' of a function for answers of kind 'function': it takes the text of a turn and the "
        "seed, and returns whether the text gives the answer. None: no seed may have such an answer.",
    )
    answer_judge: ModelAlone[Judge | None] = Field(
        None,
        description="Model that reads each turn on a seed whose answer is of kind 'judged', and judges whether it "
        "gives the answer; its name alone means the defaults. None: no seed may have such an answer.",
    )
    solved_range: SolvedRange | None = Field(
        None,
        description="Visit seeds whose dialogues are sometimes solved more often than others. None: each seed once an "
        "epoch.",
    )
    recordings: FilesAlone[Recordings | None] = Field(
        None,
        description="Recorded dialogues to learn from; files alone mean the defaults. None: only dialogues that the "
        "tutor plays.",
    )


def listed_files(config: Seeds) -> tuple[tuple[str, SeedsFile], ...]:
    """All seeds files of a config, each with the field that names it, such as `seeds_files[0]`."""
    if config.seeds_file is not None:
        file = as_seeds_file(config.seeds_file, config.seeds_limit)
        return (("seeds_file", file),)
    return tuple(
        (f"seeds_files[{number}]", as_seeds_file(*entry) if isinstance(entry, tuple) else entry)
        for number, entry in enumerate(config.seeds_files or ())
    )


def as_seeds_file(file: GivenSeeds, limit: int | None = None) -> SeedsFile:
    """A file, given as a path or with its options, with a limit.

    Args:
        file: the file.
        limit: number of seeds taken from its top; None: as the file has it.

    Raises:
        TypeError: the file is neither a path nor a `SeedsFile`.
    """
    if not isinstance(file, SeedsFile):
        return SeedsFile.model_construct(path=os.fspath(file), limit=limit)
    return file if limit is None else file.model_copy(update={"limit": limit})
