"""Multiple choice by log-probability: the answer is the option that the model finds likeliest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from socratic_distill.errors import SuiteError
from socratic_distill.evaluation.intervals import Part
from socratic_distill.evaluation.suites.reading import read_rows_of
from socratic_distill.evaluation.suites.suite import About, Answers, Figures, Item, Wish


class Choices:
    """The suite."""

    measures_judge = False
    about = About(
        "choices",
        "Multiple choice",
        "of the file",
        "accuracy as lm-evaluation-harness counts acc and acc_norm",
        "The question is a user message, each option a reply. Accuracy takes the option with the highest sum of "
        "log-probabilities, accuracy_by_length the highest sum per character. Base models are usually measured on "
        "plain text instead, without a chat template.",
        "rows with question (or ctx), options (choices, endings) and answer (answerKey, label, answer_index), as of "
        "MMLU, MMLU-Pro, ARC, HellaSwag, AGIEval; or a directory of such files",
    )

    def items(self, wish: Wish) -> tuple[list[Item], list[str]]:
        """An item for each question."""
        paths = sorted(path for path in wish.data.iterdir() if path.is_file()) if wish.data.is_dir() else [wish.data]
        items = [
            _item(path, number, row)
            for path in paths
            for number, row in enumerate(read_rows_of(path, wish.limit), start=1)
        ]
        if not items:
            raise SuiteError(f"{wish.data} has no question; expected {self.about.data}")
        return items, []

    def follow_up(self, items: Sequence[Item], answers: Answers, wish: Wish) -> list[Item]:
        """None."""
        return []

    def figures(self, items: Sequence[Item], answers: Answers, wish: Wish) -> Figures:
        """The shares of right options."""
        known = [(item, answers[item.id].logprobs) for item in items if answers[item.id].error is None]
        plain = [Part(item.cluster, float(_best(sums) == item.facts["right"])) for item, sums in known]
        by_length = [
            Part(item.cluster, float(_best(_by_length(item, sums)) == item.facts["right"])) for item, sums in known
        ]
        return Figures({"choices/accuracy": plain, "choices/accuracy_by_length": by_length})


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _by_length(item: Item, sums: Sequence[float]) -> list[float]:
    return [total / len(option) for total, option in zip(sums, item.options, strict=True)]


def _item(path: Path, number: int, row: Mapping[str, Any]) -> Item:
    where = f"{path.name}, row {number}"
    question = _first(row, "question", "ctx", "query", "sentence")
    options, labels = _options(_first(row, "options", "choices", "endings"))
    if not isinstance(question, str) or len(options) < 2 or not all(options):
        raise SuiteError(f"{where}: expected a question and two or more options, found the keys {', '.join(row)}")
    right = _right(_first(row, "answer_index", "answerKey", "answer", "label", "gold"), options, labels)
    if right is None:
        raise SuiteError(f"{where}: no field says which option is right; expected its number, its letter or its text")
    name = f"{path.stem}/{number}"
    return Item(f"choices/{name}", "choices", question, cluster=name, options=options, facts={"right": right})


def _first(row: Mapping[str, Any], *keys: str) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _options(given: Any) -> tuple[tuple[str, ...], list[str]]:
    """The options' texts, and their labels."""
    labels: list[Any] = []
    if isinstance(given, dict):
        given, labels = given.get("text"), given.get("label") or []
    elif isinstance(given, list) and all(isinstance(option, dict) for option in given):
        given, labels = [option.get("text") for option in given], [option.get("label") for option in given]
    texts = tuple(given) if isinstance(given, list) and all(isinstance(option, str) for option in given) else ()
    return texts, list(map(str, labels)) if len(labels) == len(texts) else list(ascii_uppercase[: len(texts)])


def _right(given: Any, options: Sequence[str], labels: Sequence[str]) -> int | None:
    if isinstance(given, str):
        text = given.strip()
        if text in labels:
            return labels.index(text)
        if text in options:
            return options.index(text)
        given = int(text) if text.isdecimal() else None
    is_number = isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(options)
    return given if is_number else None
