"""A run's requests as a Chrome trace, which ui.perfetto.dev and chrome://tracing open.

Rows hold times in seconds since their step began. The trace puts the steps of a run one after another, so time that no
step covers, such as the hours between a stop and a resume, is not shown.
"""

import json
import os
from collections.abc import Container, Iterator, Mapping
from itertools import accumulate, chain, groupby
from pathlib import Path
from typing import Any

from socratic_distill.config.paths import resolved
from socratic_distill.errors import ConfigError
from socratic_distill.files.rows import number, read_rows, step_of, whole
from socratic_distill.outputs.exports.rows import check_file, read_file, replacing, run_directory
from socratic_distill.run.layout import DIALOGUES, METRICS
from socratic_distill.text import shown

Row = Mapping[str, Any]
Event = dict[str, Any]

_MOST_SECONDS = 1e9
_SERVICE, _DIALOGUES = 1, 2  # the trace's two processes
_STEPS, _UPDATES, _WEIGHTS = 1, 2, 3  # threads of the first


def export_trace(
    log_path: str | os.PathLike[str], out: str | os.PathLike[str], first: int = 0, stop: int | None = None
) -> int:
    """Writes steps of a run as Chrome trace events, JSON, times in microseconds.

    The process "training" has a track each for steps, updates and weights; the process "dialogues" as many tracks as
    dialogues were under way at once. A request's category is "critical" if its step waited for it, else "overlapped".
    The run may be under way.

    Args:
        log_path: directory of the run; it may be in a store.
        out: file to write; an existing one is replaced.
        first: the first step.
        stop: the step to stop before; None: the last one is included.

    Returns:
        The number of steps.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        ConfigError: the directory has no such step with timings, or `out` is not a file to write.
        StorageError: the file cannot be written, or the store fails.
    """
    directory, file = run_directory(log_path), Path(resolved(out))
    check_file(file, directory)
    rows = {row["step"]: row for row in read_file(directory / METRICS) if step_of(row) is not None}
    timed = {step: rows[step] for step in sorted(rows) if _is_timed_step(rows[step])}
    ends = accumulate(row["time/step"] for row in timed.values())
    began = {step: end - timed[step]["time/step"] for step, end in zip(timed, ends, strict=True)}
    chosen = [step for step in timed if step >= first and (stop is None or step < stop)]
    if not chosen:
        raise ConfigError(
            f"{directory / METRICS} has no step with timings from {first} to {'the end' if stop is None else stop}; "
            "expected steps that socratic-distill has trained"
        )
    # Openings run ahead of their step: the earliest one is time 0 of the trace.
    wanted = {step: began[step] for step in chosen}
    starts = (wanted[row["step"]] + span[0] for row in _dialogues(directory, wanted) for span in row["time/spans"])
    zero = min(chain([wanted[chosen[0]]], starts))
    began = {step: start - zero for step, start in wanted.items()}
    events = chain(_names(), _of_training(timed, began), _of_dialogues(directory, timed, began))
    with replacing(file) as lines:
        lines.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
        for index, event in enumerate(events):
            lines.write((",\n" if index else "") + json.dumps(event))
        lines.write("\n]}\n")
    return len(chosen)


def _names() -> Iterator[Event]:
    """Names of the processes and of the first one's tracks."""
    for process, name in ((_SERVICE, "training"), (_DIALOGUES, "dialogues")):
        yield {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "ts": 0, "args": {"name": name}}
    for thread, name in ((_STEPS, "steps"), (_UPDATES, "updates"), (_WEIGHTS, "new weights")):
        yield {"ph": "M", "name": "thread_name", "pid": _SERVICE, "tid": thread, "ts": 0, "args": {"name": name}}


def _of_training(timed: Mapping[int, Row], began: Mapping[int, float]) -> Iterator[Event]:
    for step, start in began.items():
        row = timed[step]
        seconds = row["time/step"]
        shares = {key: row[key] for key in row if key.startswith("time/critical/") and number(row[key]) is not None}
        yield _event(f"step {step}", (_SERVICE, _STEPS), start, start + seconds, True, {"step": step, **shares})
        update = (start + seconds - row["time/update"], start + seconds)
        yield _event("update", (_SERVICE, _UPDATES), *update, True, {"step": step})
        is_critical = _waited_for_weights(row)
        yield _event("weights", (_SERVICE, _WEIGHTS), start, start + row["time/weights"], is_critical, {"step": step})


def _of_dialogues(directory: Path, timed: Mapping[int, Row], began: Mapping[int, float]) -> Iterator[Event]:
    free: list[float] = []  # when each track's last dialogue ended
    for step, group in groupby(_dialogues(directory, began), key=lambda row: row["step"]):
        dialogues = sorted(group, key=lambda row: row["time/spans"][0][0])
        # The update waited for the dialogue that was scored last; scores are the span after those of the turns.
        scored = [d["time/spans"][-1][1] for d in dialogues if len(d["time/spans"]) > len(d["turns"])]
        last_score = max(scored, default=None)
        weights = timed[step]["time/weights"] if _waited_for_weights(timed[step]) else 0.0
        for dialogue in dialogues:
            spans, roles = dialogue["time/spans"], ["opening", *(turn["role"] for turn in dialogue["turns"][1:])]
            start, end = began[step] + spans[0][0], began[step] + max(stop for _, stop in spans)
            track = next((i for i, ended in enumerate(free) if ended <= start), len(free))
            free[track : track + 1] = [end]
            is_last = len(spans) > len(roles) and spans[-1][1] == last_score
            names = {"step": step, "seed": shown(dialogue.get("seed")), "dialogue": whole(dialogue.get("number"))}
            for phase, (from_, to) in zip([*roles, "teacher"], spans, strict=False):
                is_critical = is_last and weights < to <= spans[-1][1]
                track_id = (_DIALOGUES, track + 1)
                yield _event(phase, track_id, began[step] + from_, began[step] + to, is_critical, names)


def _dialogues(directory: Path, steps: Container[int | None]) -> Iterator[Row]:
    """The rows with times of some steps' dialogues."""
    rows = read_rows(directory / DIALOGUES)
    return (row for row in rows if step_of(row) in steps and _is_timed_dialogue(row))


def _waited_for_weights(row: Row) -> bool:
    return (number(row.get("time/critical/weights")) or 0.0) > 0


def _event(
    name: str, track: tuple[int, int], start: float, end: float, is_critical: bool, args: Mapping[str, Any]
) -> Event:
    """A complete event; times in seconds."""
    return {
        "ph": "X",
        "name": name,
        "cat": "critical" if is_critical else "overlapped",
        "pid": track[0],
        "tid": track[1],
        "ts": round(start * 1e6),
        "dur": round(max(end - start, 0.0) * 1e6),
        "args": dict(args),
    }


def _is_time(value: object) -> bool:
    seconds = number(value)
    return seconds is not None and abs(seconds) < _MOST_SECONDS


def _is_timed_step(row: Row) -> bool:
    """Whether a row holds the times of a step; other tools' rows do not."""
    return all(_is_time(row.get(key)) for key in ("time/step", "time/update", "time/weights"))


def _is_timed_dialogue(row: Row) -> bool:
    """Whether a row is a dialogue with times: `[start, end]` for each turn, and one more for its scores."""
    spans, turns = row.get("time/spans"), row.get("turns")
    if not isinstance(spans, list) or not isinstance(turns, list) or not 0 < len(spans) <= len(turns) + 1:
        return False
    pairs = all(isinstance(span, list) and len(span) == 2 and all(map(_is_time, span)) for span in spans)
    return pairs and all(isinstance(turn, dict) and turn.get("role") in ("student", "tutor") for turn in turns)
