"""SkyRL is written for Python 3.12, whose TypedDict is the one that pydantic accepts. Import this before it."""

import sys
import typing

if sys.version_info < (3, 12):
    import typing_extensions

    typing.TypedDict = typing_extensions.TypedDict  # type: ignore[misc]
