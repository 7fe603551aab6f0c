"""The student's solve rate before and after the dialogue.

As PedagogicalRL measures it (Dinucu-Jianu et al., EMNLP 2025): the student tries the problem k times before the
dialogue, and k times with the dialogue in its context; the share of attempts that are right afterwards, less the share
before, is what the tutoring was worth. Before, our student is asked as dialogues are opened, with its mistake if its
seed has one. An attempt is right where its last number is the answer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from socratic_distill.dialogues.answers import same_answer
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.dialogue import Dialogue, Message, student_view
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.evaluation.intervals import Measure, Part, means
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import gather_all


@dataclass(frozen=True)
class SolveRates:
    """How often the student solves a problem, as shares of its attempts.

    Attributes:
        before: before the dialogue, the same for all dialogues on a seed; None where no context has room for the
            attempts, the dialogue failed, or a call did.
        after: with the dialogue in its context; None likewise, or where the dialogue has no turns.
        error: what went wrong where a call failed.
    """

    before: float | None = None
    after: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Attempts:
    """The share of one request's attempts that are right; None where none were made."""

    right: float | None = None
    error: str | None = None


async def solve_rates(dialogues: Sequence[Dialogue], cast: Cast, k: int, concurrency: int) -> list[SolveRates]:
    """Has the student try each problem before and after its dialogue, by one request of k attempts each.

    The attempts before are made once for each seed. A call that fails is recorded and holds up nothing.

    Args:
        dialogues: as played.
        cast: who played them.
        k: attempts, from 1 on.
        concurrency: most requests at once.

    Returns:
        One for each dialogue.
    """
    question, places = read_prompt(None, "student_final.txt"), asyncio.Semaphore(concurrency)
    unplayed = {one.seed.id: replace(one, number=0, turns=()) for one in dialogues if one.ending != "failed"}

    async def try_before(dialogue: Dialogue) -> _Attempts:
        async with places:
            return await _attempt(dialogue, _view(dialogue, cast), cast, k, "before")

    async def try_after(dialogue: Dialogue) -> _Attempts:
        if dialogue.ending == "failed" or not dialogue.turns:
            return _Attempts()
        async with places:
            return await _attempt(dialogue, final_messages(_view(dialogue, cast), question), cast, k, "after")

    firsts, after = await gather_all(
        [gather_all(map(try_before, unplayed.values())), gather_all(map(try_after, dialogues))]
    )
    before = dict(zip(unplayed, firsts, strict=True))
    return [
        _joined(before[one.seed.id], then) if one.ending != "failed" else SolveRates()
        for one, then in zip(dialogues, after, strict=True)
    ]


def final_messages(view: Sequence[Message], question: str) -> list[Message]:
    """The student's view of a dialogue, and the question for its answer.

    Where the tutor spoke last, the question goes on from what it said: templates want the two sides to alternate.
    """
    *before, last = view
    if last.role == "user":
        return [*before, Message("user", f"{last.text}\n\n{question}")]
    return [*view, Message("user", question)]


def solve_measures(rates: Sequence[SolveRates], dialogues: Sequence[Dialogue]) -> dict[str, Measure]:
    """`solve_rate/before`, `/after` and `/delta`, over the dialogues of which both rates are known.

    Args:
        rates: as `solve_rates` gives them.
        dialogues: those that they are of.
    """
    known = [
        (dialogue.seed.id, one.before, one.after)
        for dialogue, one in zip(dialogues, rates, strict=True)
        if one.before is not None and one.after is not None
    ]
    return means(
        {
            "solve_rate/before": [Part(seed, before) for seed, before, _ in known],
            "solve_rate/after": [Part(seed, after) for seed, _, after in known],
            "solve_rate/delta": [Part(seed, after - before) for seed, before, after in known],
        }
    )


def _view(dialogue: Dialogue, cast: Cast) -> list[Message]:
    return student_view(dialogue, cast.prompts, cast.profile)


async def _attempt(dialogue: Dialogue, messages: Sequence[Message], cast: Cast, k: int, when: str) -> _Attempts:
    student = cast.student
    try:
        prompt = student.renderer.prompt(messages)
        if not cast.has_room(len(prompt), student.max_tokens):
            return _Attempts()
        seed = stable_seed(cast.seed, dialogue.step, dialogue.seed.id, dialogue.number, when)
        turns = await student.speak(prompt, seed, count=k)
    except Exception as error:
        return _Attempts(error=describe(error))
    return _Attempts(sum(same_answer(turn.text, dialogue.seed.expected_answer) for turn in turns) / k)


def _joined(before: _Attempts, after: _Attempts) -> SolveRates:
    return SolveRates(before.right, after.right, before.error or after.error)
