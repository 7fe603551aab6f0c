"""What a notebook shows of a run: status, the last step, and the evaluations before and after."""

from collections.abc import Mapping, Sequence
from typing import Any

from socratic_distill.evaluation.definitions import MEASURES
from socratic_distill.evaluation.measures_html import measures_html
from socratic_distill.evaluation.stored import StoredEvaluation
from socratic_distill.files.rows import number
from socratic_distill.outputs.report.reading import RunFiles
from socratic_distill.text.html import escaped, soft, table, titled

_ROLES = ("tutor", "student", "teacher")
_SHOWN = ("teacher_kl", "first_reply/tells", "first_reply/asks", "solved", "reward", "time/step", "cost/usd")
_UNITS = {"time/step": "s", "cost/usd": "USD", "teacher_kl": "nats a token"}


def summary_html(
    path: str, status: str, files: RunFiles, notes: Sequence[str], evaluations: Sequence[StoredEvaluation]
) -> str:
    """The run as a notebook shows it.

    Args:
        path: as it was given.
        status: "complete", "interrupted" or "not finished".
        files: its small files.
        notes: what could not be read, in sentences.
        evaluations: its evaluations, in order.
    """
    planned = files.config.get("max_steps")
    steps = f"{len(files.metrics)} of {planned}" if isinstance(planned, int) else str(len(files.metrics))
    rows = [["status", escaped(status)], ["steps", escaped(steps)]]
    rows += [[role, escaped(files.config.get(f"{role}_model_name", "unknown"))] for role in _ROLES]
    rows += [[f"step {step}", last_step(row)] for step, row in list(files.metrics.items())[-1:]]
    measured = [evaluation for evaluation in evaluations if evaluation.error is None]
    ends = [*measured[:1], *measured[1:][-1:]]
    compared = {f"batch {evaluation.batch}": evaluation.measures for evaluation in ends}
    return titled(
        f"Run {escaped(path)}",
        table(rows),
        measures_html("Evaluations", compared) if ends else "",
        *(f"<div>{escaped(note)}</div>" for note in notes),
        soft("metrics, dialogues, evaluations, checkpoints, config, plot(), dialogue(i), report()"),
    )


def last_step(row: Mapping[str, Any]) -> str:
    """The main measures of a row of `metrics.jsonl`, as HTML in one line."""
    values = [(name, value) for name in _SHOWN if (value := number(row.get(name))) is not None]
    return " · ".join(f"{soft(escaped(name))} {escaped(_figure(name, value))}" for name, value in values)


def _figure(name: str, value: float) -> str:
    if name in MEASURES and MEASURES[name].kind == "share":
        return f"{value:.0%}"
    return f"{value:.3g} {_UNITS[name]}" if name in _UNITS else f"{value:.3g}"
