"""The answers to a suite's items on disk, one line each, so that a benchmark that was stopped goes on where it was."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from socratic_distill.evaluation.suites.suite import Answer, Item
from socratic_distill.files.durable import append_durably, end_line
from socratic_distill.files.rows import number, read_rows, to_line, whole


class AnsweredItems:
    """The answers of one model to one set of questions. What either of them is, decides the file's name."""

    def __init__(self, directory: Path, items: Sequence[Item], asker: Mapping[str, Any]) -> None:
        """Reads the answers that exist.

        Args:
            directory: of the suite's answers in a run directory.
            items: the questions.
            asker: what else decides the answers: the model, its weights and how it samples. JSON.

        Raises:
            StorageError: the answers cannot be read, or the directory cannot be made.
        """
        self.path = _path(directory, items, asker)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.answers = stored_answers(directory, items, asker)
        if self.path.exists():
            end_line(self.path)

    def add(self, item: Item, answer: Answer) -> None:
        """Keeps an answer.

        Raises:
            StorageError: it cannot be written.
        """
        self.answers[item.id] = answer
        append_durably(self.path, to_line({"item": item.id, "task": item.task, **asdict(answer)})[0])


def stored_answers(directory: Path, items: Sequence[Item], asker: Mapping[str, Any]) -> dict[str, Answer]:
    """The answers that exist, by item; failed ones are left out, since they are asked again. Writes nothing.

    Args:
        directory: as of `AnsweredItems`.
        items: the questions.
        asker: as of `AnsweredItems`.

    Raises:
        StorageError: the answers cannot be read.
    """
    known = {item.id for item in items}
    rows = [row for row in read_rows(_path(directory, items, asker)) if row.get("item") in known]
    return {str(row["item"]): _answer(row) for row in rows if row.get("error") is None}


def _path(directory: Path, items: Sequence[Item], asker: Mapping[str, Any]) -> Path:
    return directory / f"{_digest(items, asker)}.jsonl"


def _digest(items: Sequence[Item], asker: Mapping[str, Any]) -> str:
    hashed = hashlib.sha256(to_line(dict(asker))[0])
    for item in items:
        asked = [item.id, item.prompt, *item.stop, str(item.max_tokens), *item.options, str(item.is_text)]
        hashed.update("\x1f".join(asked).encode("utf-8", "surrogatepass") + b"\x1e")
    return hashed.hexdigest()[:16]


def _answer(row: Mapping[str, Any]) -> Answer:
    logprobs, counts = (row.get(name) if isinstance(row.get(name), list) else [] for name in ("logprobs", "counts"))
    return Answer(
        str(row.get("text", "")),
        row.get("is_cut") is True,
        tuple(value for entry in logprobs or [] if (value := number(entry)) is not None),
        tuple(value for entry in counts or [] if (value := whole(entry)) is not None),
        None,
        *(whole(row.get(name)) or 0 for name in ("sent", "cached", "sampled")),
    )
