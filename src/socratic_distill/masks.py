"""Which of the tutor's tokens are trained on, and what a reply that was cut loses. Pure."""

import numpy as np
import numpy.typing as npt

from socratic_distill.config import SocraticConfig
from socratic_distill.dialogue import Turn


def trained(turn: Turn, config: SocraticConfig) -> npt.NDArray[np.bool_]:
    """Which tokens of a tutor turn are trained on, `[T]`.

    All are, the end-of-turn token too, but for

    - the `<think>` part, where `train_thinking` is False;
    - the first `skip_first_tokens` of those that this leaves: of the reply where the `<think>` part is left out, of the
      whole turn otherwise. A turn that is no longer has no trained token;
    - every token, where the reply was cut and `cut_replies` is "mask".
    """
    assert turn.role == "tutor", f"only the tutor is trained, this is a turn of the {turn.role}"
    mask = np.ones(len(turn.tokens), dtype=np.bool_)
    first = config.skip_first_tokens + (0 if config.train_thinking else turn.thought)
    mask[:first] = False
    if config.cut_replies == "mask" and _was_cut(turn):
        mask[:] = False
    return mask


def penalty(turn: Turn, config: SocraticConfig) -> float:
    """What to subtract from the advantage of each token of a tutor turn: `cut_penalty` where it was cut, else 0."""
    return config.cut_penalty if config.cut_replies == "penalize" and _was_cut(turn) else 0.0


def _was_cut(turn: Turn) -> bool:
    return turn.stop_reason == "length"
