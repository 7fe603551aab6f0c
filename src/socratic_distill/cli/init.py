"""`init`: writes a small project: a config, seeds, prompts, a script and a test, which all run as they are."""

import argparse
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from socratic_distill.cli.printing import help_of
from socratic_distill.config.log_path import given_file
from socratic_distill.errors import ConfigError, StorageError
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands

_CLI = Path(__file__).parent
_PROMPTS = _CLI.parent / "dialogues" / "prompts"
# The scripts end in .txt here, since they are no modules of the package. The tiny model knows the packaged prompts.
_FILES = {
    "config.yaml": _CLI / "project" / "config.yaml",
    "seeds.jsonl": _CLI / "project" / "seeds.jsonl",
    "prompts/tutor.txt": _PROMPTS / "tutor.txt",
    "prompts/student.txt": _PROMPTS / "student.txt",
    "prompts/teacher.txt": _PROMPTS / "teacher.txt",
    "train.py": _CLI / "project" / "train.py.txt",
    "test_train.py": _CLI / "project" / "test_train.py.txt",
    "README.md": _CLI / "project" / "README.md",
}


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "init",
        **help_of("write a small project that trains: config, seeds, prompts, script, test", "init", "init my-tutor"),
    )
    parser.add_argument("directory", type=given_file, nargs="?", default=Path(), help="left out, this directory")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Writes the project, and says what to do next."""
    directory: Path = parsed.directory
    for path in write_project(directory):
        show(f"wrote {path}")
    go_there = "" if directory == Path() else f"cd {shlex.quote(str(directory))} && "
    show(f"Next: {go_there}socratic-distill train config.yaml")
    return 0


def write_project(directory: Path) -> list[Path]:
    """Writes the files of a project.

    Args:
        directory: where to; made if it does not exist.

    Returns:
        The files.

    Raises:
        ConfigError: one of the files exists, or the directory is a file; nothing is written.
        StorageError: a file cannot be written.
    """
    existing = [name for name in _FILES if os.path.lexists(directory / name)]
    if existing:
        raise ConfigError(
            f"{directory} has {', '.join(existing)} already, and nothing is overwritten; give another directory, or "
            "move the files away"
        )
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory} is a file; expected a directory, or the name of a new one")
    paths = []
    for name, source in _FILES.items():
        path, text = directory / name, source.read_text(encoding="utf-8")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text + other_fields(text) if name == "config.yaml" else text)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}; give another directory") from error
        paths.append(path)
    return paths


def other_fields(text: str) -> str:
    """Comments that name every field that a config file does not set, with its default.

    Args:
        text: the file.
    """
    from socratic_distill.config.sections import SECTIONS

    lines = ["", "# All other fields, with their defaults. docs/reference/config.md says what they do."]
    for section in SECTIONS:
        names = [name for name in section.model_fields if f"\n{name}:" not in text]
        if names:
            lines += ["#", f"## {(section.__doc__ or '').splitlines()[0]}"]
        lines += [f"# {name}: {_default(section.model_fields[name].default)}" for name in names]
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    """A default as YAML in one line."""
    from pydantic_core import to_jsonable_python

    return json.dumps(to_jsonable_python(value))
