"""The short forms of a config's parts, turned into the full form before a field is checked.

A config holds, stores and compares only the full form.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator

T = TypeVar("T")
_ONE = (str, os.PathLike, Mapping, BaseModel)


def _one_or_many(value: Any) -> Any:
    """A single entry as a tuple of one."""
    return (value,) if isinstance(value, _ONE) else value


def _kind(value: Any) -> Any:
    """The name of a kind as that kind with its defaults."""
    return {"kind": value} if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    """Seeds files without limits, one file or one pair as a tuple of pairs; files with options stay as they are."""
    if isinstance(value, str | os.PathLike):
        return ((value, None),)
    if isinstance(value, Mapping | BaseModel):
        return (value,)
    if not isinstance(value, list | tuple):
        return value
    if len(value) == 2 and _is_path(value[0]) and not isinstance(value[1], (list, tuple, *_ONE)):
        return (tuple(value),)
    return tuple((entry, None) if _is_path(entry) else entry for entry in value)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _files(value: Any) -> Any:
    """Paths alone as recordings with their defaults."""
    return {"files": value} if isinstance(value, str | os.PathLike | list | tuple) else value


def _model(value: Any) -> Any:
    """A model's name alone as a judge with its defaults."""
    return {"model_name": value} if isinstance(value, str) else value


# One entry may stand for a tuple of one.
Several = Annotated[T, BeforeValidator(_one_or_many)]
# Its kind's name may stand for a part.
Kind = Annotated[T, BeforeValidator(_kind)]
# Paths, pairs of a path and a limit, or files with options.
PathsWithLimits = Annotated[T, BeforeValidator(_pairs)]
# Its files may stand for recordings.
FilesAlone = Annotated[T, BeforeValidator(_files)]
# Its model's name may stand for a judge.
ModelAlone = Annotated[T, BeforeValidator(_model)]
