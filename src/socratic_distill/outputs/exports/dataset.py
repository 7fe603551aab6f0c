"""A run's dialogues as a folder that `datasets.load_dataset` reads: `data/train-<digest>.jsonl`, and a card.

The card declares each column's type: what the library would guess from the first rows, where a reward may be null,
would refuse later ones. The digest is of the file's content: the library keeps what it once loaded from a folder of
the same name with the same card, and would give that again where a run has gone on meanwhile.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from socratic_distill.config.paths import resolved
from socratic_distill.errors import ConfigError, StorageError
from socratic_distill.files.rows import read_object
from socratic_distill.outputs.exports.choice import Choice
from socratic_distill.outputs.exports.conversations import (
    Exported,
    Row,
    as_messages,
    conversations,
    json_line,
    tutor_prompt,
)
from socratic_distill.outputs.exports.rows import new_file, run_directory
from socratic_distill.run.layout import config_file
from socratic_distill.text import shown

# By name: the type, as the card's `dataset_info` writes it, and what the column holds.
_COLUMNS: dict[str, tuple[Mapping[str, Any], str]] = {
    "messages": (
        {"list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]},
        "the talk: the user is the student, the assistant the tutor",
    ),
    "question": ({"dtype": "string"}, "the problem"),
    "expected_answer": ({"dtype": "string"}, "its answer"),
    "initial_error": ({"dtype": "string"}, "the student's mistake"),
    "student_profile": ({"dtype": "string"}, "who the student is, where the seed says it"),
    "seed": ({"dtype": "string"}, "id of the problem"),
    "step": ({"dtype": "int64"}, "training step that it was played in, from 0"),
    "number": ({"dtype": "int64"}, "number of the dialogue among those on its problem in this step"),
    "ending": ({"dtype": "string"}, "why it ended"),
    "solved": ({"dtype": "bool"}, "whether the student reached the answer, told or not"),
    "told": ({"dtype": "bool"}, "whether a tutor turn holds the answer"),
    "reward": ({"dtype": "float64"}, "task reward; null where the run has none"),
    "teachers": ({"list": "string"}, "names of the teachers that scored it"),
}
_TUTOR_TURNS: dict[str, Mapping[str, Any]] = {
    "version": {"dtype": "int64"},
    "stop_reason": {"dtype": "string"},
    "tokens": {"list": "int64"},
    "pieces": {"list": "string"},
    "tutor_logprobs": {"list": "float64"},
    "teacher_logprobs": {"list": "float64"},
}
_SCORES = "the tutor's turns: sampled tokens, the text of each, and what tutor and teacher gave it, in nats"
_MODELS = ("tutor_model_name", "student_model_name", "teacher_model_name")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def export_dataset(
    log_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    choice: Choice | None = None,
    *,
    system_prompt: bool = False,
    tokens: bool = False,
    allow_files: bool = False,
) -> Exported:
    """Writes a run's dialogues as a Hugging Face datasets folder with one split, `train`.

    Its columns are those of `export_messages`, null where something is not known. The run may be under way.

    Args:
        log_path: directory of the run; it may be in a store.
        out: directory to write; it must be empty or not be there yet.
        choice: which dialogues. None: all.
        system_prompt: as in `export_messages`.
        tokens: add `tutor_turns`: for each tutor turn `tokens` `[T]`, `pieces` `[T]`, `tutor_logprobs` and
            `teacher_logprobs` `[T]`, nats, `version` and `stop_reason`. Some ten times as large.
        allow_files: as in `export_messages`.

    Returns:
        How many dialogues were written and left out.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        ConfigError: the directory holds no dialogues, none is chosen, or `out` holds something.
        UntrustedConfig: the config names a prompt file elsewhere, and that is not allowed.
        StorageError: the folder cannot be written, or the store fails.
    """
    directory, exported = run_directory(log_path), Exported()
    prompt = tutor_prompt(directory, allow_files) if system_prompt else None
    with _new_directory(Path(resolved(out))) as folder:
        data = folder / "data" / "train.jsonl"
        data.parent.mkdir()
        with new_file(data) as lines:
            for row in conversations(directory, choice or Choice(), prompt, exported):
                lines.write(json_line(as_messages(row) | ({"tutor_turns": _tutor_turns(row)} if tokens else {})))
        with data.open("rb") as file:
            data = data.rename(data.with_stem(f"train-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"))
        with new_file(folder / "README.md") as card:
            card.write(_card(f"data/{data.name}", _models(directory), exported.written, tokens))
    return exported


@contextmanager
def _new_directory(out: Path) -> Iterator[Path]:
    """A directory to fill, which takes its place when it is whole; after an error nothing has changed."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} is there already; give a directory that is empty or not there")
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        os.replace(partial, out)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{out} cannot be written: {reason}. Make room, or give another place") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _tutor_turns(row: Row) -> list[dict[str, Any]]:
    turns = (turn for turn in row["turns"] if turn["role"] == "tutor")
    return [{key: _finite(turn.get(key)) for key in _TUTOR_TURNS} for turn in turns]


def _finite(value: Any) -> Any:
    """A value, the minus infinities among its numbers as null: JSON has none."""
    if not isinstance(value, list):
        return value
    return [None if isinstance(number, float) and not math.isfinite(number) else number for number in value]


def _models(log_path: Path) -> dict[str, str]:
    """The names of the run's models; none if its config cannot be read."""
    try:
        stored = read_object(config_file(log_path), ConfigError, "its models are named in the card") or {}
    except ConfigError:
        return {}
    return {key: stored[key] for key in _MODELS if isinstance(stored.get(key), str)}


def _card(path: str, models: Mapping[str, str], count: int, tokens: bool) -> str:
    columns = dict(_COLUMNS)
    if tokens:
        columns["tutor_turns"] = {"list": _features(_TUTOR_TURNS)}, _SCORES
    size = next((name for limit, name in _SIZES if count < limit), "n>1M")
    head = {
        "pretty_name": "Dialogues of a tutor in training",
        "task_categories": ["text-generation"],
        "tags": ["socratic-distill", "tutoring", "dialogues"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": path}]}],
        "dataset_info": {"features": _features({name: kind for name, (kind, _) in columns.items()})},
    }
    # JSON is YAML too, and quotes whatever stands in it.
    yaml = "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items())
    roles = "".join(f"- {key.split('_')[0]}: `{shown(name, one_line=True)}`\n" for key, name in models.items())
    table = "".join(f"| `{name}` | {meaning} |\n" for name, (_, meaning) in columns.items())
    return (
        f"---\n{yaml}---\n\n# Dialogues of a tutor in training\n\n"
        f"{count} dialogues between a tutor, a language model that was being trained to ask rather than to tell, and a "
        "simulated student who made a mistake. Written by socratic-distill. Both sides are models: what they say may "
        f"be wrong.\n\n{roles}\n| column | holds |\n|---|---|\n{table}"
    )


def _features(columns: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, **kind} for name, kind in columns.items()]
