"""The measures of a tutor's dialogues, from the dialogues and their scores alone. Pure.

What each measure is, and whose, is in `definitions.MEASURES`. Those of a judge model are in `judge`, those of the
student's solve rate in `solving`.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from socratic_distill.dialogues.answers import as_decimal, contains_answer
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.evaluation.definitions import ROUNDS
from socratic_distill.evaluation.intervals import Measure, Part, means
from socratic_distill.evaluation.mathdial import Matches, rounds
from socratic_distill.evaluation.repetition import repetition


def measure(scored: Sequence[ScoredDialogue]) -> dict[str, Measure]:
    """All measures that dialogues and scores give, each with its interval over the seeds.

    Failed dialogues have no part in any. A measure of which there is nothing, as `turns_to_solve` where nothing was
    solved, has the value None and the count 0.

    Args:
        scored: the dialogues of an evaluation, in any order.
    """
    whole = [one for one in scored if one.dialogue.ending != "failed"]
    dialogues = [one.dialogue for one in whole]
    return means(
        {
            **_mathdial(dialogues),
            **{name: [part for one in dialogues for part in of(one)] for name, of in _OF_DIALOGUE.items()},
            "teacher_kl": [part for one in whole for part in _teacher_kl(one)],
        }
    )


def leaks(dialogue: Dialogue) -> bool:
    """Whether a tutor turn holds the answer before any of the student's does."""
    answer = dialogue.seed.expected_answer
    first = next((turn for turn in dialogue.turns if contains_answer(turn.text, answer)), None)
    return first is not None and first.role == "tutor"


def _mathdial(dialogues: Sequence[Dialogue]) -> dict[str, list[Part]]:
    found = [(one.seed.id, Matches.of(rounds(one), as_decimal(one.seed.expected_answer))) for one in dialogues]
    return {
        **{f"mathdial/success@{k}": [Part(seed, float(one.success_at(k))) for seed, one in found] for k in ROUNDS},
        **{f"mathdial/telling@{k}": [Part(seed, float(one.telling_at(k))) for seed, one in found] for k in ROUNDS},
        "mathdial/turns_to_success": [
            Part(seed, one.turns_to_success) for seed, one in found if one.turns_to_success is not None
        ],
    }


def _solved(dialogue: Dialogue) -> Iterable[Part]:
    yield Part(dialogue.seed.id, float(dialogue.solved))


def _solved_untold(dialogue: Dialogue) -> Iterable[Part]:
    yield Part(dialogue.seed.id, float(dialogue.solved and not dialogue.told))


def _turns_to_solve(dialogue: Dialogue) -> Iterable[Part]:
    if dialogue.solved:
        yield Part(dialogue.seed.id, len(dialogue.tutor_turns))


def _asks(dialogue: Dialogue) -> Iterable[Part]:
    turns = dialogue.tutor_turns
    yield Part(dialogue.seed.id, sum("?" in turn.text for turn in turns), len(turns))


def _first_asks(dialogue: Dialogue) -> Iterable[Part]:
    for turn in dialogue.tutor_turns[:1]:
        yield Part(dialogue.seed.id, float("?" in turn.text))


def _first_tells(dialogue: Dialogue) -> Iterable[Part]:
    for turn in dialogue.tutor_turns[:1]:
        yield Part(dialogue.seed.id, float(contains_answer(turn.text, dialogue.seed.expected_answer)))


def _leaks(dialogue: Dialogue) -> Iterable[Part]:
    if dialogue.tutor_turns:
        yield Part(dialogue.seed.id, float(leaks(dialogue)))


def _reply_tokens(dialogue: Dialogue) -> Iterable[Part]:
    turns = dialogue.tutor_turns
    yield Part(dialogue.seed.id, sum(len(turn.tokens) for turn in turns), len(turns))


def _repetition(dialogue: Dialogue) -> Iterable[Part]:
    share = repetition(turn.text for turn in dialogue.tutor_turns)
    if share is not None:
        yield Part(dialogue.seed.id, share)


def _teacher_kl(scored: ScoredDialogue) -> Iterable[Part]:
    if scored.teacher:
        for tutor, teacher in zip(scored.tutor, scored.teacher, strict=True):
            yield Part(scored.dialogue.seed.id, float(np.sum(tutor - teacher)), len(tutor))


_OF_DIALOGUE: dict[str, Callable[[Dialogue], Iterable[Part]]] = {
    "solved": _solved,
    "solved/untold": _solved_untold,
    "turns_to_solve": _turns_to_solve,
    "asks": _asks,
    "first_reply/asks": _first_asks,
    "first_reply/tells": _first_tells,
    "leaks": _leaks,
    "reply_tokens": _reply_tokens,
    "repetition": _repetition,
}
