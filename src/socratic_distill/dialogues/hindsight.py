"""What a teacher learns with hindsight: how the student took a turn, and how this and another dialogue ended. Pure.

As in SDPO (2026, arXiv:2601.20802) and hindsight distillation (2026, arXiv:2605.17873), the teacher scores a turn
knowing what came of it. The tutor never does.
"""

from collections.abc import Sequence

from socratic_distill.dialogues.dialogue import Dialogue, gives_answer
from socratic_distill.dialogues.quotes import NOTHING_QUOTED, Quotes


def quotes_for(dialogue: Dialogue, index: int, peer: Dialogue | None) -> Quotes:
    """What a teacher's prompt may quote for one tutor turn.

    Args:
        dialogue: the whole dialogue.
        index: of the turn among its turns.
        peer: a solved dialogue of its group; None: there is none.
    """
    after = dialogue.turns[index + 1 : index + 2]
    return Quotes(
        after[0].text if after else NOTHING_QUOTED.next_student_turn,
        outcome_in_words(dialogue),
        NOTHING_QUOTED.peer_dialogue if peer is None else as_text(peer),
    )


def outcome_in_words(dialogue: Dialogue) -> str:
    """How a dialogue ended, as a sentence for a prompt."""
    if not dialogue.seed.is_checkable:
        return "It is not known whether the student solved the problem."
    # A recording ends as it ends; whether it is solved shows in its turns.
    solved = dialogue.solved or (
        dialogue.ending == "recorded" and any(gives_answer(turn, dialogue.seed) for turn in dialogue.student_turns)
    )
    if dialogue.told:
        return f"The tutor told the answer, and the student {'gave' if solved else 'did not give'} it."
    return f"The student {'solved' if solved else 'did not solve'} the problem; the tutor did not tell the answer."


def peer_of(dialogue: Dialogue, group: Sequence[Dialogue]) -> Dialogue | None:
    """The dialogue of a group that a teacher may read when it scores another one.

    It is solved, the tutor did not tell the answer, and its number is the next one after the dialogue's own; after the
    last comes the first.

    Args:
        dialogue: the one that is scored.
        group: all dialogues of its group, ended.
    """
    others = [other for other in group if other.number != dialogue.number and other.solved and not other.told]
    return min(others, key=lambda other: (other.number < dialogue.number, other.number), default=None)


def as_text(dialogue: Dialogue) -> str:
    """The turns as text, one a line."""
    return "\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in dialogue.turns)
