"""A side of a dialogue whose model is on another endpoint: it reads and writes text, not tokens."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from socratic_distill.dialogues.dialogue import Message, PromptUse, Role, Turn
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.reasoning import spoken
from socratic_distill.service.endpoints import EndpointClient
from socratic_distill.service.waiting import gather_all


@dataclass(frozen=True)
class RemoteSpeaker:
    """As `Speaker`, but its turns have no tokens and no log-probabilities.

    Attributes:
        role: whose turns it takes.
        client: the model.
        max_tokens: length limit of a turn, in tokens.
        temperature: sampling temperature.
        top_p: share of the probability that is sampled from.
        on_use: called with the cost of each request; None: no call.
    """

    role: Role
    client: EndpointClient
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    on_use: Callable[[PromptUse], None] | None = None

    async def reply(self, messages: Sequence[Message], seed: int, count: int, limit: int | None) -> list[Turn]:
        """`count` turns that follow some messages, a request for each: not every server gives several.

        Args:
            messages: what it has heard; its own turns as text.
            seed: random seed of the first; those of the others are made from it.
            count: number of turns.
            limit: not used: the server knows its model's context.

        Raises:
            ServiceError: the server refuses a request, or failed it too often.
        """
        heard = [{"role": message.role, "content": message.text or ""} for message in messages]
        seeds = [seed if number == 0 else stable_seed(seed, number) for number in range(count)]
        return await gather_all(self._turn(heard, seed) for seed in seeds)

    async def _turn(self, heard: list[dict[str, str]], seed: int) -> Turn:
        now = asyncio.get_running_loop().time
        began = now()
        answer = await self.client.complete(
            heard, max_tokens=self.max_tokens, temperature=self.temperature, top_p=self.top_p, seed=seed
        )
        use = PromptUse(answer.sent, answer.cached, answer.sampled)
        if self.on_use is not None:
            self.on_use(use)
        reason = "length" if answer.is_cut else "stop"
        text = spoken(answer.text).strip()
        return Turn(self.role, text, (), (), (), (), version=0, stop_reason=reason, use=use, span=(began, now()))
