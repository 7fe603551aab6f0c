"""Asks a model the items of a suite: replies, and log-probabilities of given continuations and texts."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from socratic_distill.dialogues.dialogue import NOTHING_SENT, Message, PromptUse
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.distillation.datums import Span, TokenSequence
from socratic_distill.distillation.scorer import Scorer
from socratic_distill.errors import ServiceError, TrainingError
from socratic_distill.evaluation.suites.items import AnsweredItems
from socratic_distill.evaluation.suites.suite import Answer, Item
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import gather_all

# A longer text is read in parts of so many tokens, the same for models of different contexts, so that they compare.
_CHUNK = 1024


@dataclass(frozen=True)
class Asker:
    """Asks one model.

    Attributes:
        speaker: the model.
        seed: random seed; each item's is made from it.
        concurrency: maximum number of requests at once.
        max_context: limit of a context, in tokens; None if it is not known.
        scorer: makes the scoring requests.
        keeps_limit: whether replies have the speaker's own length limit, not the item's: so it is with judges.
    """

    speaker: Speaker | RemoteSpeaker
    seed: int
    concurrency: int
    max_context: int | None = None
    scorer: Scorer = field(default_factory=Scorer)
    keeps_limit: bool = False

    async def ask_all(self, items: Sequence[Item], kept: AnsweredItems, done: Callable[[], None]) -> dict[str, Answer]:
        """The answers to all items, by id; those that are kept are not asked again.

        Args:
            items: the items.
            kept: earlier answers; new ones are added.
            done: called after each item.

        Raises:
            StorageError: an answer cannot be written.
            TrainingError: the clients are lost.
        """
        slots = asyncio.Semaphore(self.concurrency)

        async def ask_next(item: Item) -> None:
            if item.id not in kept.answers:
                async with slots:
                    kept.add(item, await self._ask(item))
            done()

        await gather_all(map(ask_next, items))
        return {item.id: kept.answers[item.id] for item in items}

    async def _ask(self, item: Item) -> Answer:
        try:
            if item.is_text:
                return await self._read(item)
            return await (self._choose(item) if item.options else self._reply(item))
        except TrainingError:  # no later request can succeed
            raise
        except Exception as error:
            return Answer(error=describe(error))

    async def _reply(self, item: Item) -> Answer:
        messages, speaker = [Message("user", item.prompt)], self.speaker
        seed = stable_seed(self.seed, "suite", item.id)
        if not self.keeps_limit:
            speaker = replace(speaker, max_tokens=item.max_tokens)
        if isinstance(speaker, Speaker) and self.max_context is not None:
            room = self.max_context - len(speaker.renderer.prompt(messages))
            if room < 1:
                return Answer(error=f"the prompt leaves no room for a reply in a context of {self.max_context} tokens")
            speaker = replace(speaker, max_tokens=min(speaker.max_tokens, room))
        turns = await speaker.reply(messages, seed, 1, None)
        assert turns is not None, "no limit was given"
        (turn,) = turns
        text, is_stopped = _cut(turn.text, item.stop)
        is_cut = turn.stop_reason == "length" and not is_stopped
        return Answer(text, is_cut, sent=turn.use.sent, cached=turn.use.cached, sampled=turn.use.sampled)

    async def _choose(self, item: Item) -> Answer:
        speaker = self._with_tokens()
        head = speaker.renderer.prompt([Message("user", item.prompt)])
        tails = [tuple(speaker.renderer.codec.encode_said(option)) for option in item.options]
        scored = await gather_all(self._scores(speaker, (*head, *tail), len(head)) for tail in tails)
        use = sum((use for _, use in scored), NOTHING_SENT)
        sums, counts = tuple(sum(values) for values, _ in scored), tuple(map(len, tails))
        return Answer(logprobs=sums, counts=counts, sent=use.sent, cached=use.cached, sampled=use.sampled)

    async def _read(self, item: Item) -> Answer:
        """The sum over a text's tokens, but the first of each part: that has nothing before it."""
        speaker = self._with_tokens()
        tokens = tuple(speaker.renderer.codec.encode_said(item.prompt))
        size = _CHUNK if self.max_context is None else min(_CHUNK, self.max_context - 1)  # one token is sampled
        parts = [tokens[start : start + size] for start in range(0, len(tokens), size)]
        scored = [await self._scores(speaker, part, 1) for part in parts if len(part) > 1]
        if not scored:
            return Answer(error="the text has fewer than two tokens")
        values, use = [value for of, _ in scored for value in of], sum((use for _, use in scored), NOTHING_SENT)
        return Answer(
            logprobs=(sum(values),), counts=(len(values),), sent=use.sent, cached=use.cached, sampled=use.sampled
        )

    def _with_tokens(self) -> Speaker:
        if isinstance(self.speaker, RemoteSpeaker):
            raise ServiceError("a model on another endpoint gives no log-probabilities; take one of the run's service")
        return self.speaker

    async def _scores(self, speaker: Speaker, tokens: tuple[int, ...], start: int) -> tuple[list[float], PromptUse]:
        """Log-probabilities of the tokens from a place on, and the cost of the request."""
        if self.max_context is not None and len(tokens) >= self.max_context:
            raise ServiceError(f"{len(tokens)} tokens leave no room in a context of {self.max_context}")
        assert speaker.client is not None, "a suite's speaker has a client"
        sequence = TokenSequence(tokens, (Span(0, start, len(tokens)),))
        scores = await self.scorer.score(speaker.client, sequence, "a suite's item")
        return scores.own[0].tolist(), scores.use


class Rewarding(Protocol):
    """A reward model."""

    def score(self, conversation: Sequence[Mapping[str, str]]) -> float:
        """The reward of a conversation's last message."""
        ...


@dataclass(frozen=True)
class RewardAsker:
    """Asks a reward model in this process for its score of a conversation, the item's prompt as JSON.

    Attributes:
        model: the reward model.
    """

    model: Rewarding

    async def ask_all(self, items: Sequence[Item], kept: AnsweredItems, done: Callable[[], None]) -> dict[str, Answer]:
        """As `Asker.ask_all`; an answer's only log-probability is the score."""
        for item in items:
            if item.id not in kept.answers:
                score = await asyncio.to_thread(self.model.score, json.loads(item.prompt))
                kept.add(item, Answer(logprobs=(score,)))
            done()
        return {item.id: kept.answers[item.id] for item in items}


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """A reply up to the first of some texts, without white space at its ends, and whether one was there."""
    end = min((index for stop in stops if (index := text.find(stop)) >= 0), default=len(text))
    return text[:end].strip(), end < len(text)
