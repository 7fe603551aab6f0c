"""How to install an extra of this package, from wherever the package itself came from."""

import json
import os
import re
import shlex
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "socratic-distill"
_REQUIREMENT = re.compile(r"(?P<requirement>[^;]+?)\s*;\s*extra == ['\"](?P<extra>[\w-]+)['\"]")
_TORCH = "Without a GPU, run this before it: pip install torch --index-url https://download.pytorch.org/whl/cpu"
Extra = Literal[
    "cloud",
    "local",
    "quantized",
    "data",
    "wandb",
    "trackio",
    "tensorboard",
    "plot",
    "openai",
    "math",
    "bleu",
    "serve",
    "hub",
]
"""The extras that messages tell users to install."""


def how_to_install(extra: Extra) -> str:
    """A sentence with the command that installs an extra; for torch, also how to get it without CUDA packages.

    The command names the checkout or the wheel that this package was installed from. If these are gone, it names the
    extra's own requirements, so that it needs no package index that knows this package.

    Args:
        extra: a name under `[project.optional-dependencies]`.
    """
    installed = _installed()
    source, options = _checkout() or _source(installed), ["-e"] if _is_editable(installed) else []
    if source is not None:
        here = source.is_dir() and source.samefile(os.curdir)
        arguments = [*options, f"{'.' if here else source}[{extra}]"]
    else:
        arguments = _requirements(installed, extra) or [f"{_NAME}[{extra}]"]
    command = shlex.join(["pip", "install", *arguments])
    return f"Install it with: {command}" + (f". {_TORCH}" if extra == "local" else "")


def _installed() -> Distribution | None:
    try:
        return distribution(_NAME)
    except PackageNotFoundError:
        return None


def _checkout() -> Path | None:
    """The checkout that this module runs from; None if it was copied into an environment."""
    root = Path(__file__).parents[3]
    return root if (root / "pyproject.toml").is_file() and (root / "src" / "socratic_distill").is_dir() else None


def _origin(installed: Distribution | None) -> dict[str, object]:
    """What pip noted about where the package came from; empty if it came from a package index."""
    text = None if installed is None else installed.read_text("direct_url.json")
    try:
        noted = json.loads(text or "{}")
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def _source(installed: Distribution | None) -> Path | None:
    """The directory or wheel that the package was installed from; None if it is gone or on another machine."""
    url = urlsplit(str(_origin(installed).get("url", "")))
    path = Path(url2pathname(url.path))
    return path if url.scheme == "file" and path.exists() else None


def _is_editable(installed: Distribution | None) -> bool:
    directory = _origin(installed).get("dir_info")
    return isinstance(directory, dict) and directory.get("editable") is True


def _requirements(installed: Distribution | None, extra: str) -> list[str]:
    """The requirements of an extra, as the installed package states them."""
    lines = (installed.requires if installed is not None else None) or []
    matches = (_REQUIREMENT.fullmatch(line) for line in lines)
    return [match["requirement"] for match in matches if match is not None and match["extra"] == extra]
