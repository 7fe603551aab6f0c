"""Rows of a run as flat dicts, and as pandas DataFrames if pandas is installed."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from socratic_distill.errors import PlotExtraMissing
from socratic_distill.files.extras import how_to_install
from socratic_distill.outputs.report.facts import FIGURES, Facts

if TYPE_CHECKING:
    from pandas import DataFrame

_MEASURES = ("first_reply/asks", "first_reply/tells", "asks", "reply_tokens", "teacher_kl")


def dialogue_fields(row: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """A dialogue as one flat dict; see `LoadedRun.dialogue_rows`.

    Args:
        row: its row of `dialogues.jsonl`.
        facts: what it says in short.
    """
    replies = [turn["text"] for turn in row["turns"] if turn["role"] == "tutor"]
    means = {
        name: total / count if count else None
        for name, total, count in zip(FIGURES, facts.totals, facts.counts, strict=True)
    }
    teachers = row.get("teachers")
    return {
        **{key: row.get(key) for key in ("step", "seed", "number", "question", "expected_answer", "initial_error")},
        "ending": row["ending"],
        "solved": facts.solved,
        "told": facts.told,
        "tutor_turns": len(replies),
        "first_reply": replies[0] if replies else None,
        **{name: means[name] for name in _MEASURES},
        "reward": row.get("reward"),
        "teachers": ", ".join(map(str, teachers)) if isinstance(teachers, list) else None,
        "recording": row.get("recording"),
        "error": row.get("error"),
    }


def data_frame(rows: Iterable[Mapping[str, Any]], without: str, index: str | None = None) -> "DataFrame":
    """Rows as a DataFrame.

    Args:
        rows: the rows.
        without: what gives the rows without pandas, for the message.
        index: column that becomes the index.

    Raises:
        PlotExtraMissing: pandas is not installed.
    """
    try:
        pandas: Any = import_module("pandas")
    except ImportError as error:
        raise PlotExtraMissing(
            f"a DataFrame needs pandas, which cannot be imported: {error}. {how_to_install('plot')}; "
            f"without it, {without} gives the same rows"
        ) from error
    frame = pandas.DataFrame(list(rows))
    return frame.set_index(index) if index is not None and index in frame else frame
