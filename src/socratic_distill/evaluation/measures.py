"""The measures that need only a tutor's dialogues and their scores. Pure.

`definitions.MEASURES` defines each measure and names its source. `judge` has the measures of a judge model, `solving`
those of the student's solve rate.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from socratic_distill.dialogues.answers.numbers import as_decimal
from socratic_distill.dialogues.dialogue import Dialogue, says_answer
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.evaluation.definitions import OF_STUDENT, ROUNDS
from socratic_distill.evaluation.intervals import Part
from socratic_distill.evaluation.mathdial import Matches, rounds
from socratic_distill.evaluation.repetition import repetition


def parts_of(scored: Sequence[ScoredDialogue]) -> dict[str, list[Part]]:
    """The numbers whose means are the measures of dialogues and scores; a mean's clusters are the seeds.

    Failed dialogues are left out. A measure without values, such as `turns_to_solve` if nothing was solved, has none.
    With several students each measure is also there for each of them, as `solved/student/<name>`.

    Args:
        scored: the dialogues of an evaluation, in any order.
    """
    complete = [scores for scores in scored if scores.dialogue.ending != "failed"]
    students = sorted({scores.dialogue.student for scores in complete} - {""})
    parts = _parts(complete)
    for student in students if len(students) > 1 else ():
        own = _parts([scores for scores in complete if scores.dialogue.student == student])
        parts |= {f"{name}{OF_STUDENT}{student}": of_student for name, of_student in own.items()}
    return parts


def _parts(complete: Sequence[ScoredDialogue]) -> dict[str, list[Part]]:
    """Each measure's numbers, by dialogue."""
    dialogues = [scores.dialogue for scores in complete]
    return {
        **_mathdial(dialogues),
        **{
            name: [part for dialogue in dialogues for part in of_dialogue(dialogue)]
            for name, of_dialogue in _OF_DIALOGUE.items()
        },
        "teacher_kl": [part for scores in complete for part in _teacher_kl(scores)],
    }


def leaks(dialogue: Dialogue) -> bool:
    """Whether a tutor turn holds the answer before any student turn does."""
    first = next((turn for turn in dialogue.turns if says_answer(turn, dialogue.seed)), None)
    return first is not None and first.role == "tutor"


def _mathdial(dialogues: Sequence[Dialogue]) -> dict[str, list[Part]]:
    matches = [
        (dialogue.seed.id, Matches.of(rounds(dialogue), as_decimal(dialogue.seed.expected_answer)))
        for dialogue in dialogues
        if dialogue.seed.answer_kind == "number"  # it reads nothing else
    ]
    return {
        **{f"mathdial/success@{k}": [Part(seed, float(hit.success_at(k))) for seed, hit in matches] for k in ROUNDS},
        **{f"mathdial/telling@{k}": [Part(seed, float(hit.telling_at(k))) for seed, hit in matches] for k in ROUNDS},
        "mathdial/turns_to_success": [
            Part(seed, hit.turns_to_success) for seed, hit in matches if hit.turns_to_success is not None
        ],
    }


def _solved(dialogue: Dialogue) -> Iterable[Part]:
    if dialogue.seed.is_checkable:
        yield Part(dialogue.seed.id, float(dialogue.solved))


def _solved_untold(dialogue: Dialogue) -> Iterable[Part]:
    if dialogue.seed.is_checkable:
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
    for turn in dialogue.tutor_turns[:1] if dialogue.seed.is_checkable else ():
        yield Part(dialogue.seed.id, float(says_answer(turn, dialogue.seed) is True))


def _leaks(dialogue: Dialogue) -> Iterable[Part]:
    if dialogue.tutor_turns and dialogue.seed.is_checkable:
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
