"""What the objective and the token weights need to know about each of the tutor's tokens. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from socratic_distill.config.objectives import Feature, ObjectiveKind
from socratic_distill.config.token_weights import TokenWeight


@dataclass(frozen=True)
class Wanted:
    """What is asked about each of the tutor's tokens.

    Attributes:
        teacher: whether a teacher scores the dialogue.
        tutor_top: number of the tutor's likeliest tokens at each position, scored by the teacher.
        teacher_top: number of the teacher's likeliest tokens at each position.
        draws: number of tokens drawn from the tutor at each position, scored by the teacher.
        entropy_top: number of the tutor's likeliest tokens from which its entropy is computed.
    """

    teacher: bool = True
    tutor_top: int = 0
    teacher_top: int = 0
    draws: int = 0
    entropy_top: int = 0

    @classmethod
    def of(cls, objective: ObjectiveKind, weights: Sequence[TokenWeight] = ()) -> "Wanted":
        """What an objective and the weights of its tokens need."""
        return cls(
            objective.asks_teacher,
            objective.tutor_top,
            max([objective.teacher_top, *(weight.teacher_entropy_top for weight in weights)]),
            objective.draws,
            max((weight.tutor_entropy_top for weight in weights), default=0),
        )

    def reply_top(self, temperature: float) -> int:
        """Number of the tutor's likeliest tokens that are asked for with its replies.

        Args:
            temperature: at another one than 1 those for its entropy are asked for when its tokens are scored again.
        """
        return max(self.tutor_top, self.entropy_top) if temperature == 1.0 else self.tutor_top


def features_of_weights(weights: Sequence[TokenWeight], temperature: float) -> dict[str, frozenset[Feature]]:
    """The server features that token weights need of played dialogues, by their kind.

    Args:
        weights: of the config.
        temperature: at another one than 1 the tutor's entropy is scored again.
    """
    of_tutor: Feature = "topk_sample_logprobs" if temperature == 1.0 else "topk_prompt_logprobs"
    needs: dict[str, frozenset[Feature]] = {}
    for weight in weights:
        needed: dict[Feature, bool] = {of_tutor: bool(weight.tutor_entropy_top)}
        if weight.teacher_entropy_top:
            needed["topk_prompt_logprobs"] = True
        needs[weight.kind] = frozenset(feature for feature, is_needed in needed.items() if is_needed)
    return needs
