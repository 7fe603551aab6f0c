"""Mean log-probability of plain text: what a model still knows of language in general."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from socratic_distill.errors import SuiteError
from socratic_distill.evaluation.intervals import Part
from socratic_distill.evaluation.suites.reading import read_rows_of, text_of
from socratic_distill.evaluation.suites.suite import About, Answers, Figures, Item, Wish


class Texts:
    """The suite."""

    measures_judge = False
    about = About(
        "text",
        "Plain text",
        "of the file",
        "log-probability of a token, as language models are trained",
        "The mean over all tokens but the first of each 1,024, in nats; minus that is the cross-entropy, and its "
        "exponential the perplexity. It compares models with the same tokenizer only.",
        ".txt files, a text each, or rows with a field text",
    )

    def items(self, wish: Wish) -> tuple[list[Item], list[str]]:
        """An item for each text that is not blank."""
        paths = sorted(path for path in wish.data.iterdir() if path.is_file()) if wish.data.is_dir() else [wish.data]
        texts = [(f"{path.stem}/{number}", text) for path in paths for number, text in _texts(path, wish.limit)]
        items = [Item(f"text/{name}", "text", text, cluster=name, is_text=True) for name, text in texts if text.strip()]
        if not items:
            raise SuiteError(f"{wish.data} has no text; expected {self.about.data}")
        return items, []

    def follow_up(self, items: Sequence[Item], answers: Answers, wish: Wish) -> list[Item]:
        """None."""
        return []

    def figures(self, items: Sequence[Item], answers: Answers, wish: Wish) -> Figures:
        """The mean over all tokens."""
        known = [(item, answers[item.id]) for item in items if answers[item.id].error is None]
        return Figures({"text/logprob": [Part(item.cluster, of.logprobs[0], of.counts[0]) for item, of in known]})


def _texts(path: Path, limit: int | None) -> Iterator[tuple[int, str]]:
    if path.suffix == ".txt":
        try:
            yield 1, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SuiteError(f"{path} cannot be read: {error}; expected text in UTF-8") from error
        return
    for number, row in enumerate(read_rows_of(path, limit), start=1):
        yield number, text_of(row, "text")
