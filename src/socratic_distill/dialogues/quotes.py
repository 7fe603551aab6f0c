"""What a teacher's prompt may quote of what came after the turn that is scored, and of other dialogues. Pure.

Only a teacher's prompt may hold these variables: tutor and student speak before it is known.
"""

from dataclasses import asdict, dataclass

# Differs from turn to turn, so that each turn needs a prompt of its own.
OF_TURN = "next_student_turn"
# Known once the dialogue has ended.
OUTCOME = "outcome"
# Known once every dialogue of the group has ended.
PEER = "peer_dialogue"
QUOTES = (OF_TURN, OUTCOME, PEER)


@dataclass(frozen=True)
class Quotes:
    """The texts that stand in the place of the variables; the defaults are for what is not there.

    Attributes:
        next_student_turn: what the student answered to the turn that is scored.
        outcome: how the dialogue ended, in words.
        peer_dialogue: a solved dialogue of the same group.
    """

    next_student_turn: str = "(The student has not answered.)"
    outcome: str = "The dialogue has not ended."
    peer_dialogue: str = "(There is no solved dialogue on this problem.)"

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """The texts by variable."""
        return tuple(asdict(self).items())


NOTHING_QUOTED = Quotes()
