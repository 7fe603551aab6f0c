"""The metrics of a step, from its dialogues and its update. Pure.

Keys are fixed strings. Only `time/*` and `memory/*` may differ between two runs of the same config.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np

from socratic_distill.config.objectives import Direction
from socratic_distill.config.teachers import SINGLE_TEACHER
from socratic_distill.dialogues.answers.kinds import rule_of
from socratic_distill.dialogues.dialogue import RECORDED, Ending, says_answer
from socratic_distill.dialogues.rewards import Rewarded
from socratic_distill.dialogues.seed import BY_VERDICT, Seed
from socratic_distill.distillation.objective import TrainingExample
from socratic_distill.distillation.rows import dialogue_uses
from socratic_distill.distillation.scoring import ScoredDialogue

Decode = Callable[[Sequence[int]], str]


def dialogue_metrics(scored: Sequence[ScoredDialogue], decode: Decode) -> dict[str, float | int | None]:
    """Metrics of a batch's dialogues; a mean over nothing is None.

    Counts cover all dialogues. Measures of the tutor cover the dialogues that it played, not recorded ones.

    `teacher_kl` is the mean of log p_tutor - log p_teacher over the tutor's sampled tokens, nats a token: the sampled
    estimate of KL(tutor || teacher). `teacher_kl/answer` is the mean over the tokens that spell the expected answer,
    `teacher_kl/other` over all others. With several teachers, `teacher_kl/teacher/<name>` is the mean over the
    dialogues that this teacher scored. Of several students each has `dialogues/student/<name>`, and `solved`, `told`
    (shares of its dialogues) and `reward` likewise. `reward/<name>` is the mean of one reward over the dialogues that
    have it, `reward/<name>/unparsed` counts those without a verdict of this judge, and `reward_vetoed` is the share of
    dialogues that a veto rejects. With token weights, `token_weights/mean` is their mean over the trained tokens, and
    `token_weights/zero` the share of tokens with weight 0; where forward divergences have weights of their own,
    `forward_token_weights/mean` and `/zero` are theirs.
    """
    # A recorded tutor is not ours: its turns would measure whoever wrote them.
    played = [entry for entry in scored if entry.dialogue.recording is None]
    every, dialogues = [entry.dialogue for entry in scored], [entry.dialogue for entry in played]
    endings = Counter(dialogue.ending for dialogue in every)
    spoken = [turn for dialogue in dialogues for turn in dialogue.tutor_turns]
    tutor_turns = [turn for turn in spoken if not turn.by]
    firsts = [(d, d.tutor_turns[0]) for d in dialogues if d.tutor_turns and not d.tutor_turns[0].by]
    lengths = [len(turn.tokens) for turn in tutor_turns]
    return {
        **_teacher_kl(played, decode),
        "dialogues": len(every),
        "dialogues/recorded": len(every) - len(dialogues),
        **({"dialogues/scores_reused": reused} if (reused := sum(entry.is_reused for entry in scored)) else {}),
        **({"dialogues/begun": begun} if (begun := sum(d.begun is not None for d in every)) else {}),
        "turns/tutor": sum(len(d.tutor_turns) for d in every),
        **(
            {"turns/teacher": by_teacher}
            if (by_teacher := sum(turn.by not in ("", RECORDED) for turn in spoken))
            else {}
        ),
        "tokens/tutor": sum(len(turn.tokens) for d in every for turn in d.tutor_turns),
        "tokens/student": sum(len(turn.tokens) or turn.use.sampled for d in dialogues for turn in d.student_turns),
        **_request_tokens(scored),
        "reply_tokens/mean": _mean(lengths),
        "reply_tokens/max": max(lengths, default=0),
        "reply_cut": _mean([turn.stop_reason == "length" for turn in tutor_turns]),
        "first_reply/tells": _mean([says_answer(turn, d.seed) is True for d, turn in firsts if d.seed.is_checkable]),
        "first_reply/asks": _mean(["?" in turn.text for _, turn in firsts]),
        "solved": _mean([dialogue.solved for dialogue in dialogues if dialogue.seed.is_checkable]),
        "reward": _mean([entry.reward for entry in played if entry.reward is not None]),
        **_rewards([entry.rewarded for entry in played if entry.rewarded is not None]),
        **_token_weights(played),
        **_by_student(played),
        **{f"end/{ending}": endings[ending] for ending in get_args(Ending)},
    }


def _rewards(rewarded: Sequence[Rewarded]) -> dict[str, float | int | None]:
    """The mean of each reward; nothing without rewards."""
    metrics: dict[str, float | int | None] = {}
    for name in rewarded[0].values if rewarded else ():
        metrics[f"reward/{name}"] = _mean([value for entry in rewarded if (value := entry.values[name]) is not None])
    for name in rewarded[0].unparsed if rewarded else ():
        metrics[f"reward/{name}/unparsed"] = sum(entry.unparsed[name] for entry in rewarded)
    vetoed = [entry.is_rejected for entry in rewarded if entry.is_rejected is not None]
    return metrics | ({"reward_vetoed": _mean(vetoed)} if vetoed else {})


def _token_weights(played: Sequence[ScoredDialogue]) -> dict[str, float | int | None]:
    """Mean of the token weights and share of those that are 0; nothing without weights."""
    metrics: dict[str, float | int | None] = {}
    weights = [entry.weights for entry in played if entry.weights is not None]
    names: dict[str, Direction] = {"token_weights": "reverse"} if weights else {}
    if any(own.forward is not None for own in weights):
        names["forward_token_weights"] = "forward"
    for name, direction in names.items():
        turns = [pair for own in weights for pair in zip(own.of(direction), own.trained, strict=True)]
        flat = np.concatenate([values[mask] for values, mask in turns])
        metrics |= {f"{name}/mean": _mean(flat), f"{name}/zero": _mean(flat == 0.0)}
    return metrics


def _by_student(played: Sequence[ScoredDialogue]) -> dict[str, float | int | None]:
    """How the dialogues of each student went; nothing where there is only one."""
    metrics: dict[str, float | int | None] = {}
    for name in sorted({entry.dialogue.student for entry in played} - {""}):
        own = [entry for entry in played if entry.dialogue.student == name]
        dialogues = [entry.dialogue for entry in own]
        metrics |= {
            f"dialogues/student/{name}": len(own),
            f"solved/student/{name}": _mean([d.solved for d in dialogues if d.seed.is_checkable]),
            f"told/student/{name}": _mean([d.told for d in dialogues if d.seed.is_checkable]),
            f"reward/student/{name}": _mean([entry.reward for entry in own if entry.reward is not None]),
        }
    return metrics


def update_metrics(
    examples: Sequence[TrainingExample], logprobs: Sequence[np.ndarray], service: dict[str, float]
) -> dict[str, float | int | None]:
    """Metrics of a training step; None where it had no examples.

    `drift/*` is |trainer - sampler| log-probability of the tutor's tokens, nats: how far the two sides of the service
    disagree about the same weights. Tokens that older weights sampled add the change since then. Tokens that moved too
    far to be trained on are not in it; `trust_region/masked` is their share, given if there is such a bound.
    """
    drift = [  # column 0 of a soft example is the sampled token
        np.abs((now if now.ndim == 1 else now[:, 0])[example.mask] - example.sampled[example.mask])
        for now, example in zip(logprobs, examples, strict=True)
        if example.sampled is not None
    ]
    flat = np.concatenate(drift) if drift else np.zeros(0)
    bounded = [(example.left_out, int(example.mask.sum())) for example in examples if example.left_out is not None]
    masked, trained = sum(left_out for left_out, _ in bounded), sum(kept for _, kept in bounded)
    return {
        "datums": len(examples),
        "tokens/trained": sum(len(example.mask) for example in examples),
        "drift/mean": _mean(flat),
        "drift/max": float(flat.max()) if len(flat) else None,
        **({"trust_region/masked": masked / (masked + trained)} if bounded else {}),
        **{f"service/{name}": value for name, value in sorted(service.items())},
    }


def staleness_metrics(scored: Sequence[ScoredDialogue], version: int) -> dict[str, float | int | None]:
    """Optimizer steps between the weights that sampled a tutor's token and those that the batch trains, over tokens.

    Args:
        scored: the batch.
        version: of the weights that it trains.
    """
    turns = [turn for entry in scored if entry.tutor for turn in entry.dialogue.tutor_turns if not turn.by]
    tokens = sum(len(turn.tokens) for turn in turns)
    ages = [version - turn.version for turn in turns]  # one a turn: its tokens were sampled by one request
    return {
        "staleness/mean": sum(a * len(t.tokens) for a, t in zip(ages, turns, strict=True)) / tokens if tokens else None,
        "staleness/max": max(ages, default=None),
    }


def answer_mask(tokens: Sequence[int], seed: Seed, decode: Decode) -> np.ndarray:
    """True for the tokens that spell the answer, `[T]`; a token counts if its characters overlap the answer's."""
    mask = np.zeros(len(tokens), dtype=bool)
    spans = [] if seed.answer_kind in BY_VERDICT else rule_of(seed).spans(decode(tokens), seed)
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


def _teacher_kl(scored: Sequence[ScoredDialogue], decode: Decode) -> dict[str, float | None]:
    gaps, spells = [], []
    by_teacher: dict[str, list[np.ndarray]] = {}
    for entry in scored:
        seed, turns = entry.dialogue.seed, entry.dialogue.tutor_turns
        for tutor, teacher, turn in zip(entry.tutor, entry.of_teacher, turns, strict=True) if entry.teacher else ():
            if turn.by:  # the tutor did not say it
                continue
            gaps.append(tutor[: len(teacher)] - teacher)  # [n], the tokens that the teacher scored
            spells.append(answer_mask(turn.tokens, seed, decode)[: len(teacher)])
            by_teacher.setdefault("+".join(entry.teachers), []).append(gaps[-1])
    gap = np.concatenate(gaps) if gaps else np.zeros(0)
    spell = np.concatenate(spells) if spells else np.zeros(0, dtype=bool)
    several = {f"teacher_kl/teacher/{name}": _mean(np.concatenate(by_teacher[name])) for name in sorted(by_teacher)}
    return {
        "teacher_kl": _mean(gap),
        "teacher_kl/answer": _mean(gap[spell]),
        "teacher_kl/other": _mean(gap[~spell]),
        **({} if by_teacher.keys() <= {SINGLE_TEACHER, ""} else several),
    }


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None
