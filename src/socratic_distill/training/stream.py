"""Which dialogues run ahead of the learner, and how stale they may be.

Batch s may be played once the weights of batch s - max_staleness are there, and each turn uses the newest weights.
So no token is older than `max_staleness` batches when it is trained on. What does not depend on the tutor does not
wait for it: the students' openings of the next batch are sampled while the current one trains; a dialogue is scored
after the tutor's last turn; and the student's answer to that turn is awaited only when its row is written, unless a
reward depends on it or a teacher's prompt quotes it. Rewards are given while the teachers score. Where a teacher reads
a solved dialogue of the group, the group is scored when all of it has ended. Recorded dialogues are scored when their
batch may begin.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from socratic_distill.config.schedules import take_over
from socratic_distill.dialogues.attempts import Attempts
from socratic_distill.dialogues.batches import compose, played_places
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.casting import FrozenModels
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.dialogues.difficulty import SOLVED, Pools, solved_by_seed
from socratic_distill.dialogues.hindsight import peer_of
from socratic_distill.dialogues.quotes import PEER
from socratic_distill.dialogues.recordings import Recording
from socratic_distill.dialogues.rewards import Rewarded, Rewards
from socratic_distill.dialogues.rollout import (
    answer_last,
    answer_or_fail,
    begin_or_fail,
    make_groups,
    open_group,
    play_tutor,
    replay_or_fail,
)
from socratic_distill.distillation.needed import Needed, needed_scores, waits_for_rewards
from socratic_distill.distillation.scorer import Scorer
from socratic_distill.distillation.scoring import ScoredDialogue, score_or_fail
from socratic_distill.errors import TrainingError
from socratic_distill.run.plan import Plan
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import gather_all, silence


@dataclass(eq=False)
class _Batch:
    """A batch in play.

    Attributes:
        may_open: set once its openings may be sampled.
        may_begin: set once its tutor's weights are there.
        scored: by group and dialogue, the scores to train on.
        groups: the groups' tasks, with the dialogues as they ended.
        entries: what each group begins with; None until the first of them may open, since it may depend on how
            earlier batches ended.
    """

    may_open: asyncio.Event
    may_begin: asyncio.Event
    scored: list[list["asyncio.Future[ScoredDialogue]"]]
    groups: list["asyncio.Task[list[ScoredDialogue]]"]
    entries: list[Recording | list[Dialogue]] | None = None


class _Peers:
    """The dialogues of a group, each of which waits for all to have ended."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._dialogues: list[Dialogue] = []
        self._all = asyncio.Event()

    async def ended(self, dialogue: Dialogue) -> list[Dialogue]:
        """Adds a dialogue that has ended, and gives all of the group once they have."""
        self._dialogues.append(dialogue)
        if len(self._dialogues) == self._count:
            self._all.set()
        await self._all.wait()
        return self._dialogues


class Stream:
    """The dialogues of a run, in order of step."""

    def __init__(
        self,
        plan: Plan,
        frozen: FrozenModels,
        rewards: Rewards | None = None,
        past: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Begins with no dialogue under way.

        Args:
            plan: what they are on, and how they are played.
            frozen: everyone but the tutor.
            rewards: the rewards of its dialogues; None: no rewards.
            past: the metric rows of the steps so far, from which seeds have their solved rates.
        """
        self._plan = plan
        self._config = config = plan.config
        self._scorer = Scorer.for_server(config.base_url)
        self._openers = frozen.cast(None, version=0)
        self._total = plan.total
        self._rewards = rewards
        # One limit over all batches under way, so that reading ahead cannot multiply the requests.
        self._places = asyncio.Semaphore(config.max_concurrent_dialogues)
        self._pools: Pools | None = None
        if config.solved_range is not None:
            self._pools = Pools(config.solved_range, plan.seeds, config.seed, config.max_staleness)
            self._pools.read(past)
        self._batches: dict[int, _Batch] = {}
        self._cast: Cast | None = None  # replaced by each renewal; dialogues under way read it at every turn
        self._ended = (-1, 0)  # the last batch that ended, and its dialogues
        self.in_flight = 0

    def renew(self, cast: Cast, step: int) -> None:
        """Plays with the weights before batch `step` from now on; more batches may begin."""
        self._cast = cast
        self.open(step)
        for ahead in self._ahead(step):
            self._batch(ahead).may_begin.set()

    def open(self, step: int) -> None:
        """Samples the openings of the batches that the weights before batch `step` will play; they need no tutor."""
        for ahead in self._ahead(step):
            self._batch(ahead).may_open.set()

    async def minibatches(self, step: int, groups: int) -> AsyncIterator[list[list[ScoredDialogue]]]:
        """The scored groups of a batch in order, `groups` at a time, as soon as they and all before are scored."""
        # In order, not as they end: what is trained together must not depend on which dialogue was quicker.
        waiting = self._batch(step).scored
        for first in range(0, len(waiting), groups):
            yield [[await scored for scored in group] for group in waiting[first : first + groups]]

    async def ended(self, step: int) -> list[ScoredDialogue]:
        """Waits for the dialogues of a batch to end, and forgets the batch."""
        groups = await asyncio.gather(*self._batch(step).groups)
        del self._batches[step]
        scored = [dialogue for group in groups for dialogue in group]
        self._ended = (step, len(scored))  # the display still asks for the progress of a forgotten batch
        if self._pools is not None:
            self._pools.note(step, solved_by_seed(entry.dialogue for entry in scored))
        return scored

    def seed_metrics(self, scored: Sequence[ScoredDialogue]) -> dict[str, Any]:
        """What the row of a step that has ended says of its seeds; a resumed run reads their rates from it."""
        if self._pools is None:
            return {}
        return {SOLVED: solved_by_seed(entry.dialogue for entry in scored), **self._pools.sizes()}

    def progress(self, step: int) -> tuple[int, int]:
        """How many dialogues of a batch were scored, and how many it has; may be called from any thread."""
        if step == self._ended[0]:
            return self._ended[1], self._ended[1]
        batch = self._batches.get(step)
        futures = [future for group in batch.scored for future in group] if batch else []
        return sum(future.done() for future in futures), len(futures)

    @asynccontextmanager
    async def _place(self, dialogues: int = 1) -> AsyncIterator[None]:
        """Takes one of the places for dialogues under way; a group opens in a single place."""
        async with self._places:
            self.in_flight += dialogues
            try:
                yield
            finally:
                self.in_flight -= dialogues

    def close(self, step: int = 0) -> None:
        """Drops the dialogues of a batch and of all later ones; they are not played again."""
        self._total = min(self._total, step)  # a later `renew` must not open these batches again
        for ahead in [ahead for ahead in self._batches if ahead >= step]:
            for task in self._batches.pop(ahead).groups:
                task.cancel()

    def _ahead(self, step: int) -> range:
        return range(step, min(step + self._config.max_staleness + 1, self._total))

    def _batch(self, step: int) -> _Batch:
        """The batch; made now if it did not exist, to wait for its events."""
        if step not in self._batches:
            loop, made = asyncio.get_running_loop(), _Batch(asyncio.Event(), asyncio.Event(), [], [])
            for index, is_played in enumerate(played_places(self._config, step)):
                # The scores come before the dialogue ends, so they are futures of their own.
                is_group = is_played or take_over(self._config, step) is not None
                scored = [loop.create_future() for _ in range(self._config.num_envs if is_group else 1)]
                made.scored.append(scored)
                made.groups.append(loop.create_task(self._run_group(index, scored, made, step)))
            for future in (*made.groups, *chain.from_iterable(made.scored)):
                future.add_done_callback(silence)
            self._batches[step] = made
        return self._batches[step]

    def _groups(self, step: int) -> list[Recording | list[Dialogue]]:
        """A batch's groups in order: dialogues before their first turn, or a recording."""
        drawn = None
        if self._pools is not None:
            drawn = self._pools.draw(step, lambda at: sum(played_places(self._config, at)))
        entries = compose(self._config, self._plan.seeds, self._plan.recordings, step, drawn)
        seeds = [entry for entry in entries if not isinstance(entry, Recording)]
        played = iter(make_groups(seeds, step, self._config.num_envs, self._openers))
        last = take_over(self._config, step)
        if last is None:
            return [entry if isinstance(entry, Recording) else next(played) for entry in entries]
        # A recording of a run has the id of its seed, and numbers tell the dialogues on one seed apart.
        size, seen = self._config.num_envs, Counter(seed.id for seed in seeds)
        groups: list[Recording | list[Dialogue]] = []
        for entry in entries:
            if not isinstance(entry, Recording):
                groups.append(next(played))
                continue
            first = seen[entry.seed.id] * size
            seen[entry.seed.id] += 1
            groups.append(begin_or_fail(entry, step, range(first, first + size), last, self._openers))
        return groups

    async def _run_group(
        self,
        index: int,
        scored: list["asyncio.Future[ScoredDialogue]"],
        batch: _Batch,
        step: int,
    ) -> list[ScoredDialogue]:
        try:
            await batch.may_open.wait()
            if batch.entries is None:
                batch.entries = self._groups(step)
            group = batch.entries[index]
            if isinstance(group, Recording):
                await batch.may_begin.wait()
                return [await self._replay(group, step, scored[0])]
            # An opening needs the student alone, so it is sampled while the previous batch still trains.
            async with self._place(len(group)):
                opened, before = await self._open(group)
            # The place is free while the group waits: other batches may need it to end.
            await batch.may_begin.wait()
            peers = _Peers(len(opened)) if PEER in self._openers.quoted(opened[0].seed) else None
            return await gather_all(
                self._play(dialogue, before, future, peers) for dialogue, future in zip(opened, scored, strict=True)
            )
        except BaseException as error:  # also a cancelled request: whoever waits for the scores must not wait for ever
            for future in scored:
                if not future.done():
                    future.set_exception(error)
            raise

    async def _open(self, group: list[Dialogue]) -> tuple[list[Dialogue], Mapping[int, Attempts]]:
        """A group with its openings, and what rewards need from before the dialogues, by dialogue.

        If the latter fails, the dialogues have failed.
        """
        if self._rewards is None or not self._rewards.needs_before:
            return await open_group(group, self._openers), {}
        opening = asyncio.ensure_future(open_group(group, self._openers))
        trying = asyncio.ensure_future(self._before(group, self._rewards))
        for task in (opening, trying):
            task.add_done_callback(silence)
        try:
            opened, before = await opening, await trying
        finally:
            opening.cancel()
            trying.cancel()
        if isinstance(before, str):
            return [dialogue.end("failed", error=before) for dialogue in opened], {}
        return opened, before

    async def _before(self, group: list[Dialogue], rewards: Rewards) -> Mapping[int, Attempts] | str:
        """What rewards need from before the dialogues, or what went wrong."""
        try:
            return await rewards.before(group, self._openers)
        except TrainingError:  # the clients are lost, for every dialogue
            raise
        except Exception as error:
            return f"the student's attempts before the dialogue failed: {describe(error)}"

    async def _play(
        self,
        dialogue: Dialogue,
        before: Mapping[int, Attempts],
        scored: "asyncio.Future[ScoredDialogue]",
        peers: "_Peers | None",
    ) -> ScoredDialogue:
        async with self._place():
            begun = self._newest_cast()
            # At another temperature than 1 the tutor scores its tokens again, which needs one tutor for all turns.
            played = await play_tutor(dialogue, self._newest_cast if begun.tutor.temperature == 1.0 else lambda: begun)
            if self._rewards is not None:
                # A reward may judge whether the student solved it after the tutor's last turn.
                played = await answer_or_fail(played, begun)
            elif begun.quoted(dialogue.seed):
                # A teacher reads the answer to the last turn, or how the dialogue ended.
                played = await answer_last(played, begun)
            if peers is None:
                return await self._score(played, begun, before, scored)
        # The place is free meanwhile: the rest of the group may need it to end.
        peer = peer_of(played, await peers.ended(played))
        async with self._place():
            return await self._score(played, begun, before, scored, peer)

    async def _score(
        self,
        played: Dialogue,
        cast: Cast,
        before: Mapping[int, Attempts],
        scored: "asyncio.Future[ScoredDialogue]",
        peer: Dialogue | None = None,
    ) -> ScoredDialogue:
        rewarded = await self._scored(played, cast, before.get(played.number), peer)
        # Training goes on with the scores, while the student still answers the tutor's last turn.
        scored.set_result(rewarded)
        return replace(rewarded, dialogue=await answer_last(rewarded.dialogue, cast))

    async def _replay(
        self, recording: Recording, step: int, scored: "asyncio.Future[ScoredDialogue]"
    ) -> ScoredDialogue:
        async with self._place():
            cast = self._newest_cast()
            dialogue = replay_or_fail(recording, step, cast)
            result = await score_or_fail(dialogue, cast, self._scorer, self._needed(dialogue))
            scored.set_result(result)
            return result

    async def _scored(
        self, dialogue: Dialogue, cast: Cast, before: Attempts | None, peer: Dialogue | None
    ) -> ScoredDialogue:
        """The dialogue with its scores and its reward; it counts as failed if either fails."""
        if self._rewards is None or dialogue.ending == "failed":
            return await score_or_fail(dialogue, cast, self._scorer, self._needed(dialogue), peer)
        rewarding = asyncio.ensure_future(self._rewards.of(dialogue, cast, before))
        rewarding.add_done_callback(silence)
        try:
            # A gate that the rewards close saves the request; otherwise both are asked at once.
            known = await rewarding if waits_for_rewards(self._config) else None
            scored = await score_or_fail(dialogue, cast, self._scorer, self._needed(dialogue, known), peer)
            if scored.dialogue.ending == "failed":
                return scored
            return replace(scored, rewarded=await rewarding)
        except TrainingError:  # the clients are lost, for every dialogue
            raise
        except Exception as error:
            return ScoredDialogue(dialogue.end("failed", error=describe(error)))
        finally:
            rewarding.cancel()

    def _needed(self, dialogue: Dialogue, rewarded: Rewarded | None = None) -> Needed:
        """What of a dialogue must be scored, given the rewards that are known so far."""
        return needed_scores(dialogue, self._config, rewarded)

    def _newest_cast(self) -> Cast:
        assert self._cast is not None, "the stream has no cast before its first renewal"
        return self._cast
