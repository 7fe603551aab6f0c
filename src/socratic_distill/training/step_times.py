"""The seconds of a step by phase, and which phases it waited for. Pure, except for the clock.

A step lasts from the answer to the previous update to the answer to its own. Read backwards, it waited for the update;
the update waited for the dialogue that was scored last; that dialogue waited for its scores, its rewards and its turns,
one after another; and its first turn waited for the weights that it was played with. Any part of this chain inside the
step is critical: without it the step would have been shorter.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from socratic_distill.distillation.scoring import ScoredDialogue

Phase = Literal["opening", "student", "tutor", "teacher", "reward", "update", "weights", "waiting"]
Span = tuple[float, float]


@dataclass(frozen=True)
class StepTimes:
    """When a step did what, seconds on one clock.

    Attributes:
        began: the answer to the previous update, or the beginning of the loop.
        renewed: the weights of the previous update could be played with.
        taken: the step's last request was submitted.
        answered: the service had answered it, and the last of its dialogues had ended: its rows can be written.
    """

    began: float
    renewed: float
    taken: float
    answered: float


class Stopwatch:
    """Notes the times of the steps, on the loop's clock."""

    def __init__(self) -> None:
        """Begins to count, on the running loop."""
        self._now = asyncio.get_running_loop().time
        self._began = self._now()
        self._renewed: dict[int, float] = {}
        self._taken: dict[int, float] = {}

    def renewed(self, step: int) -> None:
        """Notes that the weights before a step can be played with."""
        self._renewed[step] = self._now()

    def taken(self, step: int) -> None:
        """Notes that a step was submitted."""
        self._taken[step] = self._now()

    def answered(self, step: int) -> StepTimes:
        """Notes that a step is done; gives its times."""
        began, now = self._began, self._now()
        self._began = now
        # Weights whose save failed may never be there.
        return StepTimes(began, self._renewed.pop(step, began), self._taken.pop(step), now)


def time_metrics(times: StepTimes, scored: Sequence[ScoredDialogue]) -> dict[str, float]:
    """The step's seconds by phase, and of the step's own seconds the share that was critical.

    Args:
        times: of the step.
        scored: its dialogues.

    Returns:
        `time/step`, seconds from the previous update to this one. `time/<phase>`, seconds in which at least one
        request of the phase was under way for dialogues of this batch, whenever that was. `time/critical/<phase>`, the
        share of `time/step` that was spent waiting for the phase; the shares add up to 1. "waiting" is waiting for a
        place among `max_concurrent_dialogues`, or for weights that were there before. "reward" is left out of steps
        whose rewards need no requests.
    """
    under_way: dict[Phase, list[Span]] = {"update": [(times.taken, times.answered)]}
    # Saved and opened while the next batch's dialogues already run.
    under_way["weights"] = [(times.began, times.renewed)]
    for dialogue in scored:
        for phase, span in dialogue_spans(dialogue):
            under_way.setdefault(phase, []).append(span)
    whole = times.answered - times.began
    critical = critical_seconds(times, scored)
    phases: list[Phase] = [phase for phase in get_args(Phase) if phase != "reward" or phase in under_way]
    return {
        "time/step": whole,
        **{f"time/{phase}": _covered(under_way.get(phase, [])) for phase in phases if phase != "waiting"},
        **{f"time/critical/{phase}": critical[phase] / whole if whole else 0.0 for phase in phases},
    }


def critical_seconds(times: StepTimes, scored: Sequence[ScoredDialogue]) -> dict[Phase, float]:
    """Seconds of a step by the phase that it waited for; they add up to the step."""
    seconds: dict[Phase, float] = dict.fromkeys(get_args(Phase), 0.0)
    # The update waited for the last scores: all others were there already.
    last = max(scored, key=_scored_at, default=None)
    chain: list[tuple[Phase, Span]] = [("update", (times.taken, times.answered))]
    if last is not None and last.teacher:
        # By their ends, as rewards are given while the teachers score.
        links = sorted(dialogue_spans(last), key=lambda link: (link[1][1], link[1][0]))
        chain += [link for link in reversed(links) if times.began < link[1][1] <= _scored_at(last)]
    # The new weights belong into the chain before the first request that began after they were there, unless that
    # request waited longer for the one before it.
    position = next((i for i, (_, (_, end)) in enumerate(chain) if i and end <= times.renewed), len(chain))
    if times.renewed <= chain[position - 1][1][0]:
        chain.insert(position, ("weights", (times.began, times.renewed)))
    now = times.answered
    for phase, (start, end) in chain:
        end = min(end, now)
        if now <= times.began or end <= times.began:  # the rest of the chain lies before the step
            break
        seconds["waiting"] += now - end  # nothing of this dialogue was under way
        start = max(start, times.began)
        seconds[phase] += max(end - start, 0.0)
        now = min(start, end)
    seconds["waiting"] += max(now - times.began, 0.0)
    return seconds


def span_row(times: StepTimes, scored: ScoredDialogue) -> dict[str, list[list[float]]]:
    """A dialogue's requests as `dialogues.jsonl` keeps them: `[start, end]`, seconds since the step began.

    One for each turn, then one for the teacher's scores if there are any. They can be negative, since what does not
    depend on the previous update may run ahead of it.
    """
    spans = [turn.span for turn in scored.dialogue.turns] + ([scored.span] if scored.teacher else [])
    return {"time/spans": [[round(at - times.began, 3) for at in span] for span in spans]}


def dialogue_spans(scored: ScoredDialogue) -> list[tuple[Phase, Span]]:
    """The requests of a dialogue in order, by phase, seconds."""
    spans: list[tuple[Phase, Span]] = []
    for i, turn in enumerate(scored.dialogue.turns):
        spans.append(("opening" if i == 0 else turn.role, turn.span))
    if scored.teacher:
        spans.append(("teacher", scored.span))
    if scored.rewarded is not None and scored.rewarded.span is not None:
        spans.append(("reward", scored.rewarded.span))
    return sorted(spans, key=lambda entry: entry[1])


def _scored_at(scored: ScoredDialogue) -> float:
    """When a dialogue had its scores and its rewards."""
    reward = scored.rewarded.span if scored.rewarded is not None else None
    return max(scored.span[1], reward[1] if reward is not None else 0.0)


def _covered(spans: Iterable[Span]) -> float:
    """Length of the union of intervals."""
    total, end = 0.0, float("-inf")  # end: of what was counted, so that overlaps count once
    for start, stop in sorted(spans):
        total += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return total
