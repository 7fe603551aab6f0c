"""A step's figures, from its dialogues and its update. Pure.

Keys are fixed strings; `time/*` alone may differ between two runs of the same config.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np

from socratic_distill.answers import answer_spans, contains_answer
from socratic_distill.costs import Role
from socratic_distill.dialogue import NOTHING_SENT, Ending, PromptUse, Turn
from socratic_distill.objective import TrainingExample
from socratic_distill.teacher import ScoredDialogue
from socratic_distill.teachers import SINGLE_TEACHER

Decode = Callable[[Sequence[int]], str]


def dialogue_metrics(scored: Sequence[ScoredDialogue], decode: Decode) -> dict[str, float | int | None]:
    """Figures of a batch's dialogues; None where there is nothing to take a mean of.

    Counts are of all dialogues; what the tutor did is told of those that it played, not of recorded ones.

    `teacher_kl` is the mean of log p_tutor - log p_teacher over the tutor's sampled tokens, nats a token:
    the sampled estimate of KL(tutor || teacher). `teacher_kl/answer` is the mean over the tokens that spell
    the expected answer alone, `teacher_kl/other` over the rest, and, where there are several teachers,
    `teacher_kl/teacher/<name>` over the dialogues that one scored.
    """
    played = [one for one in scored if one.dialogue.recording is None]
    every, dialogues = [one.dialogue for one in scored], [one.dialogue for one in played]
    endings = Counter(dialogue.ending for dialogue in every)
    tutor_turns = [turn for dialogue in dialogues for turn in dialogue.tutor_turns]
    firsts = [(d, d.tutor_turns[0]) for d in dialogues if d.tutor_turns]
    lengths = [len(turn.tokens) for turn in tutor_turns]
    return {
        **_teacher_kl(played, decode),
        "dialogues": len(every),
        "dialogues/recorded": len(every) - len(dialogues),
        "turns/tutor": sum(len(d.tutor_turns) for d in every),
        "tokens/tutor": sum(len(turn.tokens) for d in every for turn in d.tutor_turns),
        "tokens/student": sum(len(turn.tokens) for d in dialogues for turn in d.turns[::2]),
        **_request_tokens(scored),
        "reply_tokens/mean": _mean(lengths),
        "reply_tokens/max": max(lengths, default=0),
        "reply_cut": _mean([turn.stop_reason == "length" for turn in tutor_turns]),
        "first_reply/tells": _mean([contains_answer(turn.text, d.seed.expected_answer) for d, turn in firsts]),
        "first_reply/asks": _mean(["?" in turn.text for _, turn in firsts]),
        "solved": _mean([dialogue.solved for dialogue in dialogues]),
        "reward": _mean([one.reward for one in played if one.reward is not None]),
        **{f"end/{ending}": endings[ending] for ending in get_args(Ending)},
    }


def dialogue_uses(scored: Sequence[ScoredDialogue]) -> dict[Role, PromptUse]:
    """What the requests of some dialogues cost, by whose model they went to."""
    uses: dict[Role, list[PromptUse]] = {
        "tutor": [turn.use for one in scored for turn in one.dialogue.turns[1::2]] + [one.tutor_use for one in scored],
        "student": [turn.use for one in scored for turn in one.dialogue.turns[::2]],
        "teacher": [one.use for one in scored],
    }
    return {role: sum(each, NOTHING_SENT) for role, each in uses.items()}


def update_metrics(
    examples: Sequence[TrainingExample], logprobs: Sequence[np.ndarray], service: dict[str, float]
) -> dict[str, float | int | None]:
    """Figures of a training step; None where it had no examples.

    `drift/*` is |trainer - sampler| log-probability of the tutor's tokens, nats: what the two sides of the
    service disagree on for the same weights.
    """
    drift = [
        np.abs((now if now.ndim == 1 else now[:, 0])[example.mask] - example.sampled[example.mask])
        for now, example in zip(logprobs, examples, strict=True)
        if example.sampled is not None
    ]
    flat = np.concatenate(drift) if drift else np.zeros(0)
    return {
        "datums": len(examples),
        "tokens/trained": sum(len(example.mask) for example in examples),
        "drift/mean": _mean(flat),
        "drift/max": float(flat.max()) if len(flat) else None,
        **{f"service/{name}": value for name, value in sorted(service.items())},
    }


def staleness_metrics(scored: Sequence[ScoredDialogue], version: int) -> dict[str, float | int | None]:
    """Optimizer steps between the weights that sampled a tutor's token and those that it trains, over the tokens.

    Args:
        scored: the batch.
        version: of the weights that it trains.
    """
    turns = [turn for one in scored if one.tutor for turn in one.dialogue.tutor_turns]
    tokens = sum(len(turn.tokens) for turn in turns)
    ages = [version - turn.version for turn in turns]
    return {
        "staleness/mean": sum(a * len(t.tokens) for a, t in zip(ages, turns, strict=True)) / tokens if tokens else None,
        "staleness/max": max(ages, default=None),
    }


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


def _teacher_kl(scored: Sequence[ScoredDialogue], decode: Decode) -> dict[str, float | None]:
    gaps, spells = [], []
    by_teacher: dict[str, list[np.ndarray]] = {}
    for one in scored:
        turns = zip(one.tutor, one.teacher, one.dialogue.tutor_turns, strict=True) if one.teacher else ()
        for tutor, teacher, turn in turns:
            gaps.append(tutor - teacher)
            spells.append(answer_mask(turn.tokens, one.dialogue.seed.expected_answer, decode))
            by_teacher.setdefault("+".join(one.teachers), []).append(gaps[-1])
    gap = np.concatenate(gaps) if gaps else np.zeros(0)
    spell = np.concatenate(spells) if spells else np.zeros(0, dtype=bool)
    several = {f"teacher_kl/teacher/{name}": _mean(np.concatenate(each)) for name, each in sorted(by_teacher.items())}
    return {
        "teacher_kl": _mean(gap),
        "teacher_kl/answer": _mean(gap[spell]),
        "teacher_kl/other": _mean(gap[~spell]),
        **({} if by_teacher.keys() <= {SINGLE_TEACHER, ""} else several),
    }


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


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None
