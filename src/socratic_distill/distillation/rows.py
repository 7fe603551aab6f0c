"""The row of `dialogues.jsonl`, and the tokens that a dialogue's requests used. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from socratic_distill.dialogues.answers import answer_spans
from socratic_distill.dialogues.dialogue import NOTHING_SENT, ModelRole, PromptUse, Turn
from socratic_distill.distillation.scoring import ScoredDialogue

Decode = Callable[[Sequence[int]], str]


def dialogue_uses(scored: Sequence[ScoredDialogue]) -> dict[ModelRole, PromptUse]:
    """The token use of some dialogues' requests, by the role of the model that answered them."""
    dialogues = [member.dialogue for member in scored]
    # The student opens: its turns have even indices, the tutor's odd ones.
    uses: dict[ModelRole, list[PromptUse]] = {
        "tutor": [turn.use for dialogue in dialogues for turn in dialogue.turns[1::2]]
        + [member.tutor_use for member in scored],
        "student": [turn.use for dialogue in dialogues for turn in dialogue.turns[::2]],
        "teacher": [member.use for member in scored],
    }
    return {role: sum(of_role, NOTHING_SENT) for role, of_role in uses.items()}


def dialogue_row(scored: ScoredDialogue, pieces: Callable[[Sequence[int]], list[str]]) -> dict[str, Any]:
    """A dialogue's row of `dialogues.jsonl`, with per-token log-probabilities of tutor and teacher.

    Args:
        scored: the dialogue.
        pieces: turns the tokens of a tutor turn into one text for each token.
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
    """True for the tokens that spell the answer, `[T]`; a token counts if its characters overlap the answer's."""
    mask = np.zeros(len(tokens), dtype=bool)
    spans = answer_spans(decode(tokens), answer)
    if spans:
        # Prefixes are decoded, not single tokens: a token alone may be half a character or lose its leading space.
        ends = [len(decode(tokens[: i + 1])) for i in range(len(tokens))]
        for i, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            mask[i] = any(start < span_stop and span_start < stop for span_start, span_stop in spans)
    return mask


def _request_tokens(scored: Sequence[ScoredDialogue]) -> dict[str, int]:
    """Metrics of a batch: tokens sent, cached by the service and sampled, by the role of the model."""
    totals = dialogue_uses(scored)
    return (
        {f"prompt_tokens/{role}": use.sent for role, use in totals.items()}
        | {f"prompt_tokens/{role}_cached": use.cached for role, use in totals.items()}
        | {f"sampled_tokens/{role}": use.sampled for role, use in totals.items()}
    )


def _turn_row(
    turn: Turn, index: int, scored: ScoredDialogue, pieces: Callable[[Sequence[int]], list[str]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"role": turn.role, "text": turn.text, "stop_reason": turn.stop_reason}
    if turn.role == "tutor":
        row |= {"version": turn.version, "tokens": list(turn.tokens), "pieces": pieces(turn.tokens)}
        row |= {"tutor_logprobs": list(turn.logprobs)}
        if scored.tutor:  # at temperature 1; differs from the sampler's own if the tutor sampled at another
            row["tutor_logprobs"] = scored.tutor[index // 2].tolist()  # turn i is tutor turn i // 2
        if scored.teacher:
            row["teacher_logprobs"] = scored.teacher[index // 2].tolist()
    return row
