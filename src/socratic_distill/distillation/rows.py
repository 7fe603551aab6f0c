"""The row of `dialogues.jsonl`, and what a dialogue's requests used. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from socratic_distill.dialogues.answers import answer_spans
from socratic_distill.dialogues.dialogue import NOTHING_SENT, ModelRole, PromptUse, Turn
from socratic_distill.distillation.scoring import ScoredDialogue

Decode = Callable[[Sequence[int]], str]


def dialogue_uses(scored: Sequence[ScoredDialogue]) -> dict[ModelRole, PromptUse]:
    """What the requests of some dialogues cost, by whose model they went to."""
    uses: dict[ModelRole, list[PromptUse]] = {
        "tutor": [turn.use for one in scored for turn in one.dialogue.turns[1::2]] + [one.tutor_use for one in scored],
        "student": [turn.use for one in scored for turn in one.dialogue.turns[::2]],
        "teacher": [one.use for one in scored],
    }
    return {role: sum(each, NOTHING_SENT) for role, each in uses.items()}


def dialogue_row(scored: ScoredDialogue, pieces: Callable[[Sequence[int]], list[str]]) -> dict[str, Any]:
    """A dialogue as `dialogues.jsonl` keeps it, with per-token log-probabilities of tutor and teacher.

    Args:
        scored: the dialogue.
        pieces: gives each of a tutor turn's tokens its own text.
    """
    dialogue = scored.dialogue
    return {
        "step": dialogue.step,
        "seed": dialogue.seed.id,
        "number": dialogue.number,
        "recording": dialogue.recording,
        "question": dialogue.seed.question,
        "expected_answer": dialogue.seed.expected_answer,
        "initial_error": dialogue.seed.initial_error,
        "student_profile": dialogue.seed.student_profile,
        "teachers": list(scored.teachers),
        "reward": scored.reward,
        "ending": dialogue.ending,
        "error": dialogue.error,
        "turns": [_turn_row(turn, i, scored, pieces) for i, turn in enumerate(dialogue.turns)],
    }


def answer_mask(tokens: Sequence[int], answer: str, decode: Decode) -> np.ndarray:
    """True for the tokens that spell the answer, `[T]`; found by where their characters stand."""
    mask = np.zeros(len(tokens), dtype=bool)
    spans = answer_spans(decode(tokens), answer)
    if spans:
        ends = [len(decode(tokens[: i + 1])) for i in range(len(tokens))]
        for i, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            mask[i] = any(start < span_stop and span_start < stop for span_start, span_stop in spans)
    return mask


def _request_tokens(scored: Sequence[ScoredDialogue]) -> dict[str, int]:
    """Tokens of the requests of a batch, by whose model read or sampled them, and those that the service had cached."""
    totals = dialogue_uses(scored)
    return (
        {f"prompt_tokens/{role}": use.sent for role, use in totals.items()}
        | {f"prompt_tokens/{role}_cached": use.cached for role, use in totals.items()}
        | {f"sampled_tokens/{role}": use.sampled for role, use in totals.items()}
    )


def _turn_row(
    turn: Turn, place: int, scored: ScoredDialogue, pieces: Callable[[Sequence[int]], list[str]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"role": turn.role, "text": turn.text, "stop_reason": turn.stop_reason}
    if turn.role == "tutor":
        row |= {"version": turn.version, "tokens": list(turn.tokens), "pieces": pieces(turn.tokens)}
        row |= {"tutor_logprobs": list(turn.logprobs)}
        if scored.tutor:
            row["tutor_logprobs"] = scored.tutor[place // 2].tolist()
        if scored.teacher:
            row["teacher_logprobs"] = scored.teacher[place // 2].tolist()
    return row
