"""Measures the student's solve rate before and after the dialogue.

As in PedagogicalRL (Dinucu-Jianu et al., EMNLP 2025), the student tries the problem k times before the dialogue, and k
times with the dialogue in its context. The share of right attempts after the dialogue minus the share before it is the
gain from tutoring. Before the dialogue, our student gets the prompt that opens dialogues, with its mistake if its seed
has one. An attempt is right if its last number is the answer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.dialogue import Dialogue, Message, is_right
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.evaluation.intervals import Measure, Part, means
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


@dataclass(frozen=True)
class _Attempts:
    """The share of one request's attempts that are right; None if no attempt was made."""

    right: float | None = None
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
    unplayed = {
        dialogue.seed.id: replace(dialogue, number=0, turns=()) for dialogue in dialogues if _is_tried(dialogue)
    }

    async def try_before(dialogue: Dialogue) -> _Attempts:
        async with slots:
            return await _attempt(dialogue, _view(dialogue, cast), cast, k, "before")

    async def try_after(dialogue: Dialogue) -> _Attempts:
        if not _is_tried(dialogue) or not dialogue.turns:
            return _Attempts()
        async with slots:
            return await _attempt(
                dialogue, final_messages(_view(dialogue, cast), _final_question(dialogue)), cast, k, "after"
            )

    firsts, after = await gather_all(
        [gather_all(map(try_before, unplayed.values())), gather_all(map(try_after, dialogues))]
    )
    before = dict(zip(unplayed, firsts, strict=True))
    return [
        _joined(before[dialogue.seed.id], attempts) if _is_tried(dialogue) else SolveRates()
        for dialogue, attempts in zip(dialogues, after, strict=True)
    ]


def _final_question(dialogue: Dialogue) -> str:
    is_number = dialogue.seed.answer_kind == "number"
    return read_prompt(None, "student_final.txt" if is_number else "student_final_words.txt")


def _is_tried(dialogue: Dialogue) -> bool:
    """Whether an attempt on a dialogue's problem says anything."""
    return dialogue.ending != "failed" and dialogue.seed.is_checkable


def final_messages(view: Sequence[Message], question: str) -> list[Message]:
    """The student's view of a dialogue, with the question for its answer.

    If the tutor spoke last, the question is added to its message, because templates need the sides to alternate.
    """
    *before, last = view
    if last.role == "user":
        return [*before, Message("user", f"{last.text}\n\n{question}")]
    return [*view, Message("user", question)]


def solve_measures(rates: Sequence[SolveRates], dialogues: Sequence[Dialogue]) -> dict[str, Measure]:
    """`solve_rate/before`, `/after` and `/delta`, over the dialogues for which both rates are known.

    Args:
        rates: as `solve_rates` returns them.
        dialogues: the dialogues of these rates.
    """
    known = [
        (dialogue.seed.id, rate.before, rate.after)
        for dialogue, rate in zip(dialogues, rates, strict=True)
        if rate.before is not None and rate.after is not None
    ]
    return means(
        {
            "solve_rate/before": [Part(seed, before) for seed, before, _ in known],
            "solve_rate/after": [Part(seed, after) for seed, _, after in known],
            "solve_rate/delta": [Part(seed, after - before) for seed, before, after in known],
        }
    )


def _view(dialogue: Dialogue, cast: Cast) -> list[Message]:
    return cast.students.of(dialogue).view(dialogue)


async def _attempt(dialogue: Dialogue, messages: Sequence[Message], cast: Cast, k: int, when: str) -> _Attempts:
    try:
        seed = stable_seed(cast.seed, dialogue.step, dialogue.seed.id, dialogue.number, when)
        turns = await cast.students.of(dialogue).speaker.reply(messages, seed, k, cast.max_context)
        if turns is None:
            return _Attempts()
        turns = await cast.judged(turns, dialogue)
    except Exception as error:
        return _Attempts(error=describe(error))
    return _Attempts(sum(is_right(turn, dialogue.seed) for turn in turns) / k)


def _joined(before: _Attempts, after: _Attempts) -> SolveRates:
    return SolveRates(before.right, after.right, before.error or after.error)
