"""A run's dialogues as OpenAI-style messages: the user is the student, the assistant the tutor.

`recordings={"files": […]}` reads them back.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from socratic_distill.config.paths import resolved
from socratic_distill.errors import ConfigError
from socratic_distill.outputs.exports.choice import Choice, is_solved, is_told
from socratic_distill.outputs.exports.rows import check_file, read_dialogues, replacing, run_directory
from socratic_distill.run.layout import DIALOGUES
from socratic_distill.text import whole_characters

_SPEAKERS = {"student": "user", "tutor": "assistant"}

Row = Mapping[str, Any]
TutorPrompt = Callable[[Row], str]


@dataclass
class Exported:
    """What an export came to.

    Attributes:
        written: dialogues that were written.
        not_chosen: those that were not wanted.
        left_out: those that are none to learn from: failed, recorded elsewhere, or with a side that says nothing.
    """

    written: int = 0
    not_chosen: int = 0
    left_out: int = 0


def export_messages(
    log_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    choice: Choice | None = None,
    *,
    system_prompt: bool = False,
    allow_files: bool = False,
) -> Exported:
    """Writes a run's dialogues as JSONL, one `{"messages": […], "question": …, …}` a line.

    In addition to the messages a row has `question`, `expected_answer`, `initial_error`, `student_profile`, `seed`,
    `step`, `number`, `ending`, `solved`, `told`, `reward` and `teachers`, those that are null left out. Half a
    character (a lone surrogate) is written as U+FFFD. The run may be under way.

    Args:
        log_path: directory of the run; it may be in a store.
        out: file to write; one that is there is replaced.
        choice: which dialogues. None: all.
        system_prompt: begin with what the tutor read, a system message with the problem; as the config's prompt file
            is now.
        allow_files: whether a prompt file that the config names outside the directory may be read.

    Returns:
        How many dialogues were written and left out.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        ConfigError: the directory holds no dialogues, none is chosen, or `out` is not a file to write.
        UntrustedConfig: the config names a prompt file elsewhere, and that is not allowed.
        StorageError: the file cannot be written, or the store fails.
    """
    directory, file = run_directory(log_path), Path(resolved(out))
    check_file(file, directory)
    exported = Exported()
    prompt = tutor_prompt(directory, allow_files) if system_prompt else None
    with replacing(file) as lines:
        for row in conversations(directory, choice or Choice(), prompt, exported):
            talk = {key: value for key, value in as_messages(row).items() if value is not None}
            lines.write(json_line(talk))
    return exported


def conversations(log_path: Path, choice: Choice, prompt: TutorPrompt | None, exported: Exported) -> Iterator[Row]:
    """The chosen dialogues of a run, counted; each row has the tutor's `system` text, or None.

    Raises:
        ConfigError: the directory holds no dialogues, or none is chosen.
    """
    for row in read_dialogues(log_path):
        if not choice.takes(row):
            exported.not_chosen += 1
        elif not _is_talk(row):
            exported.left_out += 1
        else:
            exported.written += 1
            yield {**row, "system": None if prompt is None else prompt(row)}
    if not exported.written:
        raise ConfigError(
            f"{log_path / DIALOGUES} has no dialogue to export: {exported.not_chosen} are not chosen, "
            f"{exported.left_out} failed, are recorded or have a side that says nothing; choose others"
        )


def as_messages(row: Row) -> dict[str, Any]:
    """A dialogue as messages, with what is known of it; null where something is not."""
    said = [{"role": _SPEAKERS[turn["role"]], "content": turn["text"]} for turn in row["turns"]]
    if said[0]["role"] == "assistant":  # what a tutor who begins was asked
        said.insert(0, {"role": "user", "content": _opening()})
    system = [] if row["system"] is None else [{"role": "system", "content": row["system"]}]
    return {
        "messages": system + said,
        "question": row["question"],
        "expected_answer": row["expected_answer"],
        "initial_error": row.get("initial_error"),
        "student_profile": row.get("student_profile"),
        "seed": row["seed"],
        "step": row["step"],
        "number": row.get("number"),
        "ending": row["ending"],
        "solved": is_solved(row),
        "told": is_told(row),
        "reward": row.get("reward"),
        "teachers": row.get("teachers"),
    }


@cache
def _opening() -> str:
    from socratic_distill.dialogues.prompts import read_prompt

    return read_prompt(None, "tutor_opening.txt")


def json_line(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON that can be written as UTF-8."""
    return whole_characters(json.dumps(row, ensure_ascii=False)) + "\n"


def _is_talk(row: Row) -> bool:
    """Whether there is something to learn: the tutor played it to its end, and the student and the tutor speak."""
    turns = row["turns"]
    says = any(turn["role"] == "tutor" and turn["text"].strip() for turn in turns)
    return says and bool(turns[0]["text"].strip()) and row["ending"] != "failed" and row.get("recording") is None


def tutor_prompt(log_path: Path, allow_files: bool) -> TutorPrompt:
    """What the tutor read first in a dialogue, by its row.

    Raises:
        ConfigError: the config or its prompt file cannot be read.
        UntrustedConfig: the config names a prompt file elsewhere, and that is not allowed.
    """
    from socratic_distill.dialogues.prompts import load_prompts
    from socratic_distill.dialogues.seeds import Seed
    from socratic_distill.run.directory import load_config

    prompts = load_prompts(load_config(log_path, allow_files=allow_files))
    return lambda row: prompts.for_tutor(Seed(row["seed"], row["question"], row["expected_answer"]))
