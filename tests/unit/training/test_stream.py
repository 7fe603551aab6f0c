"""Which dialogues run ahead of the learner, who plays each turn, and that nobody waits for ever.

By hand where one batch matters, and by whole runs of the trainer on virtual time, read from the service's ledger.
"""

import asyncio
import gc
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.on_the_fake import train_on_fake_async, train_virtually
from tests.support.rows import read_rows
from tests.support.virtual_runs import CALM, OPENING, QUICK, turns_by_request_seed, virtual_config

from socratic_distill import SocraticConfig, load_seeds, train_async
from socratic_distill.dialogues.batches import batch
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.casting import open_frozen_models
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.plan import Plan
from socratic_distill.service.connect import Service
from socratic_distill.testing import Fault
from socratic_distill.testing.clock import run_virtual
from socratic_distill.testing.latency import Latency
from socratic_distill.testing.virtual import VirtualServiceClient
from socratic_distill.training import loop, stream
from socratic_distill.training.stream import Stream

TICK = 1e-6  # sums of seconds


class Asked(NamedTuple):
    """A turn that was asked for; the opening is turn 0 and stands for its whole group.

    Attributes:
        version: of the weights that played it; None for the student's turns and those of unsaved weights.
    """

    step: int
    seed: str
    number: int
    turn: int
    submitted: float
    answered: float
    version: int | None

    @property
    def is_tutors(self) -> bool:
        return self.turn % 2 == 1


def asked(service: VirtualServiceClient, config: SocraticConfig, steps: int = 45) -> list[Asked]:
    """Every turn that was asked for, in order, known by its request's seed."""
    turns = turns_by_request_seed(config, steps)
    found = []
    for record, served in zip(service.calls, service.ledger, strict=True):
        if record.call == "sample" and not record.arguments["prompt_logprobs"]:
            version = None if served.path is None else version_of(served.path)
            found.append(Asked(*turns[record.arguments["seed"]], served.submitted, served.answered, version))
    return found


def version_of(path: str) -> int:
    """In these runs each batch is a step, and sampler weights are named after the next batch."""
    return int(path.rsplit("/", 1)[1])


def train_scripted(config: SocraticConfig, latency: Latency = CALM, **options: Any) -> VirtualServiceClient:
    """Trains on a virtual service that learns nothing; gives it."""
    return train_virtually(VirtualServiceClient(latency, **options), config)


def now():
    return asyncio.get_running_loop().time()


# By hand


class Hand:
    """A stream, and what the trainer does to it."""

    def __init__(self, config, service, training, frozen, total):
        self.config = config
        self.service = service
        seeds = load_seeds(config.seeds_file)
        self.stream = Stream(Plan(config, seeds, seeds, (), (), total, {}, (), Briefing.read(config, seeds)), frozen)
        self.complaints: list[dict[str, Any]] = []
        self._training = training
        self._frozen = frozen
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.complaints.append(context))

    async def renew(self, step: int) -> None:
        client = await self._training.save_weights_and_get_sampling_client()
        self.stream.renew(self._frozen.cast(client, version=step), step)

    async def drain(self, step: int, groups: int = 1) -> list[tuple[float, list[Dialogue]]]:
        """The minibatches, each with the time that it came at, until the batch has ended."""
        got = []
        async for minibatch in self.stream.minibatches(step, groups):
            got.append((now(), [one.dialogue for group in minibatch for one in group]))
        return got

    def asked(self, step: int) -> list[Asked]:
        return [one for one in asked(self.service, self.config) if one.step == step]


def by_hand(main, config, *, total=9, faults=()):
    """Runs `main(hand)` on virtual time."""

    async def play():
        service = VirtualServiceClient(CALM, faults=faults)
        training = await service.create_lora_training_client("tutor")
        seeds = load_seeds(config.seeds_file)
        frozen = await open_frozen_models(config, Briefing.read(config, seeds), Service(service, None), training)
        hand = Hand(config, service, training, frozen, total)
        try:
            return await main(hand)
        finally:
            hand.stream.close()

    return run_virtual(play())


def test_openings_start_once_allowed_and_tutors_once_their_weights_exist(make_config):
    async def main(hand):
        await hand.renew(0)
        await hand.drain(0)
        await hand.stream.ended(0)
        await asyncio.sleep(60)
        assert not hand.asked(1), "batch 1 was opened before it might be"
        hand.stream.open(1)
        opened = now()
        await asyncio.sleep(60)
        assert [(one.turn, one.submitted) for one in hand.asked(1)] == [(OPENING, opened)] * 3
        await hand.renew(1)
        renewed = now()
        await hand.drain(1)
        firsts = [one.submitted for one in hand.asked(1) if one.turn == 1]
        assert firsts == [renewed] * 6, "the tutor's turns did not begin with the weights"
        assert sum(one.turn == OPENING for one in hand.asked(1)) == 3, "a group was opened twice"
        played = await hand.stream.ended(1)
        assert {turn.version for one in played for turn in one.dialogue.tutor_turns} == {1}

    by_hand(main, virtual_config(make_config))


@pytest.mark.parametrize("groups", [1, 2, 3, 99])
@pytest.mark.parametrize("slow", [0, 1, 2])
def test_minibatches_are_whole_groups_in_order_whichever_ends_last(make_config, groups, slow):
    """The openings are the first requests: one group is a hundred seconds late."""

    async def main(hand):
        await hand.renew(0)
        return await hand.drain(0, groups)

    config = virtual_config(make_config)
    got = by_hand(main, config, faults=[Fault("sample", nth=slow + 1, error="slow", seconds=100.0)])
    chosen = batch(load_seeds(config.seeds_file), seed=0, step=0, size=3)
    wanted = [[(one.id, n) for one in chosen[at : at + groups] for n in range(2)] for at in range(0, 3, groups)]
    assert [[(one.seed.id, one.number) for one in minibatch] for _, minibatch in got] == wanted
    late = [at > 100 for at, _ in got]
    assert late == [(place + 1) * groups > slow for place in range(len(got))], "only the slow one and those behind wait"


def test_a_score_is_yielded_before_the_student_answers_the_last_turn(make_config):
    async def main(hand):
        await hand.renew(0)
        got = await hand.drain(0, 99)
        played = await hand.stream.ended(0)
        return got[-1], [one.dialogue for one in played], now()

    (at, dialogues), played, ended = by_hand(main, virtual_config(make_config))
    assert at < ended
    assert {len(one.turns) for one in dialogues} == {4} and {one.ending for one in dialogues} == {None}
    assert {len(one.turns) for one in played} == {5} and {one.ending for one in played} == {"max_turns"}
    assert [one.turns[:4] for one in played] == [one.turns for one in dialogues], "the rows are of other dialogues"


def test_closing_drops_a_batch_and_those_behind_and_leaves_those_before(make_config):
    async def main(hand):
        await hand.renew(0)
        await asyncio.sleep(5)
        closed = now()
        assert len(hand.asked(1)) > 3 and len(hand.asked(2)) > 3, "nothing of what is dropped had begun"
        hand.stream.close(1)
        await hand.drain(0)
        played = await hand.stream.ended(0)
        await asyncio.sleep(60)
        assert [len(one.dialogue.tutor_turns) for one in played] == [2] * 6
        assert max(one.submitted for one in hand.asked(0)) > closed
        assert max(one.submitted for step in (1, 2) for one in hand.asked(step)) <= closed
        assert not hand.complaints

    by_hand(main, virtual_config(make_config, max_staleness=2))


@pytest.mark.parametrize("k", [0, 2])
def test_a_closed_batch_is_not_played_again_when_new_weights_come(make_config, k):
    """An interrupted run lets its step end, and plays nothing meanwhile that nobody will train on."""

    async def main(hand):
        await hand.renew(0)
        await hand.drain(0)
        await hand.stream.ended(0)
        hand.stream.open(1)
        await asyncio.sleep(1)
        hand.stream.close(1)
        closed = now()
        hand.stream.open(1)
        await hand.renew(1)
        await asyncio.sleep(60)
        late = [one for one in asked(hand.service, hand.config) if one.submitted > closed]
        assert not late, f"{len(late)} turns were asked for behind the end"

    by_hand(main, virtual_config(make_config, max_staleness=k))


@pytest.mark.parametrize("places", [1, 3])
def test_all_batches_together_never_exceed_the_limit_of_dialogues(make_config, places):
    async def main(hand):
        await hand.renew(0)
        for step in range(3):
            assert [len(minibatch) for _, minibatch in await hand.drain(step)] == [2] * 3
            await hand.stream.ended(step)
        spans = [(one.submitted, one.answered) for step in range(3) for one in hand.asked(step)]
        changes = sorted(change for start, end in spans for change in ((start, 1), (end, -1)))
        in_flight = most = 0
        for _, change in changes:  # at one time, what ends comes first
            in_flight += change
            most = max(most, in_flight)
        assert most == places

    by_hand(main, virtual_config(make_config, max_staleness=2, max_concurrent_dialogues=places))


def test_openings_need_no_tutor(make_config):
    async def main(hand):
        hand.stream.open(0)
        await asyncio.sleep(60)
        return hand.asked(0)

    assert [one.turn for one in by_hand(main, virtual_config(make_config))] == [OPENING] * 3


def test_weights_that_come_while_a_batch_plays_serve_its_later_turns(make_config):
    async def main(hand):
        await hand.renew(0)
        await asyncio.sleep(5)
        await hand.renew(1)
        renewed = now()
        await hand.drain(0)
        turns = [turn for one in await hand.stream.ended(0) for turn in one.dialogue.tutor_turns]
        assert {turn.version for turn in turns} == {0, 1}
        assert all((turn.version == 1) == (turn.span[0] >= renewed) for turn in turns)

    by_hand(main, virtual_config(make_config, max_staleness=1, max_turns=4))


class Bug(Exception):
    pass


@pytest.mark.parametrize("error", [Bug, asyncio.CancelledError])
@pytest.mark.parametrize("where", ["open_group", "play_tutor", "score_or_fail", "answer_last"])
def test_a_bug_in_playing_reaches_whoever_waits(make_config, monkeypatch, where, error):
    """A request that the service's client cancels, where nobody cancelled the dialogue, does too."""
    right = getattr(stream, where)

    async def buggy(what, *rest):
        one = what[0] if isinstance(what, list) else what
        if one.step == 1 and one.seed.id == chosen[1].id:
            raise error(where)
        return await right(what, *rest)

    async def main(hand):
        async def step_1():
            await hand.drain(1)
            await hand.stream.ended(1)

        await hand.renew(0)
        await hand.drain(0)
        assert len(await hand.stream.ended(0)) == 6
        waiting = asyncio.create_task(step_1())
        await asyncio.wait([waiting], timeout=300)
        assert waiting.done(), "it waits for ever"
        with pytest.raises(error):
            waiting.result()

    config = virtual_config(make_config, max_staleness=1)
    chosen = batch(load_seeds(config.seeds_file), seed=0, step=1, size=3)
    monkeypatch.setattr(stream, where, buggy)
    by_hand(main, config)


@pytest.mark.parametrize("where", ["open_group", "play_tutor", "score_or_fail", "answer_last"])
def test_a_bug_ends_the_run_and_is_told_once(make_config, monkeypatch, where):
    """Not once more for each dialogue that nobody came to wait for."""
    complaints = []

    async def buggy(*parts):
        raise Bug(where)

    async def main(config):
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        service = VirtualServiceClient(CALM)
        with pytest.raises(Bug):
            await asyncio.wait_for(train_async(config, service_client=service), 300)
        await asyncio.sleep(1)
        gc.collect()

    monkeypatch.setattr(stream, where, buggy)
    run_virtual(main(virtual_config(make_config)))
    assert complaints == []


# Whole runs


_quick: dict[int, tuple[SocraticConfig, VirtualServiceClient, list[dict[str, Any]]]] = {}


def quick_run(make_config, k: int) -> tuple[SocraticConfig, VirtualServiceClient, list[dict[str, Any]]]:
    """A run of eight steps, made once: its config, its service and the rows of its dialogues."""
    if k not in _quick:
        config = virtual_config(make_config, max_staleness=k, max_steps=8, max_turns=4)
        _quick[k] = config, train_scripted(config, QUICK), read_rows(Path(config.log_path) / "dialogues.jsonl")
    return _quick[k]


@pytest.mark.parametrize("k", [0, 1, 3])
def test_turns_use_the_newest_weights_and_wait_until_their_batch_may_begin(make_config, k):
    config, service, _ = quick_run(make_config, k)
    opened = [
        (served.answered, version_of(served.path))
        for served in service.ledger
        if served.call == "create_sampling_client" and served.path is not None
    ]
    # A state is saved before every second batch; with k = 3 the weights there are done without.
    there = [version for version in range(8) if k < 3 or version in (0, 1) or version % 2]
    assert [version for _, version in opened] == there, "weights were opened in another order"
    turns = [one for one in asked(service, config) if one.is_tutors]
    assert len(turns) == 8 * 6 * 4
    for one in turns:
        assert one.version is not None
        assert one.step - one.version <= k, f"{one} was asked for before weights {one.step - k}"
        newest = [version for at, version in opened if at < one.submitted - TICK]
        at_once = [version for at, version in opened if abs(at - one.submitted) <= TICK]
        assert one.version in (*newest[-1:], *at_once), f"{one} was played by other weights than the newest"
    openings = {one[:2]: one.answered for one in asked(service, config) if one.turn == OPENING}
    for one in turns:
        if one.turn == 1:
            enough = next(at for at, version in opened if version >= one.step - k)
            assert one.submitted == pytest.approx(max(enough, openings[one[:2]]), abs=TICK), (
                f"{one} waited for something else"
            )


@pytest.mark.parametrize("k", [0, 1, 3])
def test_no_trained_token_is_too_old_and_versions_grow_within_a_dialogue(make_config, k):
    _, _, played = quick_run(make_config, k)
    versions = [(row["step"], [turn["version"] for turn in row["turns"][1::2]]) for row in played]
    assert len(versions) == 8 * 6 and all(each for _, each in versions)
    assert max(step - version for step, each in versions for version in each) == k
    assert all(one <= other for _, each in versions for one, other in pairwise(each)), "weights went back"
    assert all(version <= step for step, each in versions for version in each)
    growing = [each for _, each in versions if len(set(each)) > 1]
    assert bool(growing) == (k > 0), "turns behind a renewal are played by the new weights, where they may be"


def test_unless_temperature_is_1_a_dialogue_keeps_its_first_weights(make_config):
    """It is scored by them too."""
    config = virtual_config(make_config, max_staleness=3, max_steps=6, max_turns=4, temperature=0.7)
    service = train_scripted(config, QUICK)
    turns = [one for one in asked(service, config) if one.is_tutors]
    by_dialogue: dict[tuple[int, str, int], list[Asked]] = {}
    for one in turns:
        by_dialogue.setdefault((one.step, one.seed, one.number), []).append(one)
    assert {len({one.version for one in each}) for each in by_dialogue.values()} == {1}
    renewals = [served.answered for served in service.ledger if served.call == "create_sampling_client" and served.path]
    crossed = [
        each for each in by_dialogue.values() if any(each[0].submitted < at < each[-1].submitted for at in renewals)
    ]
    assert crossed, "no dialogue lasted until new weights came"
    # The tutor scores its own tokens again, which must be the tutor that sampled them.
    scored = Counter(
        version_of(served.path)
        for record, served in zip(service.calls, service.ledger, strict=True)
        if record.arguments.get("prompt_logprobs") and served.path is not None
    )
    assert scored == Counter(each[0].version for each in by_dialogue.values())


@pytest.mark.parametrize("k", [0, 1, 3])
def test_nothing_is_played_behind_the_last_step(make_config, k):
    config = virtual_config(make_config, max_staleness=k, max_steps=2)
    turns = asked(train_scripted(config), config)
    assert Counter((one.step, one.turn) for one in turns) == Counter(
        {(step, turn): 3 if turn == OPENING else 6 for step in range(2) for turn in range(5)}
    )


@pytest.mark.parametrize("k", [0, 1, 3])
def test_each_step_plays_the_seeds_of_its_batch_in_order(make_config, tmp_path, k):
    """Batches of four of six seeds lie across epochs, and may hold a seed twice."""
    config = virtual_config(make_config, max_staleness=k, max_steps=7, groups_per_batch=4, groups_per_minibatch=3)
    train_scripted(config, QUICK)
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    wanted = []
    for step in range(7):
        seen: Counter[str] = Counter()
        for one in batch(load_seeds(config.seeds_file), seed=config.seed, step=step, size=4):
            wanted += [(step, one.id, 2 * seen[one.id] + place) for place in range(2)]
            seen[one.id] += 1
    assert [(row["step"], row["seed"], row["number"]) for row in rows] == wanted
    assert max(row["number"] for row in rows) == 3, "no batch held a seed twice"


@pytest.mark.parametrize("k", [0, 1, 3])
def test_staleness_is_told_by_the_token_and_of_what_was_trained_on(make_config, tmp_path, k):
    # One dialogue fails at its teacher's scores, or after some turns: it is not trained on.
    config = virtual_config(make_config, max_staleness=k, max_steps=6, max_turns=4, max_failed_fraction=1.0)
    train_scripted(config, QUICK, faults=[Fault("sample", nth=nth) for nth in (60, 100, 200)])
    rows = read_rows(tmp_path / "run" / "dialogues.jsonl")
    assert any(row["ending"] == "failed" and len(row["turns"]) > 2 for row in rows)
    told = read_rows(tmp_path / "run" / "metrics.jsonl")
    means = []
    for metrics in told:
        turns = [
            turn
            for row in rows
            if row["step"] == metrics["step"]
            for turn in row["turns"]
            if "teacher_logprobs" in turn
        ]
        ages = [metrics["version"] - turn["version"] for turn in turns for _ in turn["tokens"]]
        assert metrics["staleness/max"] == max(ages)
        assert metrics["staleness/mean"] == pytest.approx(sum(ages) / len(ages))
        means.append(metrics["staleness/mean"])
    assert max(metrics["staleness/max"] for metrics in told) == k
    assert means[0] == 0, "the first batch is always on-policy"
    assert any(mean % 1 for mean in means) == (k > 0)


@pytest.mark.parametrize("k", [0, 2])
def test_forty_steps_leave_nothing_behind_and_hold_no_more_than_ten(make_config, monkeypatch, k):
    streams, tasks, dialogues = list[Stream](), list[int](), dict[int, int]()
    right = RunDirectory.log_step

    class Kept(Stream):
        def __init__(self, *parts):
            super().__init__(*parts)
            streams.append(self)

    def log_step(self, metrics, rows):
        right(self, metrics, rows)
        tasks.append(len(asyncio.all_tasks()))
        if metrics["step"] in (10, 39 - k - 1):  # the last batches run dry
            gc.collect()
            dialogues[metrics["step"]] = sum(type(one) is Dialogue for one in gc.get_objects())

    async def main(config):
        service = VirtualServiceClient(CALM)
        await train_on_fake_async(service, config)
        for _ in range(3):  # what was cancelled may end
            await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    monkeypatch.setattr(loop, "Stream", Kept)
    monkeypatch.setattr(RunDirectory, "log_step", log_step)
    config = virtual_config(
        make_config, max_staleness=k, max_steps=40, max_turns=1, num_envs=1, max_tokens=30, save_every=3
    )
    assert run_virtual(main(config)) == set()
    (kept,) = streams
    assert not kept._batches
    assert len(tasks) == 40
    assert max(tasks[20:]) <= max(tasks[5:20]), f"tasks by step: {tasks}"
    early, late = dialogues.values()
    assert late <= early + 3 * 2 * (k + 1), "dialogues of past steps are held"
