"""The row of `dialogues.jsonl`, and the tokens that a dialogue's requests used. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from socratic_distill.dialogues.dialogue import NOTHING_SENT, SOLVED, ModelRole, PromptUse, Turn, gives_answer
from socratic_distill.dialogues.seed import Seed
from socratic_distill.distillation.scoring import ScoredDialogue


def dialogue_uses(scored: Sequence[ScoredDialogue]) -> dict[ModelRole, PromptUse]:
    """The token use of some dialogues' requests, by the role of the model that answered them."""
    dialogues = [member.dialogue for member in scored]
    rewards = [member.rewarded for member in scored if member.rewarded is not None]
    uses: dict[ModelRole, list[PromptUse]] = {
        "tutor": [turn.use for dialogue in dialogues for turn in dialogue.tutor_turns if not turn.by]
        + [member.tutor_use for member in scored],
        "student": [turn.use for dialogue in dialogues for turn in dialogue.student_turns]
        + [rewarded.student for rewarded in rewards],
        "teacher": [turn.use for dialogue in dialogues for turn in dialogue.tutor_turns if turn.by]
        + [member.use for member in scored],
    }
    judged = [turn.judged for dialogue in dialogues for turn in dialogue.turns]
    judged += [rewarded.judge for rewarded in rewards]
    if judged := [use for use in judged if use != NOTHING_SENT]:
        uses["judge"] = judged
    return {role: sum(of_role, NOTHING_SENT) for role, of_role in uses.items()}


def dialogue_row(
    scored: ScoredDialogue, pieces: Callable[[Sequence[int]], list[str]], with_top: bool = False
) -> dict[str, Any]:
    """A dialogue's row of `dialogues.jsonl`, with per-token log-probabilities of tutor and teacher, and weights.

    Args:
        scored: the dialogue.
        pieces: turns the tokens of a tutor turn into one text for each token.
        with_top: whether the teacher's likeliest tokens are part of it, if they were asked for.
    """
    dialogue = scored.dialogue
    return {
        "step": dialogue.step,
        "seed": dialogue.seed.id,
        "number": dialogue.number,
        "recording": dialogue.recording,
        **({} if dialogue.begun is None else {"begun": dialogue.begun}),
        "question": dialogue.seed.question,
        "expected_answer": dialogue.seed.expected_answer,
        **_of_answer(dialogue.seed),
        "initial_error": dialogue.seed.initial_error,
        "student_profile": dialogue.seed.student_profile,
        **({"student": dialogue.student} if dialogue.student else {}),
        "teachers": list(scored.teachers),
        "reward": scored.reward,
        **({} if scored.rewarded is None else {"rewards": dict(scored.rewarded.values)}),
        "ending": dialogue.ending,
        **({"solved": True} if dialogue.solved and dialogue.ending not in SOLVED else {}),
        "error": dialogue.error,
        "turns": [
            _turn_row(turn, dialogue.turns[:i], scored, pieces, with_top) for i, turn in enumerate(dialogue.turns)
        ],
    }


def _of_answer(seed: Seed) -> dict[str, Any]:
    """What says how a seed's answer is compared; nothing for a number."""
    if seed.answer_kind == "number":
        return {}
    lists = {"choices": list(seed.choices), "accepted_answers": list(seed.accepted_answers)}
    return {"answer_kind": seed.answer_kind, **{key: values for key, values in lists.items() if values}}


def _turn_row(
    turn: Turn,
    before: Sequence[Turn],
    scored: ScoredDialogue,
    pieces: Callable[[Sequence[int]], list[str]],
    with_top: bool,
) -> dict[str, Any]:
    row: dict[str, Any] = {"role": turn.role, "text": turn.text, "stop_reason": turn.stop_reason}
    if scored.dialogue.seed.answer_kind != "number":
        row["gives_answer"] = gives_answer(turn, scored.dialogue.seed)
    if turn.role == "tutor":
        index = sum(earlier.role == "tutor" for earlier in before)
        row |= {"by": turn.by} if turn.by else {}
        row |= {"version": turn.version, "tokens": list(turn.tokens), "pieces": pieces(turn.tokens)}
        row |= {"tutor_logprobs": list(turn.logprobs)}
        if scored.tutor:  # at temperature 1; differs from the sampler's own if the tutor sampled at another
            row["tutor_logprobs"] = scored.tutor[index].tolist()
        if scored.teacher:
            row |= _of_teacher(scored, index, len(turn.tokens), with_top)
        if scored.weights is not None:
            row["weights"] = scored.weights.of("reverse")[index].tolist()
            if scored.weights.forward is not None:
                row["forward_weights"] = scored.weights.forward[index].tolist()
    return row


def _of_teacher(scored: ScoredDialogue, index: int, count: int, with_top: bool) -> dict[str, Any]:
    """The scores of one of the tutor's turns; None at tokens without one."""
    known = scored.of_teacher[index].tolist()
    row: dict[str, Any] = {"teacher_logprobs": [*known, *[None] * (count - len(known))]}
    if scored.digests and scored.dialogue.recording is None and len(known) == count:
        row["scored_as"] = scored.digests[index]
        if with_top and scored.top_of_teacher:
            named = scored.top_of_teacher[index]
            rows = zip(named.ids.tolist(), named.logprobs.tolist(), strict=True)
            row["teacher_top"] = [list(map(list, zip(*pair, strict=True))) for pair in rows]
    return row
