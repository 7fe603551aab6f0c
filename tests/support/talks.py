"""Dialogues by hand, and a model that says what it is told to."""

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.support.chat_templates import PLAIN, CharacterTokenizer, ids
from tests.support.partial import Partial
from tinker.types import SampledSequence, SampleResponse

from socratic_distill import Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.distillation.scoring import ScoredDialogue

END = ids("<end>")


def talk(*texts: str, seed: str = "s", answer: str = "12", max_turns: int = 9, ending: Any = None) -> Dialogue:
    """A dialogue of these turns, the student's first; ended as they end it, or as `ending` says."""
    dialogue = Dialogue(Seed(seed, "What is 5 + 7?", answer, initial_error="5 + 7 = 11"), 0, 0)
    for text in texts:
        said = ids(text)
        turn = Turn(dialogue.speaker, text, (1,), said + END, said, (-1.0,) * (len(said) + 1), 0, "stop")
        dialogue = dialogue.add(turn, max_turns)
    return dialogue if ending is None else dialogue.end(ending, "it broke" if ending == "failed" else None)


def scored_dialogue(dialogue: Dialogue, gap: float = 0.5) -> ScoredDialogue:
    """The dialogue with the teacher's log-probabilities `gap` nats below the tutor's."""
    own = tuple(np.asarray(turn.logprobs) for turn in dialogue.tutor_turns)
    return ScoredDialogue(dialogue, tutor=own, teacher=tuple(one - gap for one in own))


class Voice(Partial):
    """A sampling client whose replies are a function of the prompt's text and the request's seed.

    A reply ends its turn unless it ends in "…", where it is cut. Prompts and seeds are kept.
    """

    def __init__(self, reply: Callable[[str, int], list[str] | str]) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self._reply = reply

    async def sample(self, prompt, num_samples, sampling_params):
        text = CharacterTokenizer(PLAIN).decode(prompt.to_ints())
        self.asked.append((text, sampling_params.seed, num_samples))
        replies = self._reply(text, sampling_params.seed)
        replies = [replies] * num_samples if isinstance(replies, str) else replies
        return SampleResponse(sequences=[_sequence(one) for one in replies])


def _sequence(reply: str) -> SampledSequence:
    cut = reply.endswith("…")
    tokens = ids(reply.removesuffix("…")) + (() if cut else END)
    return SampledSequence(
        stop_reason="length" if cut else "stop",
        sequence_id="0",
        tokens_np=np.asarray(tokens, np.int32),
        logprobs_np=np.zeros(len(tokens), np.float32),
    )
