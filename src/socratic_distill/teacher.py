"""The teacher's view of a dialogue, and its scores of the tutor's tokens."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from socratic_distill.dialogue import Dialogue
from socratic_distill.errors import TeacherError
from socratic_distill.rollout import Cast, describe, gather_all
from socratic_distill.sequences import TokenSequence, merge_turns

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)  # arrays do not compare as one truth
class ScoredDialogue:
    """A dialogue with the log-probabilities of the tutor's tokens, at temperature 1.

    Attributes:
        dialogue: the dialogue; where scoring failed, its ending is "failed".
        sequences: the tutor's turns as they are trained on.
        tutor: the tutor's own log-probabilities, nats, one array `[T]` a tutor turn.
        teacher: the teacher's log-probabilities of the same tokens, likewise.
    """

    dialogue: Dialogue
    sequences: tuple[TokenSequence, ...] = ()
    tutor: tuple[Floats, ...] = ()
    teacher: tuple[Floats, ...] = ()


async def score_batch(
    dialogues: Sequence[Dialogue], cast: Cast, teacher: Any, concurrency: int
) -> list[ScoredDialogue]:
    """Scores every dialogue that holds a tutor turn; failed ones and those without pass through unscored.

    Args:
        dialogues: as played.
        cast: who played them.
        teacher: sampling client of the teacher.
        concurrency: most dialogues scored at once.
    """
    places = asyncio.Semaphore(concurrency)

    async def score_one(dialogue: Dialogue) -> ScoredDialogue:
        if dialogue.ending == "failed" or not dialogue.tutor_turns:
            return ScoredDialogue(dialogue)
        async with places:
            try:
                return await score(dialogue, cast, teacher)
            except Exception as error:
                return ScoredDialogue(dialogue.end("failed", error=describe(error)))

    return await gather_all(score_one(dialogue) for dialogue in dialogues)


async def score(dialogue: Dialogue, cast: Cast, teacher: Any) -> ScoredDialogue:
    """Scores the tutor's tokens of one dialogue.

    The tutor's own log-probabilities are the sampler's; away from temperature 1 they are scored again,
    since tempered ones do not compare with the teacher's.

    Raises:
        TeacherError: scores are missing or do not fit the tokens.
    """
    turns = dialogue.tutor_turns
    sequences = merge_turns((turn.prompt, turn.tokens) for turn in turns)
    teacher_sequences = merge_turns(zip(teacher_prompts(dialogue, cast), (t.tokens for t in turns), strict=True))
    by_teacher = _score_sequences(teacher, teacher_sequences, f"teacher, {_name(dialogue)}")
    if cast.tutor.temperature == 1.0:
        teacher_scores = await by_teacher
        tutor_scores = [np.asarray(turn.logprobs, dtype=np.float64) for turn in turns]
    else:
        by_tutor = _score_sequences(cast.tutor.client, sequences, f"tutor, {_name(dialogue)}")
        teacher_scores, tutor_scores = await gather_all([by_teacher, by_tutor])
    return ScoredDialogue(dialogue, tuple(sequences), tuple(tutor_scores), tuple(teacher_scores))


def teacher_prompts(dialogue: Dialogue, cast: Cast) -> list[tuple[int, ...]]:
    """The teacher's context before each tutor turn, `[P]` each."""
    openings = range(1, len(dialogue.turns), 2)
    return [cast.teacher_prompt(replace(dialogue, turns=dialogue.turns[:i])) for i in openings]


async def _score_sequences(client: Any, sequences: Sequence[TokenSequence], whose: str) -> list[Floats]:
    """Log-probabilities of the spans' tokens, one array a tutor turn, in order of turn."""
    from tinker import ModelInput

    answers = await gather_all(
        client.compute_logprobs(ModelInput.from_ints(list(sequence.tokens))) for sequence in sequences
    )
    return [
        scores
        for sequence, values in zip(sequences, answers, strict=True)
        for scores in span_scores(sequence, values, whose)
    ]


def span_scores(sequence: TokenSequence, values: Sequence[float | None], whose: str) -> list[Floats]:
    """Cuts the tutor's spans out of a prompt's log-probabilities.

    Args:
        sequence: what was scored, `[N]` tokens.
        values: entry i is the log-probability of token i given those before it, nats. `[N]` with None
            first, as the SDK defines it, or `[N - 1]` without it, as some servers answer.
        whose: whose scores they are, for error messages.

    Raises:
        TeacherError: another number of values, or None or NaN inside a span.
    """
    expected = len(sequence.tokens)
    if len(values) == expected - 1:
        values = [None, *values]
    if len(values) != expected:
        raise TeacherError(f"{whose}: {len(values)} log-probabilities for {expected} tokens")
    scores = []
    for span in sequence.spans:
        cut = [float("nan") if value is None else value for value in values[span.start : span.stop]]
        array = np.asarray(cut, dtype=np.float64)
        if not np.isfinite(array).all():
            position = int(np.flatnonzero(~np.isfinite(array))[0])
            raise TeacherError(
                f"{whose}: the log-probability at token {position} of tutor turn {span.turn} is "
                f"{values[span.start + position]}; every token of a tutor turn needs a finite one"
            )
        scores.append(array)
    return scores


def _name(dialogue: Dialogue) -> str:
    return f"seed {dialogue.seed.id!r}, dialogue {dialogue.number} of step {dialogue.step}"
