"""The teacher's view of a dialogue, and its scores of the tutor's tokens."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from socratic_distill.dialogue import NOTHING_SENT, Dialogue, PromptUse
from socratic_distill.errors import TeacherError
from socratic_distill.rollout import Cast, describe, gather_all
from socratic_distill.sequences import TokenSequence, merge_turns

Floats = npt.NDArray[np.float64]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)  # arrays do not compare as one truth
class ScoredDialogue:
    """A dialogue with the log-probabilities of the tutor's tokens, at temperature 1.

    Attributes:
        dialogue: the dialogue; where scoring failed, its ending is "failed".
        sequences: the tutor's turns as they are trained on.
        tutor: the tutor's own log-probabilities, nats, one array `[T]` a tutor turn.
        teacher: the teacher's log-probabilities of the same tokens, likewise.
        use: what the teacher's prompts cost, and `tutor_use` what scoring under the tutor did.
        span: when the scores were asked for and there, seconds on the loop's clock.
    """

    dialogue: Dialogue
    sequences: tuple[TokenSequence, ...] = ()
    tutor: tuple[Floats, ...] = ()
    teacher: tuple[Floats, ...] = ()
    use: PromptUse = NOTHING_SENT
    tutor_use: PromptUse = NOTHING_SENT
    span: tuple[float, float] = (0.0, 0.0)


class Scorer:
    """Scores the tutor's tokens, as few positions of a prompt as the server can.

    The prompt before the tutor's first token has no score that anybody wants; a server that honours
    `prompt_logprobs_last_n` takes it from its cache. One that does not is noticed at the first answer.

    Args:
        teacher: sampling client of the teacher.
    """

    def __init__(self, teacher: Any) -> None:
        self.teacher = teacher
        self._takes_last_n = True

    async def score(self, client: Any, sequence: TokenSequence, whose: str) -> tuple[list[Floats], PromptUse]:
        """Log-probabilities of the spans' tokens under a client's model, one array a tutor turn, and their cost.

        Raises:
            TeacherError: scores are missing or do not fit the tokens.
        """
        last_n = len(sequence.tokens) - sequence.spans[0].start
        try:
            response = await self._ask(client, sequence, last_n if self._takes_last_n else None)
        except Exception as error:
            if "prompt_logprobs_last_n" not in str(error):
                raise
            if self._takes_last_n:
                _log.info("the server does not honour prompt_logprobs_last_n: whole prompts are scored (%s)", error)
            self._takes_last_n = False
            response = await self._ask(client, sequence, None)
        use = PromptUse(len(sequence.tokens), response.prompt_cache_hit_tokens)
        return span_scores(sequence, response.prompt_logprobs, whose), use

    def _ask(self, client: Any, sequence: TokenSequence, last_n: int | None) -> Awaitable[Any]:
        """What `compute_logprobs` asks for too, but the answer tells what was cached."""
        from tinker import ModelInput, SamplingParams

        return client.sample(
            ModelInput.from_ints(list(sequence.tokens)),
            1,
            SamplingParams(max_tokens=1),
            include_prompt_logprobs=True,
            prompt_logprobs_last_n=last_n,
        )


async def score_batch(
    dialogues: Sequence[Dialogue], cast: Cast, scorer: Scorer, concurrency: int
) -> list[ScoredDialogue]:
    """Scores every dialogue that holds a tutor turn; failed ones and those without pass through unscored.

    Args:
        dialogues: as played.
        cast: who played them.
        scorer: scores it.
        concurrency: most dialogues scored at once.
    """
    places = asyncio.Semaphore(concurrency)

    async def score_next(dialogue: Dialogue) -> ScoredDialogue:
        async with places:
            return await score_or_fail(dialogue, cast, scorer)

    return await gather_all(map(score_next, dialogues))


async def score_or_fail(dialogue: Dialogue, cast: Cast, scorer: Scorer) -> ScoredDialogue:
    """Scores a dialogue if there is something to score; where that fails, so does the dialogue."""
    if dialogue.ending == "failed" or not dialogue.tutor_turns:
        return ScoredDialogue(dialogue)
    try:
        return await score(dialogue, cast, scorer)
    except Exception as error:
        return ScoredDialogue(dialogue.end("failed", error=describe(error)))


async def score(dialogue: Dialogue, cast: Cast, scorer: Scorer) -> ScoredDialogue:
    """Scores the tutor's tokens of one dialogue.

    The tutor's own log-probabilities are the sampler's; away from temperature 1 they are scored again,
    since tempered ones do not compare with the teacher's.

    Raises:
        TeacherError: scores are missing or do not fit the tokens.
    """
    turns = dialogue.tutor_turns
    sequences = merge_turns((turn.prompt, turn.tokens) for turn in turns)
    teacher_sequences = merge_turns(zip(teacher_prompts(dialogue, cast), (t.tokens for t in turns), strict=True))
    asked = [(scorer.teacher, one, f"teacher, {_name(dialogue)}") for one in teacher_sequences]
    is_tempered = cast.tutor.temperature != 1.0
    if is_tempered:
        asked += [(cast.tutor.client, one, f"tutor, {_name(dialogue)}") for one in sequences]
    now = asyncio.get_running_loop().time
    began = now()
    answers = await gather_all(scorer.score(*one) for one in asked)
    span = (began, now())
    teacher_scores, use = _joined(answers[: len(teacher_sequences)])
    tutor_scores, tutor_use = [np.asarray(turn.logprobs, dtype=np.float64) for turn in turns], NOTHING_SENT
    if is_tempered:
        tutor_scores, tutor_use = _joined(answers[len(teacher_sequences) :])
    return ScoredDialogue(dialogue, tuple(sequences), tuple(tutor_scores), tuple(teacher_scores), use, tutor_use, span)


def teacher_prompts(dialogue: Dialogue, cast: Cast) -> list[tuple[int, ...]]:
    """The teacher's context before each tutor turn, `[P]` each."""
    openings = range(1, len(dialogue.turns), 2)
    return [cast.teacher_prompt(replace(dialogue, turns=dialogue.turns[:i])) for i in openings]


def span_scores(sequence: TokenSequence, values: Sequence[float | None] | None, whose: str) -> list[Floats]:
    """Cuts the tutor's spans out of a prompt's log-probabilities.

    Args:
        sequence: what was scored, `[N]` tokens.
        values: entry i is the log-probability of token i given those before it, nats. `[N]` with None
            first, as the SDK defines it, or `[N - 1]` without it, as some servers answer; None for no answer.
        whose: whose scores they are, for error messages.

    Raises:
        TeacherError: another number of values, or None or NaN inside a span.
    """
    expected = len(sequence.tokens)
    if values is None:
        raise TeacherError(f"{whose}: no log-probabilities for {expected} tokens")
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


def _joined(answers: Sequence[tuple[list[Floats], PromptUse]]) -> tuple[list[Floats], PromptUse]:
    """The scores of sequences in order of turn, and what they cost together."""
    return [array for scores, _ in answers for array in scores], sum((use for _, use in answers), NOTHING_SENT)


def _name(dialogue: Dialogue) -> str:
    return f"seed {dialogue.seed.id!r}, dialogue {dialogue.number} of step {dialogue.step}"
