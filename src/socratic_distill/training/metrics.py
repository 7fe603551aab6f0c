"""A step's figures, from its dialogues and its update. Pure.

Keys are fixed strings; `time/*` alone may differ between two runs of the same config.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from socratic_distill.config.teachers import SINGLE_TEACHER
from socratic_distill.dialogues.answers import contains_answer
from socratic_distill.dialogues.dialogue import Ending
from socratic_distill.distillation.objective import TrainingExample
from socratic_distill.distillation.rows import Decode, _request_tokens, answer_mask
from socratic_distill.distillation.scoring import ScoredDialogue


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


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None
