"""Which dialogues run ahead of the learner, and how stale they may be.

Batch s may be played once weights of batch s - max_staleness are there, and each turn uses the newest ones: no
token is older than `max_staleness` batches when it is trained on. What does not depend on the tutor does not wait
for it: the students' openings of the next batch are sampled while the current one trains, a dialogue is scored when
the tutor has had its last turn, and the student's answer to that turn is waited for only when its row is written.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from socratic_distill.config import SocraticConfig
from socratic_distill.dialogue import Dialogue
from socratic_distill.interrupts import take_note
from socratic_distill.rollout import Cast, answer_last, gather_all, make_groups, open_group, play_tutor
from socratic_distill.seeds import Seed, batch
from socratic_distill.stage import Stage
from socratic_distill.teacher import ScoredDialogue, score_or_fail


@dataclass(eq=False)
class _Batch:
    """A batch in play.

    Attributes:
        may_open: set once its openings may be sampled.
        may_begin: set once its tutor's weights are there.
        scored: of each group, of each dialogue, the scores, to train on.
        groups: the groups' tasks, with the dialogues as they ended.
    """

    may_open: asyncio.Event
    may_begin: asyncio.Event
    scored: list[list["asyncio.Future[ScoredDialogue]"]]
    groups: list["asyncio.Task[list[ScoredDialogue]]"]


class Stream:
    """The dialogues of a run, in order of step.

    Args:
        config: how they are played.
        seeds: the run's seeds.
        stage: everyone but the tutor.
        total: batches in the run.
    """

    def __init__(self, config: SocraticConfig, seeds: Sequence[Seed], stage: Stage, total: int) -> None:
        self._config = config
        self._seeds = seeds
        self._scorer = stage.scorer
        self._openers = stage.cast(None, version=0)
        self._total = total
        self._places = asyncio.Semaphore(config.max_concurrent_dialogues)
        self._batches: dict[int, _Batch] = {}
        self._cast: Cast | None = None

    def renew(self, cast: Cast, step: int) -> None:
        """The tutor's weights before batch `step` are there: they play from now on, and more batches may begin."""
        self._cast = cast
        self.open(step)
        for ahead in self._ahead(step):
            self._batch(ahead).may_begin.set()

    def open(self, step: int) -> None:
        """Has the openings sampled of the batches that the weights before batch `step` play; they need no tutor."""
        for ahead in self._ahead(step):
            self._batch(ahead).may_open.set()

    async def minibatches(self, step: int, groups: int) -> AsyncIterator[list[ScoredDialogue]]:
        """The scored dialogues of a batch, in fixed runs of whole groups, each as soon as it and those before are."""
        waiting = self._batch(step).scored
        for first in range(0, len(waiting), groups):
            yield [await one for group in waiting[first : first + groups] for one in group]

    async def ended(self, step: int) -> list[ScoredDialogue]:
        """The dialogues of a batch as they ended; the batch is forgotten."""
        groups = await asyncio.gather(*self._batch(step).groups)
        del self._batches[step]
        return [one for group in groups for one in group]

    def close(self, step: int = 0) -> None:
        """Drops the dialogues in play of a batch and all behind it; they are not played again."""
        self._total = min(self._total, step)
        for ahead in [ahead for ahead in self._batches if ahead >= step]:
            for task in self._batches.pop(ahead).groups:
                task.cancel()

    def _ahead(self, step: int) -> range:
        return range(step, min(step + self._config.max_staleness + 1, self._total))

    def _batch(self, step: int) -> _Batch:
        """The batch, made now if it was not yet, to wait for its events."""
        if step not in self._batches:
            config, loop = self._config, asyncio.get_running_loop()
            chosen = batch(self._seeds, seed=config.seed, step=step, size=config.groups_per_batch)
            groups = make_groups(chosen, step, config.num_envs)
            made = _Batch(asyncio.Event(), asyncio.Event(), [[loop.create_future() for _ in one] for one in groups], [])
            made.groups += [
                loop.create_task(self._play_group(*one, made)) for one in zip(groups, made.scored, strict=True)
            ]
            for future in (*made.groups, *chain.from_iterable(made.scored)):
                future.add_done_callback(take_note)
            self._batches[step] = made
        return self._batches[step]

    async def _play_group(
        self, group: list[Dialogue], scored: list["asyncio.Future[ScoredDialogue]"], batch: _Batch
    ) -> list[ScoredDialogue]:
        try:
            await batch.may_open.wait()
            async with self._places:
                opened = await open_group(group, self._openers)
            await batch.may_begin.wait()
            return await gather_all(map(self._play, opened, scored))
        except BaseException as error:  # a cancelled request too: whoever waits for the scores must not wait for ever
            for one in scored:
                if not one.done():
                    one.set_exception(error)
            raise

    async def _play(self, dialogue: Dialogue, scored: "asyncio.Future[ScoredDialogue]") -> ScoredDialogue:
        async with self._places:
            begun = self._newest_cast()
            # Away from temperature 1 the tutor scores its tokens again, which takes one tutor for all turns.
            played = await play_tutor(dialogue, self._newest_cast if begun.tutor.temperature == 1.0 else lambda: begun)
            one = await score_or_fail(played, begun, self._scorer)
            scored.set_result(one)
            return replace(one, dialogue=await answer_last(one.dialogue, begun))

    def _newest_cast(self) -> Cast:
        assert self._cast is not None, "the stream has no cast before its first renewal"
        return self._cast
