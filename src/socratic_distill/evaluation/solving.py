"""Measures the student's solve rate before and after the dialogue.

As in PedagogicalRL (Dinucu-Jianu et al., EMNLP 2025), the student tries the problem k times before the dialogue, and k
times with the dialogue in its context. The share of right attempts after the dialogue minus the share before it is the
gain from tutoring. Before the dialogue, our student gets the prompt that opens dialogues, with its mistake if its seed
has one. An attempt is right if its last number is the answer.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

from socratic_distill.dialogues.attempts import Attempts, attempts_after, attempts_before
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.evaluation.intervals import Part
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import gather_all


@dataclass(frozen=True)
class SolveRates:
    """How often the student solves a problem, as shares of its attempts.

    Attributes:
        before: share before the dialogue, the same for all dialogues on a seed; None if the context has no room for the
            attempts, the dialogue failed, a call failed, or the problem has no answer to compare with.
        after: share with the dialogue in its context; None in the same cases, or if the dialogue has no turns.
        error: what went wrong if a call failed.
    """

    before: float | None = None
    after: float | None = None
    error: str | None = None


async def solve_rates(dialogues: Sequence[Dialogue], cast: Cast, k: int, concurrency: int) -> list[SolveRates]:
    """The student tries each problem before and after its dialogue, with one request of k attempts each.

    The attempts before the dialogue are made once for each seed. A failed call is recorded; the others go on.

    Args:
        dialogues: as played.
        cast: the cast that played them.
        k: number of attempts, at least 1.
        concurrency: maximum number of requests at once.

    Returns:
        The rates of each dialogue.
    """
    slots = asyncio.Semaphore(concurrency)
    firsts = {_key(dialogue): replace(dialogue, number=0) for dialogue in dialogues if _is_tried(dialogue)}

    async def try_before(dialogue: Dialogue) -> Attempts | str:
        async with slots:
            return await _or_error(attempts_before(dialogue, cast, k))

    async def try_after(dialogue: Dialogue) -> Attempts | str:
        if not _is_tried(dialogue):
            return Attempts()
        async with slots:
            return await _or_error(attempts_after(dialogue, cast, k))

    tried, after = await gather_all(
        [gather_all(map(try_before, firsts.values())), gather_all(map(try_after, dialogues))]
    )
    before = dict(zip(firsts, tried, strict=True))
    return [
        _joined(before[_key(dialogue)], attempts) if _is_tried(dialogue) else SolveRates()
        for dialogue, attempts in zip(dialogues, after, strict=True)
    ]


def _is_tried(dialogue: Dialogue) -> bool:
    """Whether an attempt on a dialogue's problem says anything."""
    return dialogue.ending != "failed" and dialogue.seed.is_checkable


def _key(dialogue: Dialogue) -> tuple[str, str]:
    """What attempts before a dialogue depend on: the problem, and the student."""
    return dialogue.seed.id, dialogue.student


def solve_parts(rates: Sequence[SolveRates], dialogues: Sequence[Dialogue]) -> dict[str, list[Part]]:
    """The numbers whose means are `solve_rate/before`, `/after` and `/delta`, where both rates are known.

    Args:
        rates: as `solve_rates` returns them.
        dialogues: the dialogues of these rates.
    """
    known = [
        (dialogue.seed.id, rate.before, rate.after)
        for dialogue, rate in zip(dialogues, rates, strict=True)
        if rate.before is not None and rate.after is not None
    ]
    return {
        "solve_rate/before": [Part(seed, before) for seed, before, _ in known],
        "solve_rate/after": [Part(seed, after) for seed, _, after in known],
        "solve_rate/delta": [Part(seed, after - before) for seed, before, after in known],
    }


async def _or_error(attempts: Awaitable[Attempts]) -> Attempts | str:
    try:
        return await attempts
    except Exception as error:
        return describe(error)


def _joined(before: Attempts | str, after: Attempts | str) -> SolveRates:
    return SolveRates(
        None if isinstance(before, str) else before.right,
        None if isinstance(after, str) else after.right,
        next((result for result in (before, after) if isinstance(result, str)), None),
    )
