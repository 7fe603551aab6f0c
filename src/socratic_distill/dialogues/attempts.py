"""The student's own attempts at a problem: before a dialogue, and after it with the dialogue in its context.

As in PedagogicalRL (Dinucu-Jianu et al., EMNLP 2025), the share of right attempts says what the student can do alone.
Before the dialogue it gets the prompt that opens dialogues, with its mistake if its seed has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.dialogue import NOTHING_SENT, Dialogue, Message, PromptUse, is_right
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed


@dataclass(frozen=True)
class Attempts:
    """Some attempts of the student at one problem.

    Attributes:
        right: share of them that are right; None if none was made: the context has no room for them, or the dialogue
            has no turns.
        use: cost of the student's requests.
        judged: cost of a judge's verdicts on them, if the answer needs verdicts.
    """

    right: float | None = None
    use: PromptUse = NOTHING_SENT
    judged: PromptUse = NOTHING_SENT


async def attempts_before(dialogue: Dialogue, cast: Cast, count: int) -> Attempts:
    """The student tries the problem `count` times before a dialogue, whose turns it does not see.

    Raises what a failed request raises.
    """
    unplayed = replace(dialogue, turns=())
    return await _attempts(unplayed, _view(unplayed, cast), cast, count, "before")


async def attempts_after(dialogue: Dialogue, cast: Cast, count: int) -> Attempts:
    """The student tries the problem `count` times with the dialogue in its context.

    Raises what a failed request raises.
    """
    if not dialogue.turns:
        return Attempts()
    is_number = dialogue.seed.answer_kind == "number"
    question = read_prompt(None, "student_final.txt" if is_number else "student_final_words.txt")
    return await _attempts(dialogue, final_messages(_view(dialogue, cast), question), cast, count, "after")


def final_messages(view: Sequence[Message], question: str) -> list[Message]:
    """The student's view of a dialogue, with the question for its answer.

    If the tutor spoke last, the question is added to its message, because templates need the sides to alternate.
    """
    *before, last = view
    if last.role == "user":
        return [*before, Message("user", f"{last.text}\n\n{question}")]
    return [*view, Message("user", question)]


def _view(dialogue: Dialogue, cast: Cast) -> list[Message]:
    return cast.students.of(dialogue).view(dialogue)


async def _attempts(dialogue: Dialogue, messages: Sequence[Message], cast: Cast, count: int, when: str) -> Attempts:
    seed = stable_seed(cast.seed, dialogue.step, dialogue.seed.id, dialogue.number, when)
    turns = await cast.students.of(dialogue).speaker.reply(messages, seed, count, cast.max_context)
    if turns is None:
        return Attempts()
    turns = await cast.judged(turns, dialogue)
    return Attempts(
        sum(is_right(turn, dialogue.seed) for turn in turns) / count,
        sum((turn.use for turn in turns), NOTHING_SENT),
        sum((turn.judged for turn in turns), NOTHING_SENT),
    )
