"""What overlaps in a run on virtual time, what never does, and what a failure in the middle of it leaves behind."""

import asyncio
import gc
import json
import logging
from collections import Counter
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.on_the_fake import train_on_fake_async, train_virtually
from tests.support.rows import read_rows, rows_but_recoveries
from tests.support.virtual_runs import (
    CALM,
    OPENING,
    QUICK,
    TERSE,
    DoomedService,
    Key,
    LearningService,
    turns_by_request_seed,
    virtual_config,
)

from socratic_distill import RolloutError, ServiceError, SocraticConfig, load_checkpoints, load_seeds
from socratic_distill.dialogues.batches import batch
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.journal import Journal
from socratic_distill.testing import FakeServiceClient, Fault
from socratic_distill.testing.clock import run_virtual
from socratic_distill.testing.latency import Latency
from socratic_distill.testing.virtual import Served, VirtualServiceClient

pytestmark = pytest.mark.thinned

PASS, STEP, SAMPLER, STATE = "forward_backward", "optim_step", "save_weights_for_sampler", "save_state"
LETTERS = {PASS: "p", STEP: "o", SAMPLER: "w", STATE: "s"}
GROUPS = 3


class Request(NamedTuple):
    """A sampling or scoring request: the turn that it samples, or the last turn that it scores."""

    key: Key
    at: Served


def train_scripted(config: SocraticConfig, latency: Latency = CALM, **options: Any) -> VirtualServiceClient:
    """Trains on a virtual service that learns nothing; gives it."""
    return train_virtually(VirtualServiceClient(latency, keep_tokens=True, **options), config)


def train_learning(config: SocraticConfig, latency: Latency = CALM, **options: Any) -> LearningService:
    """Trains on a virtual service that learns; gives it."""
    return train_virtually(LearningService(latency, **options), config)


def sampling_requests(service: VirtualServiceClient, config: SocraticConfig) -> list[Request]:
    known = turns_by_request_seed(config, steps=12)
    return [
        Request(known[record.arguments["seed"]], served)
        for record, served in zip(service.calls, service.ledger, strict=True)
        if record.call == "sample" and not record.arguments["prompt_logprobs"]
    ]


def scoring_requests(service: VirtualServiceClient, config: SocraticConfig) -> list[Request]:
    """The teacher's scores; which turn they end with is read from the tokens."""
    said = {
        tuple(one.at.replies[0].tolist()): one.key
        for one in sampling_requests(service, config)
        if one.at.model == "tutor"
    }
    found = []
    for record, served in zip(service.calls, service.ledger, strict=True):
        if record.arguments.get("prompt_logprobs"):
            assert served.prompt is not None
            prompt = tuple(served.prompt.tolist())
            reply = max((prompt[-n:] for n in range(2, len(prompt)) if prompt[-n:] in said), key=len)
            found.append(Request(said[reply], served))
    return found


def training_calls(service: VirtualServiceClient) -> list[Served]:
    """The training client's calls, in order."""
    return [served for served in service.ledger if served.server_run is not None and served.call in LETTERS]


def steps_of(calls: list[Served]) -> list[list[Served]]:
    """The training calls of each step: its passes, and all behind them up to the next step's first pass."""
    steps: list[list[Served]] = []
    for before, one in zip([None, *calls], calls, strict=False):
        if one.call == PASS and (before is None or before.call != PASS):
            steps.append([])
        if steps:
            steps[-1].append(one)
    return steps


def comparable_rows(log_path: Path | str) -> list[list[dict[str, Any]]]:
    """Metrics and dialogues, without what tells of time, recoveries and what happened to be cached."""
    return [
        [{key: value for key, value in row.items() if not key.endswith("_cached")} for row in rows]
        for rows in rows_but_recoveries(log_path)
    ]


# What a strictly on-policy run does meanwhile


def test_the_next_batch_opens_once_this_ones_dialogues_end_while_it_trains(make_config):
    """No opening is sampled before all dialogues of this batch have ended."""
    config = virtual_config(make_config)
    service = train_scripted(config)
    requests, steps = sampling_requests(service, config), steps_of(training_calls(service))
    for step in range(1, 6):
        openings = [one.at for one in requests if (one.key[0], one.key[3]) == (step, OPENING)]
        ended = max(one.at.answered for one in requests if one.key[0] == step - 1)
        saved = next(one for one in steps[step - 1] if one.call == SAMPLER)
        assert len(openings) == GROUPS
        assert [one.submitted for one in openings] == [pytest.approx(ended)] * GROUPS
        assert max(one.answered for one in openings) < saved.ended, "the new weights had to wait for them"


def test_a_dialogue_is_scored_when_its_last_tutor_turn_ends(make_config):
    """It does not wait for the batch to end."""
    config = virtual_config(make_config, max_turns=3)
    service = train_scripted(config)
    last = {
        one.key[:3]: one.at.answered
        for one in sampling_requests(service, config)
        if one.key[3] == 2 * config.max_turns - 1
    }
    scores = {one.key[:3]: one.at.submitted for one in scoring_requests(service, config)}
    assert scores.keys() == last.keys() and len(last) == 6 * 6
    assert scores == pytest.approx(last)
    for step in range(6):
        ended = max(at for key, at in last.items() if key[0] == step)
        early = [at for key, at in scores.items() if key[0] == step and at < ended - 0.5]
        assert len(early) >= 3, "the dialogues of a step end together: nothing was shown"


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_pass_is_submitted_once_its_and_all_earlier_groups_are_scored(make_config, groups):
    config = virtual_config(make_config, groups_per_minibatch=groups, max_turns=3)
    service = train_scripted(config)
    there = {one.key[:3]: one.at.answered for one in scoring_requests(service, config)}
    overlapping = 0
    for step, calls in enumerate(steps_of(training_calls(service))):
        seeds = [one.id for one in batch(load_seeds(config.seeds_file), seed=0, step=step, size=GROUPS)]
        whole = [max(there[step, seed, number] for number in range(2)) for seed in seeds]
        cuts = range(groups, GROUPS + groups, groups)
        passes = [one.submitted for one in calls if one.call == PASS]
        assert passes == pytest.approx([max(whole[:cut]) for cut in cuts]), f"step {step}"
        overlapping += passes[0] < max(whole) - 0.5
    assert (overlapping >= 2) == (groups < GROUPS), "no batch shows that its first pass did not wait for its last"


@pytest.mark.parametrize("k", [0, 2])
def test_the_optimizer_step_and_sampler_save_share_the_last_passs_cycle(make_config, k):
    """They are submitted right after the last pass."""
    config = virtual_config(make_config, groups_per_minibatch=1, max_staleness=k, save_every=None)
    steps = steps_of(training_calls(train_scripted(config)))
    assert len(steps) == 6
    for number, calls in enumerate(steps):
        last = [one for one in calls if one.call == PASS][-1]
        (stepped,) = [one for one in calls if one.call == STEP]
        saved = next(one for one in calls if one.call == SAMPLER)
        if number < 5:  # those of the last step are the final ones
            assert stepped.submitted == saved.submitted
            assert saved.started == stepped.ended
        if k == 0:
            assert stepped.submitted == last.submitted
            assert last.submitted < last.started, "it was not queued when its cycle began"
        assert (stepped.started, stepped.ended) == (last.started, last.ended), f"step {number} takes two cycles"


@pytest.mark.parametrize("save_every", [1, 2, None])
@pytest.mark.parametrize("k", [0, 1, 3])
def test_the_queue_order_is_passes_step_sampler_weights_and_a_due_state(make_config, k, save_every):
    """A pass ahead of a state would be carried out in a cycle of its own; one ahead of a step would be in its sum.

    With enough staleness, the weights that a state follows are not saved, unless those before were not either.
    """
    config = virtual_config(make_config, groups_per_minibatch=1, max_staleness=k, save_every=save_every)
    calls = training_calls(train_scripted(config, QUICK))
    behind = {  # of the steps before batches 1 to 6
        (False, 1): ["ws"] * 5,
        (False, 2): ["w", "ws", "w", "ws", "w"],
        (True, 1): ["s", "ws", "s", "ws", "s"],
        (True, 2): ["w", "s", "w", "s", "w"],
    }.get((k == 3, save_every), ["w"] * 5)
    queue = "".join(LETTERS[one.call] for one in calls)
    assert queue == "w" + "".join(f"pppo{saves}" for saves in [*behind, "ws"])
    names = [one.path.rsplit("/", 1)[1] for one in calls if one.path is not None]
    due = [f"{number:06d}" for number, saves in enumerate(behind, 1) for _ in saves]
    assert names == ["000000", *due, "final", "final"]


def test_a_run_resumes_at_a_state_whose_weights_were_done_without(make_config, tmp_path):
    config = virtual_config(make_config, max_staleness=3, save_every=1, max_steps=8)
    server = tmp_path / "server"

    async def fail():
        service = VirtualServiceClient(QUICK, directory=server, faults=[Fault(STEP, nth=6, error=401)])
        with pytest.raises(ServiceError):
            await train_on_fake_async(service, config)
        return [one.path for one in training_calls(service) if one.path is not None]

    saved = run_virtual(fail())
    state = newest_state(config.log_path)
    assert not any(f"/sampler_weights/{state.batch:06d}" in path for path in saved), "they were saved: nothing is shown"
    resumed = train_scripted(config, QUICK, directory=server)
    begun = next(one.path for one in training_calls(resumed) if one.path is not None)
    assert begun.endswith(f"/sampler_weights/{state.batch:06d}")
    played = comparable_rows(config.log_path)[1]
    asked = [(step, one.id, number) for step in range(8) for one in picked(config, step) for number in range(2)]
    assert [(row["step"], row["seed"], row["number"]) for row in played] == asked
    assert max(row["step"] - turn["version"] for row in played for turn in row["turns"][1::2]) <= 3


def picked(config, step):
    return batch(load_seeds(config.seeds_file), seed=config.seed, step=step, size=GROUPS)


def test_the_next_steps_pass_does_not_wait_for_this_one_without_a_state(make_config):
    config = virtual_config(make_config, groups_per_minibatch=1, max_staleness=3, save_every=2, max_steps=8)
    steps = steps_of(training_calls(train_scripted(config, QUICK)))
    ahead = {}
    for number, (calls, following) in enumerate(pairwise(steps)):
        (stepped,) = [one for one in calls if one.call == STEP]
        ahead[number + 1] = following[0].submitted < stepped.answered
    assert not any(ahead[number] for number in (2, 4, 6)), "a state is due there"
    assert any(ahead[number] for number in (1, 3, 5, 7)), "each step waited for the answer to the one before"


# What nobody waits for


def test_a_state_is_saved_in_the_background(make_config):
    config = virtual_config(make_config, save_every=1)
    service = train_scripted(config)
    states = [one for one in training_calls(service) if one.call == STATE][:-1]  # the final one apart
    assert len(states) == 5
    for number, state in enumerate(states, 1):
        meanwhile = [
            one.key
            for one in sampling_requests(service, config)
            if state.submitted < one.at.submitted < state.answered and one.key[0] == number and one.at.model == "tutor"
        ]
        assert meanwhile, f"the tutor says nothing while the state of batch {number} is saved"


def test_states_cost_a_strictly_on_policy_run_no_time(make_config, tmp_path):
    found = []
    for save_every in (1, None):
        config = virtual_config(make_config, log_path=tmp_path / str(save_every), save_every=save_every)
        calls = [(one.call, one.submitted) for one in train_scripted(config).ledger if one.call != STATE]
        found.append(calls)
    assert found[0] == found[1]


def test_rows_and_display_are_written_while_the_weights_are_saved(make_config, tmp_path, monkeypatch):
    """The sampler save takes 4 s: what takes 3 s of the trainer's own time meanwhile costs no time."""

    class SlowDisplay:
        def say(self, text): ...

        def watch(self, look, history=()): ...

        def step(self, done, total, metrics):
            jump(1.5)

        def close(self): ...

    def jump(seconds):
        loop: Any = asyncio.get_running_loop()
        loop.jump(seconds)
        spent.append(seconds)

    def log_step(self, metrics, dialogues):
        jump(1.5)
        right(self, metrics, dialogues)

    def times(name):
        config = virtual_config(make_config, log_path=tmp_path / name, save_every=None, display="plain")
        ledger = train_scripted(config).ledger
        return [one.submitted for one in ledger if one.call in (PASS, STEP)]

    spent: list[float] = []
    right = RunDirectory.log_step
    quick = times("quick")
    monkeypatch.setattr(RunDirectory, "log_step", log_step)
    monkeypatch.setattr("socratic_distill.outputs.progress.open_display", lambda mode: SlowDisplay())
    assert times("slow") == pytest.approx(quick)
    assert spent == [1.5] * 12


# Back-pressure


@pytest.mark.parametrize("k", [0, 2])
def test_refusals_and_a_slow_service_multiply_no_requests(make_config, tmp_path, k):
    """They only slow the loop down."""

    def sent(name, **latency):
        config = virtual_config(make_config, log_path=tmp_path / name, max_staleness=k, max_steps=4)
        service = train_scripted(config, Latency(models=TERSE, **latency))
        asked = Counter(record.arguments.get("seed") for record in service.calls if record.call == "sample")
        counts = Counter(record.call for record in service.calls)
        seconds = [row["time/step"] for row in read_rows(tmp_path / name / "metrics.jsonl", without="none")]
        assert len(seconds) == 4
        return asked, counts, sum(seconds), service

    asked, counts, seconds, _ = sent("free")
    for name, latency in {"refused": {"max_concurrent": 2}, "slow": {"cycle": 60.0}}.items():
        other_asked, other_counts, other_seconds, service = sent(name, **latency)
        assert other_asked == asked and other_counts == counts, f"{name}: other requests"
        assert other_seconds > seconds * 1.2, f"{name}: {other_seconds} s against {seconds} s"
        assert any(one.refused for one in service.ledger) == (name == "refused")


# Determinism

LATENCIES = {
    "again": CALM,
    "quick": QUICK,
    "refused": Latency(models=TERSE, max_concurrent=2),
    "far": Latency(round_trip=3.0, cycle=4.0),
}


_whole: list[Any] = []  # it takes a second, and is the same in every directory


@pytest.fixture
def whole_rows(make_config, tmp_path):
    """The rows of a run that nothing happens to, on models that learn."""
    if not _whole:
        train_learning(virtual_config(make_config, log_path=tmp_path / "whole", groups_per_minibatch=1, max_tokens=5))
        _whole.extend(comparable_rows(tmp_path / "whole"))
    return deepcopy(_whole)


def test_a_strictly_on_policy_run_does_not_depend_on_latency(make_config, tmp_path, whole_rows):
    for name, latency in LATENCIES.items():
        config = virtual_config(make_config, log_path=tmp_path / name, groups_per_minibatch=1, max_tokens=5)
        train_learning(config, latency)
        assert comparable_rows(tmp_path / name) == whole_rows, f"{name}: other rows"
    said = {turn["text"] for row in whole_rows[1] for turn in row["turns"]}
    assert len(said) > 40, "the models say one thing: nothing was shown"


def test_a_run_on_virtual_time_equals_one_that_is_answered_at_once(make_config, tmp_path, whole_rows):
    config = virtual_config(make_config, log_path=tmp_path / "fake", max_tokens=5)

    asyncio.run(train_on_fake_async(FakeServiceClient(), config))
    found = comparable_rows(tmp_path / "fake")
    # Added up over other passes: hundreds of terms of some nats each, which may cancel, in float64.
    for row in (*found[0], *whole_rows[0]):
        row["service/loss:sum"] = pytest.approx(row["service/loss:sum"], rel=0, abs=1e-9)
    assert found == whole_rows


# Failures behind the first minibatch of a step


def doom(config: SocraticConfig, step: int) -> frozenset[int]:
    """The tutor's first turns on the last seed of a step."""
    last = batch(load_seeds(config.seeds_file), seed=config.seed, step=step, size=GROUPS)[-1].id
    return frozenset(stable_seed(config.seed, step, last, number, 1) for number in range(config.num_envs))


def newest_state(log_path):
    record = Journal.of(load_checkpoints(log_path)).newest_state()
    assert record is not None
    return record


def check_resumed(again, whole_rows, k):
    """Strictly on-policy, a resumed run equals the one that nothing happened to; else it loses and repeats no seed."""
    if k == 0:
        assert again == whole_rows
        return
    assert [row["step"] for row in again[0]] == list(range(6))
    who = [[(row["step"], row["seed"], row["number"]) for row in dialogues] for dialogues in (again[1], whole_rows[1])]
    assert who[0] == who[1]
    ages = [row["step"] - turn["version"] for row in again[1] for turn in row["turns"][1::2]]
    assert min(ages) == 0 and max(ages) == k


@pytest.mark.parametrize("k", [0, 2])
def test_no_step_follows_the_minibatches_of_a_batch_that_failed(make_config, tmp_path, whole_rows, k):
    config = virtual_config(make_config, groups_per_minibatch=1, max_tokens=5, save_every=None, max_staleness=k)
    server = tmp_path / "server"

    async def fail():
        service = LearningService(CALM, directory=server, doomed=doom(config, step=3))
        with pytest.raises(RolloutError, match="2 of 6 dialogues failed"):
            await train_on_fake_async(service, config)
        return training_calls(service)

    calls = run_virtual(fail())
    queue = "".join(LETTERS[one.call] for one in calls)
    assert queue == "w" + 3 * "pppow" + "pps", "two minibatches of step 3, and no step behind them"
    state = newest_state(config.log_path)
    assert (state.batch, state.version) == (3, 3)
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2]
    resumed = train_learning(config, directory=server)
    assert all(one.server_run != calls[0].server_run for one in training_calls(resumed)), "the client was not reopened"
    check_resumed(comparable_rows(config.log_path), whole_rows, k)


@pytest.mark.parametrize(
    ("nth", "error"), [(1, 500), (10, "poisoned"), (11, 500), (11, "submission"), (12, "lost_answer"), (12, "timeout")]
)
def test_a_pass_that_fails_is_done_again_with_its_batch_on_a_new_client(make_config, tmp_path, whole_rows, nth, error):
    """Whether it is known before the step is taken or not: nothing of the lost client counts."""
    config = virtual_config(make_config, groups_per_minibatch=1, max_tokens=5)
    service = train_learning(config, faults=[Fault(PASS, nth=nth, error=error)])
    assert comparable_rows(config.log_path) == whole_rows
    lives = [one["server_run"] for one in read_rows(tmp_path / "run" / "server_runs.jsonl")]
    assert len(lives) == 2
    recorded = [path for record in load_checkpoints(config.log_path) for path in record.paths]
    behind = [
        one.path
        for one in training_calls(service)[1 + nth + 2 * ((nth - 1) // 3) :]
        if one.server_run == lives[0] and one.path is not None
    ]
    assert not set(behind) & set(recorded), "what was queued behind the failed pass is recorded"


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("after", ["first pass", "step"])
def test_a_run_cancelled_in_the_middle_of_a_step_resumes(make_config, tmp_path, whole_rows, after, k):
    """Behind a minibatch its batch is dropped; behind the optimizer step it is done."""
    config = virtual_config(make_config, groups_per_minibatch=1, max_tokens=5, save_every=None, max_staleness=k)
    server = tmp_path / "server"
    awaited = {"first pass": 3 * 3 + 1, "step": 4}[after]

    async def cancelled():
        service = LearningService(CALM, directory=server)
        task = asyncio.create_task(train_on_fake_async(service, config))
        while service.count(PASS if after == "first pass" else STEP) < awaited:
            await asyncio.sleep(0.01)
        stopped, before = asyncio.get_running_loop().time(), len(training_calls(service))
        task.cancel()
        with pytest.raises(asyncio.CancelledError, match="was interrupted"):
            await task
        return service, stopped, "".join(LETTERS[one.call] for one in training_calls(service)[before:])

    service, stopped, queue = run_virtual(cancelled())
    assert STEP not in queue and "o" not in queue, "a step was taken behind the cancellation"
    assert queue == "s", "the state is the only call left"
    done = 3 if after == "first pass" else 4
    state = newest_state(config.log_path)
    assert (state.batch, state.version, state.kind) == (done, done, "interrupted")
    asked = [one for one in sampling_requests(service, config) if one.at.submitted > stopped]
    assert [one.key for one in asked if one.key[0] >= done] == [], "dialogues are played that nobody will train on"
    train_learning(config, directory=server)
    check_resumed(comparable_rows(config.log_path), whole_rows, k)


FAILURES = {
    "cancelled": None,
    "doomed": None,
    "pass": Fault(PASS, nth=2),
    "hole": Fault(PASS, nth=4, error="submission"),
    "step": Fault(STEP, nth=2),
    "weights": Fault(SAMPLER, nth=2),
    "state": Fault(STATE, nth=2),
}


@pytest.mark.parametrize(("what", "k"), [*((what, 2) for what in FAILURES), ("cancelled", 0), ("doomed", 0)])
def test_failures_leave_no_task_and_no_complaint_of_asyncio(make_config, caplog, what, k):
    complaints = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        service = DoomedService(CALM, doomed=doom(config, 1) if what == "doomed" else frozenset(), faults=faults)
        task = asyncio.create_task(train_on_fake_async(service, config))
        await asyncio.wait([task], timeout=40 if what == "cancelled" else None)
        task.cancel()
        await asyncio.wait([task])
        ended = "cancelled" if task.cancelled() else type(task.exception()).__name__
        await asyncio.sleep(60)  # what was asked for is answered
        left = asyncio.all_tasks() - {asyncio.current_task()}
        del task, service
        gc.collect()
        return ended, left

    caplog.set_level(logging.CRITICAL)
    fault = FAILURES[what]
    faults = [] if fault is None else [fault]
    config = virtual_config(make_config, groups_per_minibatch=1, max_staleness=k, max_steps=3, save_every=1)
    ended, left = run_virtual(main())
    assert ended == {"cancelled": "cancelled", "doomed": "RolloutError"}.get(what, "NoneType")
    assert left == set()
    assert complaints == []


# Evaluations


@pytest.mark.parametrize("max_staleness", [0, 3])
def test_evaluations_hold_no_step_up(make_config, tmp_path, max_staleness):
    """Each takes about as long as a step."""
    options = dict(max_staleness=max_staleness, eval_seeds=3, save_every=None, save_every_seconds=1e9)
    train_scripted(virtual_config(make_config, **options))
    evaluated = dict(log_path=tmp_path / "evaluated", eval_every=1, eval_dialogues_per_seed=4, eval_solve_samples=2)
    train_scripted(virtual_config(make_config, **options, **evaluated))
    plain, beside = (read_rows(tmp_path / name / "metrics.jsonl", without="-") for name in ("run", "evaluated"))
    assert [row["time/step"] for row in plain] == pytest.approx([row["time/step"] for row in beside])
    seconds = [json.loads(path.read_text())["seconds"] for path in (tmp_path / "evaluated/evaluations").glob("*.json")]
    assert len(seconds) == 7 and min(seconds) > 0.5 * max(row["time/step"] for row in beside)
