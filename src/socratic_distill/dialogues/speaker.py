"""One side of a dialogue: samples its turns from a model of the service."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from socratic_distill.dialogues.dialogue import NOTHING_SENT, Message, PromptUse, Role, Turn
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.errors import RolloutError
from socratic_distill.service.interface import SamplingClient
from socratic_distill.service.numbers import explain_bad, first_bad

if TYPE_CHECKING:
    import tinker

# Start of a dialogue's error if the service returned invalid log-probabilities, as from weights that are not finite.
TUTOR_INVALID = "the log-probability of the tutor's token"


@dataclass(frozen=True)
class Speaker:
    """One side of the dialogue: a sampling client, its renderer and its sampling parameters.

    Attributes:
        role: tutor or student.
        client: a Tinker sampling client; None: this side is never asked to speak.
        renderer: messages to tokens for the client's model.
        max_tokens: length limit of a turn, in tokens.
        temperature: sampling temperature.
        version: optimizer steps that led to the client's weights; 0 for a frozen model.
        top: number of likeliest tokens requested at each position of a turn.
        top_p: share of the probability that is sampled from.
        on_use: called with the cost of each request; None: no call.
    """

    role: Role
    client: SamplingClient | None
    renderer: Renderer
    max_tokens: int
    temperature: float
    version: int = 0
    top: int = 0
    top_p: float = 1.0
    on_use: Callable[[PromptUse], None] | None = None

    async def reply(self, messages: Sequence[Message], seed: int, count: int, limit: int | None) -> list[Turn] | None:
        """Samples `count` turns that follow some messages; None if a context of `limit` tokens has no room for them."""
        prompt = self.renderer.prompt(messages)
        if limit is not None and len(prompt) + self.max_tokens > limit:
            return None
        return await self.speak(prompt, seed, count)

    async def speak(self, prompt: tuple[int, ...], seed: int, count: int = 1) -> list[Turn]:
        """Samples `count` turns on one prompt."""
        from tinker import ModelInput, SamplingParams

        assert self.client is not None, f"the {self.role} was opened without a client"
        # Sent only where it matters: a server without it may refuse the field itself.
        options: dict[str, Any] = {} if self.top_p == 1.0 else {"top_p": self.top_p}
        params = SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=seed,
            stop=list(self.renderer.end_tokens),
            **options,
        )
        now = asyncio.get_running_loop().time
        began = now()
        # Passed only if needed: a server without the feature may refuse the keyword itself.
        features: dict[str, Any] = {"topk_sample_logprobs": self.top} if self.top else {}
        response = await self.client.sample(ModelInput.from_ints(list(prompt)), count, params, **features)
        sampled, span = sum(len(sequence.tokens) for sequence in response.sequences), (began, now())
        use = PromptUse(len(prompt), response.prompt_cache_hit_tokens, sampled)
        if self.on_use is not None:
            self.on_use(use)
        # The turns of one request share its prompt, so the whole cost is counted at the first turn.
        uses = [use, *[NOTHING_SENT] * (count - 1)]
        return [self._turn(prompt, sequence, use, span) for sequence, use in zip(response.sequences, uses, strict=True)]

    def _turn(
        self, prompt: tuple[int, ...], sequence: "tinker.SampledSequence", use: PromptUse, span: tuple[float, float]
    ) -> Turn:
        tokens, logprobs = tuple(sequence.tokens), sequence.logprobs
        if logprobs is None or len(logprobs) != len(tokens):
            count = "none" if logprobs is None else str(len(logprobs))
            raise RolloutError(f"the service sampled {len(tokens)} tokens with {count} log-probabilities")
        # The student's log-probabilities are not used, so they are not checked.
        if self.role == "tutor" and (bad := first_bad(np.asarray(logprobs, np.float64))) is not None:
            raise RolloutError(f"{TUTOR_INVALID} {bad[0]} is {explain_bad(logprobs[bad[0]])}")
        likeliest = self._likeliest(sequence) if self.top else []
        if sequence.stop_reason == "stop":
            own = self.renderer.own_length(tokens)
            tokens, logprobs, likeliest = tokens[:own], logprobs[:own], likeliest[:own]
        return Turn(
            role=self.role,
            text=self.renderer.visible_text(tokens),
            prompt=prompt,
            tokens=tokens,
            history=self.renderer.history(tokens),
            logprobs=tuple(logprobs),
            version=self.version,
            stop_reason=sequence.stop_reason,
            thought=self.renderer.thought(tokens),
            likeliest=tuple(tuple(token for token, _ in row) for row in likeliest),
            likeliest_logprobs=tuple(tuple(logprob for _, logprob in row) for row in likeliest),
            use=use,
            span=span,
        )

    def _likeliest(self, sequence: "tinker.SampledSequence") -> list[list[tuple[int, float]]]:
        """The likeliest tokens at each position, with their log-probabilities, `[T, k]`."""
        rows = sequence.topk_logprobs
        if rows is None or len(rows) != len(sequence.tokens) or not all(rows):
            count = "none" if rows is None else str(len(rows))
            raise RolloutError(
                f"the service sampled {len(sequence.tokens)} tokens with {count} rows of likeliest tokens; the "
                "objective or a token weight needs topk_sample_logprobs"
            )
        return [
            [(token, math.nan if logprob is None else float(logprob)) for token, logprob in row] for row in rows if row
        ]
